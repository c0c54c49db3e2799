"""Group commit: appends of different lanes that meet share one durable commit, each with its own outcome."""

from collections.abc import Callable, Sequence

import anyio
import attrs
from anyio.lowlevel import checkpoint_if_cancelled

from inventory_es.application.commands.batching import Combiner, Crowd, Ticket
from inventory_es.application.observers import AppendFinished, Observers
from inventory_es.domain.errors import InventoryError
from inventory_es.ports import AppendResult, EventStore, GroupCommit, StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError
from inventory_es.ports.toolkit.blocking_calls import WithdrawnError, finishing, was_withdrawn

MAX_GROUPS = 512
"""Independent appends in one commit at most, so that one commit's time stays bounded."""


@attrs.define(eq=False)
class Append(Ticket):
    """Writes on their way to an outcome.

    Attributes:
        writes: all or none.
        outcome: what the store answered, or raised; ``None`` while nobody knows.
        is_cancelled: whether its caller was cancelled after a leader had taken it.
        is_withdrawn: whether the store gave it back, with nothing written.
    """

    writes: Sequence[StreamWrite]
    is_cancelled: bool = attrs.field(default=False, init=False)
    is_withdrawn: bool = attrs.field(default=False, init=False)
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
        self._withdraws = store.capabilities.withdraws
        self._combiner: Combiner[Append] = Combiner(Crowd())
        self._sending: anyio.CancelScope | None = None

    async def append(self, writes: Sequence[StreamWrite]) -> AppendResult:
        """Append all writes or none; see :meth:`EventStore.append` for the errors."""
        append = Append(writes)
        await self.carry(append)
        return append.result()

    async def carry(self, append: Append) -> None:
        """Give an append its outcome.

        A caller that is cancelled meanwhile is so when the outcome is there, or once the store has given the append back, with nothing
        written: then ``WithdrawnError`` is the cause of the cancellation. That costs nothing before: most callers wait for one that leads,
        and only the leader needs a scope. An ``append`` without an outcome that is not withdrawn was interrupted, as asyncio's own
        cancellation can.
        """
        if self._withdraws:
            await self._check_wanted(append)
        cancelled: BaseException | None = None
        leads = True
        if self._group_store is not None:
            try:
                leads = await self._combiner.join(append)
            except anyio.get_cancelled_exc_class() as problem:
                cancelled, leads = problem, False
                if append.outcome is None:
                    if self._withdraws and not append.is_taken:
                        append.is_withdrawn = True
                        raise problem from WithdrawnError()
                    append.is_cancelled = True
                    if self._sending is not None and self._withdraws:
                        self._sending.cancel()
                    with anyio.CancelScope(shield=True):
                        leads = await self._combiner.join(append)
        if leads:
            await self._lead(append)
        if cancelled is not None:
            if append.is_withdrawn:
                raise cancelled from WithdrawnError()
            raise cancelled

    async def _check_wanted(self, append: Append) -> None:
        try:
            await checkpoint_if_cancelled()
        except BaseException as cancelled:
            append.is_withdrawn = True
            raise cancelled from WithdrawnError()

    async def _lead(self, append: Append) -> None:
        """Send what waits, the leader's own append first, again without those whose callers have gone if the store gave it back."""
        store = self._group_store
        if store is None:
            await self._send([append])
            return
        while True:
            batch = self._combiner.take(MAX_GROUPS)
            others = batch[1:]
            is_given_back = False
            try:
                is_given_back = await self._send(batch)
            finally:
                again = [one for one in batch if one.is_withdrawn and not one.is_cancelled]
                for one in others:
                    if not one.is_withdrawn:
                        one.outcome = one.outcome or interrupted(type(self._store).__name__)
                if not is_given_back and append in again:  # the leader itself is cancelled
                    again.remove(append)
                for one in again:
                    one.is_taken = one.is_withdrawn = False
                self._combiner.put_back(again)
                self._combiner.wake([one for one in others if one not in again])
                if not is_given_back:
                    self._combiner.hand_over()
            if not is_given_back:
                return

    async def _send(self, batch: Sequence[Append]) -> bool:
        """Send appends, shielded unless the store gives back what has not begun.

        Returns:
            Whether it gave them back because the caller of another one than the leader was cancelled.
        """
        with anyio.CancelScope(shield=not self._withdraws) as scope:
            self._sending = scope
            try:
                with finishing():
                    if len(batch) > 1 and self._group_store is not None:
                        await self._many(self._group_store, batch)
                    else:
                        await self._one(batch[0])
            except BaseException as problem:
                for one in batch:
                    one.is_withdrawn = was_withdrawn(problem)
                raise
            finally:
                self._sending = None
            return False
        return True

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


def interrupted(store: str) -> AppendOutcomeUnknownError:
    """Return the error of an append whose task was cancelled by the event loop itself, which no shield stops."""
    return AppendOutcomeUnknownError(store=store, reason="the task that carried the append was interrupted")
