"""The repository of the command side: all that lanes and baskets ask of a store."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

import attrs

from inventory_es.application.commands.decision import CommandOutcome, CommandRequest, Decision
from inventory_es.application.commands.group_commit import Append, Committer, Fairness, interrupted
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.commands.idempotency import Idempotency, UnsettledAppends
from inventory_es.application.commands.states import InventoryState, StateCache, StreamReader
from inventory_es.application.commands.waiting import Waiting
from inventory_es.domain.errors import RejectionError
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, EventIdCollisionError, StoreUnavailableError
from inventory_es.ports.event_store import EventStore

RETRIED = (ConcurrencyError, EventIdCollisionError, AppendOutcomeUnknownError, StoreUnavailableError)
"""The errors of an attempt that the next attempt may not meet."""


@attrs.frozen(kw_only=True)
class Repository:
    """States of inventories, their earlier commands, and appends.

    Attributes:
        store: the event store.
        reader: folds streams to states.
        cache: states kept between commands.
        committer: appends, sharing commits.
        fairness: turns between processes.
        idempotency: finds commands that were accepted before.
        unsettled: appends with an unknown outcome that may still take effect.
        clock: the time.
        settings: bounds.
        sleep: waits for seconds; cancellable.
        chance: a number from 0 up to, not including, 1: jitter.
        waiting: how callers wait.
    """

    store: EventStore
    reader: StreamReader
    cache: StateCache
    committer: Committer
    fairness: Fairness
    idempotency: Idempotency
    unsettled: UnsettledAppends
    clock: Clock
    settings: HandlerSettings
    sleep: Callable[[float], Awaitable[object]]
    chance: Callable[[], float]
    waiting: Waiting

    @property
    def store_name(self) -> str:
        """The name of the store in errors."""
        return type(self.store).__name__

    async def append(self, append: Append, decisions: Iterable[Decision]) -> BaseException | None:
        """Give an append its outcome, and remember it where the outcome is unknown; see :meth:`Committer.append`.

        Returns:
            The cancellation of the caller that came with an outcome; ``None`` if there was none.
        """
        cancelled: BaseException | None = None
        try:
            await self.committer.append(append)
        except self.waiting.cancellation() as cancellation:
            if append.outcome is None:
                raise
            cancelled = cancellation
        finally:
            problem = interrupted(self.store_name) if append.outcome is None and not append.is_withdrawn else append.outcome
            if isinstance(problem, AppendOutcomeUnknownError):
                commands = [(one.request.command.inventory_id.stream, one.request.command.command_id) for one in decisions if one.events]
                problem = self.unsettled.add(append.writes, commands, problem)
                if append.outcome is not None:
                    append.outcome = problem
        return cancelled

    async def find(
        self, state: InventoryState, requests: Sequence[CommandRequest]
    ) -> dict[CommandRequest, CommandOutcome | RejectionError]:
        """Return the first outcomes of the requests that were accepted before; see :meth:`Idempotency.find`."""
        return await self.idempotency.find(state, requests, now=self.clock.now())

    async def pause(self, attempt: int) -> None:
        """Wait before attempt number ``attempt``: not at all before the first two, then longer and longer, with jitter."""
        if attempt > 2:
            await self.sleep(self.settings.pause(attempt, self.chance()))
