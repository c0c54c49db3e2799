"""Group commit: appends of different lanes share one durable commit, each with its own outcome. Fairness between processes."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf

import attrs

from inventory_es.application.commands.batching import Batcher, Callers, Item
from inventory_es.application.commands.waiting import Scope, Waiting
from inventory_es.application.observers import AppendFinished, Observers
from inventory_es.domain.errors import InventoryError
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError
from inventory_es.ports.event_store import EventStore, GroupCommit, TurnTaking
from inventory_es.ports.records import AppendResult, StreamWrite
from inventory_es.ports.toolkit.blocking_calls import WithdrawnError, was_withdrawn

MAX_GROUPS = 512
"""The most independent appends in one commit, so that the time of one commit stays bounded."""

RACES = 3
"""The races lost in a row before a turn that holds up the whole store. A merely popular product is better raced for."""

QUIET_TURNS = 20
"""The turns over a stream in a row that nobody contested, before the stream is raced for again."""


@attrs.define(eq=False)
class Append(Item):
    """Writes on their way to an outcome.

    Attributes:
        writes: all or none.
        outcome: an :class:`AppendResult`, or the exception that the store raised; ``None`` while nobody knows.
        is_cancelled: True if its caller was cancelled after a leader had taken it.
        is_withdrawn: True if the store gave it back, with nothing written.
    """

    writes: Sequence[StreamWrite]
    is_cancelled: bool = attrs.field(default=False, init=False)
    is_withdrawn: bool = attrs.field(default=False, init=False)

    @property
    def is_settled(self) -> bool:
        """True if it has its outcome, or was withdrawn for a caller that is cancelled."""
        return self.outcome is not None or (self.is_withdrawn and self.is_cancelled)

    def result(self) -> AppendResult:
        """Return the answer of the store, or raise its error."""
        if isinstance(self.outcome, AppendResult):
            return self.outcome
        raise self.outcome or AssertionError


class Committer:
    """Appends to the store, sharing commits where the store can.

    Args:
        store: what is appended to.
        observers: are told about each call to the store.
        monotonic: seconds that never go back, for durations.
        waiting: how callers wait for each other.
        name: of the store, for observers; its class name by default.
    """

    def __init__(
        self, store: EventStore, observers: Observers, monotonic: Callable[[], float], waiting: Waiting, *, name: str | None = None
    ) -> None:
        self._store = store
        self._name = type(store).__name__ if name is None else name
        self._observers = observers
        self._is_watched = observers.of_appends
        self._monotonic = monotonic
        self._waiting = waiting
        self._group_store = store if store.capabilities.group_commit and isinstance(store, GroupCommit) else None
        self._withdraws = store.capabilities.withdraws
        self._batcher: Batcher[Append] = Batcher(Callers(waiting))
        self._sending: Scope | None = None

    async def append(self, append: Append) -> None:
        """Give an append its outcome.

        A caller that is cancelled meanwhile gets its cancellation when the outcome is there, or once the store has given the append
        back. Then nothing was written, and ``WithdrawnError`` is the cause of the cancellation. An append that has no outcome and is
        not withdrawn was interrupted, as asyncio's own cancellation can.
        """
        if self._withdraws:
            try:
                await self._waiting.check_cancelled()
            except BaseException as cancelled:
                append.is_withdrawn = True
                raise cancelled from WithdrawnError()
        if self._group_store is None:
            await self._send((append,))
            return
        try:
            await self._batcher.submit(append, self._send, MAX_GROUPS)
        except self._waiting.cancellation() as cancelled:
            if append.leads or append.outcome is not None:
                raise
            if not self._withdraws or append.is_taken:
                append.is_cancelled = True
                if self._sending is not None and self._withdraws:
                    self._sending.cancel()
                with self._waiting.scope(shield=True):
                    await self._batcher.submit(append, self._send, MAX_GROUPS)
                if not append.is_withdrawn:
                    raise
            append.is_withdrawn = True
            raise cancelled from WithdrawnError()

    async def _send(self, batch: Sequence[Append]) -> None:
        """Send appends in one commit, shielded unless the store withdraws what has not begun.

        Appends are left without an outcome, to be sent again, where the store gave them back because another caller was cancelled.
        """
        is_sent = False
        with self._waiting.scope(shield=not self._withdraws) as scope:
            self._sending = scope
            try:
                with self._waiting.finishing():
                    await self._commit(batch)
                is_sent = True
            except BaseException as problem:
                for one in batch:
                    one.is_withdrawn = was_withdrawn(problem)
                raise
            finally:
                self._sending = None
                if len(batch) > 1:
                    self._settle_unsent(batch[1:])
        if not is_sent:  # the scope took the cancellation, which was meant for a follower
            self._settle_unsent(batch[:1])

    def _settle_unsent(self, appends: Sequence[Append]) -> None:
        for one in appends:
            if not one.is_withdrawn:
                one.outcome = one.outcome or interrupted(type(self._store).__name__)
            elif not one.is_cancelled:
                one.is_withdrawn = False

    async def _commit(self, batch: Sequence[Append]) -> None:
        started = self._monotonic() if self._is_watched else 0.0
        error: str | None = None
        try:
            if len(batch) > 1 and self._group_store is not None:
                outcomes: Sequence[object] = await self._group_store.append_group([one.writes for one in batch])
            else:
                outcomes = (await self._store.append(batch[0].writes),)
        except Exception as problem:  # noqa: BLE001  # raised again by every caller of the group
            error = problem.code if isinstance(problem, InventoryError) else type(problem).__name__
            outcomes = [problem] * len(batch)
        for one, outcome in zip(batch, outcomes, strict=True):
            one.outcome = AssertionError("the store gave no outcome") if outcome is None else outcome
        if self._is_watched:
            new_events = [event for one in batch for write in one.writes for event in write.events]
            self._observers.append_finished(
                AppendFinished(
                    store=self._name,
                    groups=len(batch),
                    events=len(new_events),
                    seconds=self._monotonic() - started,
                    error=error,
                    conflicts=sum(isinstance(outcome, ConcurrencyError) for outcome in outcomes),
                    new_events=new_events,
                )
            )


class Fairness:
    """Fairness between processes: after three lost races, or one where turns are by stream, a writer asks the store for a turn.

    Args:
        store: the store, whose turns are used if it is :class:`~inventory_es.ports.TurnTaking`.
        max_attempts: the number of attempts of one batch; the last attempt has a turn, however few races were lost.
        waiting: how callers wait.

    Attributes:
        races: the number of races lost in a row after which the next attempt needs a turn.
        stays: the number of quiet turns that a stream needs after a contested one; 0 where turns are not by stream.
    """

    def __init__(self, store: EventStore, max_attempts: int, waiting: Waiting) -> None:
        self._store = store if isinstance(store, TurnTaking) else None
        self._waiting = waiting
        self.stays: int = QUIET_TURNS if self._store is not None and store.capabilities.turns_by_stream else 0
        self.races: float = inf if self._store is None else max(1, min(1 if self.stays else RACES, max_attempts - 1))

    @asynccontextmanager
    async def turn(self, *streams: StreamId, is_needed: bool = True) -> AsyncGenerator[None, None]:
        """Hold a turn if one is needed. The caller reads the streams again within the turn.

        Waiting for a turn is shielded, because the caller serves others.
        """
        async with AsyncExitStack() as stack:
            if self._store is not None and is_needed:
                with self._waiting.scope(shield=True):
                    await stack.enter_async_context(self._store.turn(*(streams if self.stays else ())))
            yield


def interrupted(store: str) -> AppendOutcomeUnknownError:
    """Return the error of an append whose task was cancelled by the event loop itself, which no shield stops."""
    return AppendOutcomeUnknownError(store=store, reason="the task that carried the append was interrupted")
