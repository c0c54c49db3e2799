"""The runner of processes: completes those that stopped half way, and lets holds lapse on time.

The runner follows the feed and keeps one row per process that needs another look, with the time of that look. Rows and checkpoint
move in one commit, under a lease, as those of a projection do. A process that was touched is due after a pause, since its caller
is most likely still at work on it. A look takes the steps that are due and returns the time of the next look. Steps are idempotent,
so a runner that was killed, or fenced out during a look, leaves nothing to repair.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import attrs

from inventory_es.application.following.lease import Leader, Lease
from inventory_es.application.following.projector import describe
from inventory_es.application.following.subscription import EventFilter, Pace
from inventory_es.domain.errors import ClockJumpError
from inventory_es.ports import Change, Clock, Delete, EventFeed, ProjectionId, Put, ReadModel, RecordedEvent, Row, Table
from inventory_es.ports.read_model import from_text, to_text
from inventory_es.ports.toolkit.page_rules import is_feed_read, read_rows_page
from inventory_es.ports.toolkit.waiting import do_all

_log = logging.getLogger("inventory_es")

_SHORTEST_WAIT = 0.01

LOOKS = Table("looks", {"process_id": str, "due_at": str, "failures": int, "error": str}, ("process_id",), (("due_at",),))
"""Processes that need a look, with the error of the last one."""


@attrs.frozen
class Touch:
    """A process that an event is about.

    Attributes:
        process_id: the process.
        is_over: True if it needs no further look.
    """

    process_id: str
    is_over: bool


class Processes(Protocol):
    """Processes of one kind, as a runner needs them."""

    @property
    def name(self) -> str:
        """Name of the runner's checkpoint: a lower-case ASCII identifier."""
        ...

    @property
    def watched(self) -> EventFilter:
        """The events that touch a process."""
        ...

    def touch(self, recorded: RecordedEvent, /) -> Touch | None:
        """Return the process that a watched event touches; ``None`` for none."""
        ...

    async def look(self, process_id: str, /) -> datetime | None:
        """Take the steps that are due, and return the time of the next look; ``None`` for no look before the next touch."""
        ...


class ProcessRunner:
    """Drives processes of one kind to their end.

    Any number of runners of one kind may run, in any number of operating system processes. One works and the others stand by; one of
    them takes over when it stops or its lease ends. The runner waits while a store is unavailable or the clock was changed. A process
    that fails is tried again after growing pauses, and its row has the error.

    Args:
        processes: the processes to drive, for instance :class:`~inventory_es.processes.Orders`.
        feed: the feed of the event store.
        read_model: the read model for the rows and the checkpoint.
        clock: the clock for leases and due times.
        owner: an opaque text, unique to this runner.
        patience: the time for which the runner leaves a process to its caller. Zero if callers leave all steps to the runner.
        concurrency: concurrent looks, 1 or more.
        pace: batch size and pauses.
        lease: the longest time for which a runner that died keeps others waiting.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        feed: EventFeed,
        read_model: ReadModel,
        clock: Clock,
        owner: str,
        patience: timedelta = timedelta(seconds=10),
        concurrency: int = 16,
        pace: Pace | None = None,
        lease: timedelta = timedelta(seconds=10),
    ) -> None:
        self._processes = processes
        self._feed = feed
        self._read_model = read_model
        self._clock = clock
        self._patience = patience
        self._concurrency = concurrency
        self._pace = Pace() if pace is None else pace
        self._id = ProjectionId(processes.name, 1)
        self._lease = Lease(read_model, self._id, owner, clock, lease)
        self._leader = Leader(self._lease, self._pace)

    async def run(self) -> None:
        """Work or stand by until :meth:`stop`.

        Raises:
            FeedRewoundError: the event store was replaced by a backup or another one. Drop the checkpoint to start over.
            CorruptStoreError, StoreClosedError: as the stores.
            ReadModelUnavailableError: at the start; later the runner waits for stores that are away.
        """
        await self._run(to_end=False)

    async def catch_up(self) -> None:
        """Work until the end of the feed is reached and nothing is due, then release the lease. Stand by while another runner has it.

        Raises:
            ClockJumpError: the clock was set by too much since the inventory was opened. Errors of :meth:`run` too.
        """
        await self._run(to_end=True)

    def stop(self) -> None:
        """End :meth:`run` after the looks in flight. Idempotent; for any task of its event loop, or any thread without one."""
        self._leader.stop()

    async def waiting(self, *, after: Sequence[str] | None = None, limit: int = 100) -> Sequence[Row]:
        """Return the processes that need a look, earliest first: process id, due time, failures so far, last error.

        Args:
            after: values of ``due_at`` and ``process_id`` to start behind.
            limit: 1 or more.
        """
        await self._read_model.prepare(self._id, (LOOKS,))
        return (await read_rows_page(self._read_model, self._id, LOOKS, order=("due_at",), after=after, limit=limit)).rows

    async def _run(self, *, to_end: bool) -> None:
        await self._read_model.prepare(self._id, (LOOKS,))

        async def term() -> float | None:
            if not await self._lease.acquire():
                return self._lease.renew_after
            try:
                await self._follow(to_end=to_end)
            except ClockJumpError:  # no time of a next look can be told: the rows stay as they are
                if to_end:
                    raise
                return self._lease.renew_after
            return None

        await self._leader.run(term)

    async def _follow(self, *, to_end: bool) -> None:
        lease = self._lease
        async with self._leader.subscription(self._feed, self._processes.watched) as subscription:
            while not self._leader.is_stopping:
                due, wait = await self._due()
                if due:
                    await lease.commit(await self._look_at_all(due))
                elif to_end and await is_feed_read(self._feed, lease.held_checkpoint.position):
                    return
                batch = await subscription.next_within(0 if due else wait)
                if batch is not None:
                    mark = batch.mark or lease.held_checkpoint.mark
                    await lease.commit(self._touched(batch.events), position=batch.position, mark=mark)
                else:
                    await lease.renew()

    async def _due(self) -> tuple[list[Row], float]:
        """Return what is due now, up to one round of looks, and the longest time to wait for the next, in seconds."""
        now = self._clock.now()
        page = await read_rows_page(self._read_model, self._id, LOOKS, order=("due_at",), limit=4 * self._concurrency)
        times = [from_text(row["due_at"], column="due_at") for row in page.rows]
        due = [row for row, at in zip(page.rows, times, strict=True) if at <= now]
        soonest = min((at for at in times if at > now), default=now + timedelta(seconds=self._lease.renew_after))
        return due, min(self._lease.renew_after, max((soonest - now).total_seconds(), _SHORTEST_WAIT))

    def _touched(self, events: Sequence[RecordedEvent]) -> list[Change]:
        changes: dict[str, Change] = {}
        for recorded in events:
            touch = self._processes.touch(recorded)
            if touch is not None and touch.is_over:
                changes[touch.process_id] = Delete(LOOKS.name, (touch.process_id,))
            elif touch is not None:
                changes[touch.process_id] = _row(touch.process_id, recorded.recorded_at + self._patience)
        return list(changes.values())

    async def _look_at_all(self, rows: Sequence[Row]) -> list[Change]:
        changes: list[Change] = []
        jumps: list[ClockJumpError] = []

        async def look(row: Row) -> None:
            try:
                changes.append(await self._look(str(row["process_id"]), int(row["failures"] or 0)))
            except ClockJumpError as problem:
                jumps.append(problem)

        await do_all([partial(look, row) for row in rows], at_once=self._concurrency)
        if jumps:
            raise jumps[0]
        return changes

    async def _look(self, process_id: str, failures: int) -> Change:
        try:
            due_at = await self._processes.look(process_id)
        except Exception as problem:  # one process must not stop the others; its row says what it met
            _log.warning("process_stuck", extra={"process_id": process_id, "failures": failures + 1, "error": describe(problem)})
            if isinstance(problem, ClockJumpError):
                raise
            pause = timedelta(seconds=min(self._pace.first_pause * 2.0 ** min(failures, 30), self._pace.longest_pause))
            return _row(process_id, self._clock.now() + pause, failures=failures + 1, error=describe(problem))
        return Delete(LOOKS.name, (process_id,)) if due_at is None else _row(process_id, due_at)


def _row(process_id: str, due_at: datetime, *, failures: int = 0, error: str | None = None) -> Put:
    return Put(LOOKS.name, {"process_id": process_id, "due_at": to_text(due_at), "failures": failures, "error": error})
