"""Group commit: appends of different lanes that meet share one durable commit, each with its own outcome."""

from collections.abc import Callable, Sequence

import anyio
import attrs

from inventory_es.application.combiner import Combiner, Crowd, Ticket
from inventory_es.application.observers import AppendFinished, Observers
from inventory_es.domain.errors import InventoryError
from inventory_es.ports import AppendResult, EventStore, GroupCommit, StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError

MAX_GROUPS = 512
"""Independent appends in one commit at most, so that one commit's time stays bounded."""


@attrs.define(eq=False)
class Append(Ticket):
    """Writes on their way to an outcome.

    Attributes:
        writes: all or none.
        outcome: what the store answered, or raised; ``None`` while nobody knows.
    """

    writes: Sequence[StreamWrite]
    outcome: AppendResult | Exception | None = attrs.field(default=None, init=False)

    def result(self) -> AppendResult:
        """What the store answered; raises what it raised."""
        if isinstance(self.outcome, AppendResult):
            return self.outcome
        raise self.outcome or AssertionError


class Committer:
    """Appends to the store, sharing commits where the store can.

    Args:
        store: where to.
        observers: told about each call to the store.
        monotonic: seconds that never go back, for durations.
    """

    def __init__(self, store: EventStore, observers: Observers, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._observers = observers
        self._monotonic = monotonic
        self._group_store = store if store.capabilities.group_commit and isinstance(store, GroupCommit) else None
        self._combiner: Combiner[Append] = Combiner(Crowd())

    async def append(self, writes: Sequence[StreamWrite]) -> AppendResult:
        """Append all writes or none; see :meth:`EventStore.append` for the errors."""
        append = Append(writes)
        await self.carry(append)
        return append.result()

    async def carry(self, append: Append) -> None:
        """Give an append its outcome.

        Whoever is cancelled meanwhile is so when the outcome is there, and costs nothing before: most callers wait for one that leads,
        and only the leader needs a shield. An ``append`` without an outcome was interrupted, as asyncio's own cancellation can.
        """
        if self._group_store is None:
            with anyio.CancelScope(shield=True):
                await self._one(append)
            return
        cancelled: BaseException | None = None
        try:
            leads = await self._combiner.join(append)
        except anyio.get_cancelled_exc_class() as problem:
            cancelled, leads = problem, False
            if append.outcome is None:
                with anyio.CancelScope(shield=True):
                    leads = await self._combiner.join(append)
        if leads:
            with anyio.CancelScope(shield=True):
                await self._lead(self._group_store)
        if cancelled is not None:
            raise cancelled

    async def _lead(self, store: GroupCommit) -> None:
        leader, *others = batch = self._combiner.take(MAX_GROUPS)
        try:
            if others:
                await self._many(store, batch)
            else:
                await self._one(leader)
        finally:
            for one in others:
                one.outcome = one.outcome or self._interrupted()
            self._combiner.wake(others)
            self._combiner.hand_over()

    def _interrupted(self) -> AppendOutcomeUnknownError:
        return AppendOutcomeUnknownError(store=type(self._store).__name__, reason="the task that carried the append was interrupted")

    async def _many(self, store: GroupCommit, appends: Sequence[Append]) -> None:
        started = self._start()
        error: str | None = None
        try:
            outcomes = await store.append_group([one.writes for one in appends])
        except Exception as problem:  # noqa: BLE001  # whatever it is, every caller of the group gets it
            error = problem.code if isinstance(problem, InventoryError) else type(problem).__name__
            outcomes = [problem] * len(appends)
        for one, outcome in zip(appends, outcomes, strict=True):
            one.outcome = outcome
        self._tell(appends, started, error)

    async def _one(self, append: Append) -> None:
        started = self._start()
        error: str | None = None
        try:
            append.outcome = await self._store.append(append.writes)
        except Exception as problem:  # noqa: BLE001  # raised again by the caller, whose append it is
            error = problem.code if isinstance(problem, InventoryError) else type(problem).__name__
            append.outcome = problem
        self._tell((append,), started, error)

    def _start(self) -> float:
        return self._monotonic() if self._observers.of_appends else 0.0

    def _tell(self, appends: Sequence[Append], started: float, error: str | None) -> None:
        if self._observers.of_appends:
            events = sum(len(write.events) for one in appends for write in one.writes)
            seconds = self._monotonic() - started
            self._observers.append_finished(AppendFinished(groups=len(appends), events=events, seconds=seconds, error=error))
