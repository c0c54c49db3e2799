"""The reservation sweeper: it expires reservations when they are due, so that readers need not wait for the next write.

The write side does not need it: every command closes what is due before it decides. So a sweeper may be late, absent or doubled, and no
answer differs by it.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import attrs

from inventory_es.application.following.lease import Leader, Lease
from inventory_es.application.following.projector import describe
from inventory_es.application.following.subscription import Pace
from inventory_es.application.projections.open_reservations import DEADLINES, DeadlineRow, open_reservations
from inventory_es.application.queries.projection_reader import Cursor, ProjectionReader
from inventory_es.application.service import InventoryService
from inventory_es.domain.errors import ClockJumpError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports import Clock, ProjectionId, ReadModel
from inventory_es.ports.errors import AppendOutcomeUnknownError, CheckpointConflictError, StoreClosedError, UnavailableError
from inventory_es.ports.read_model import to_text
from inventory_es.ports.toolkit.waiting import do_all, pause

_ID = ProjectionId("reservation_sweeper", 1)
_AT_ONCE = 16
_log = logging.getLogger("inventory_es")


@attrs.frozen(kw_only=True)
class SweeperStatus:
    """The state of a sweeper.

    Attributes:
        state: ``sweeping``; ``standing by`` (another one sweeps); ``waiting`` (a backend is away, or the clock was set; it tries again);
            ``stopped``.
        expirations: number of commands of this sweeper that released something.
        next_due: time when the next reservation is due, as far as the projection knows; ``None`` where none is.
        error: the last failure and its place; ``None`` once nothing fails.
    """

    state: Literal["sweeping", "standing by", "waiting", "stopped"] = "stopped"
    expirations: int = 0
    next_due: datetime | None = None
    error: str | None = None


class ReservationSweeper:
    """Sends ``ExpireReservations`` to every inventory with something due, by the rows of the projection ``open_reservations``.

    A reservation is expired within ``pace.longest_wait`` after it is due, once the projection knows it. Any number of sweepers may run, in
    any number of processes. One works and the others stand by; one of them takes over when it stops or its lease ends. Rows that are
    behind their stream cost a command without effect, no more.

    No failure ends the task. Backends that are away, a clock that was set, and inventories that can't be read, are tried again with
    growing pauses.

    Args:
        inventory: executes the commands.
        read_model: has the rows; a runner of that projection keeps them up, here or elsewhere.
        clock: tells what is due.
        owner: an opaque text, unique to this sweeper.
        pace: number of rows per page (also the most that one command expires), seconds between two sweeps (``longest_wait``, 1 by
            default), and pauses.
        lease: the longest time for which a sweeper that died keeps others waiting.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        inventory: InventoryService,
        *,
        read_model: ReadModel,
        clock: Clock,
        owner: str,
        pace: Pace | None = None,
        lease: timedelta = timedelta(seconds=10),
        sleep: Callable[[float], Awaitable[object]] = pause,
    ) -> None:
        self._inventory = inventory
        self._read_model = read_model
        self._clock = clock
        self._pace = Pace(longest_wait=1.0) if pace is None else pace
        self._lease = Lease(read_model, _ID, owner, clock, lease)
        self._leader = Leader(
            self._lease,
            self._pace,
            waited_for=(Exception,),  # the task is the host's: it goes on, whatever a backend raises
            longest_pause=self._pace.longest_pause,
            failed=self._failed,
            sleep=sleep,
        )
        self._rows = ProjectionReader(read_model, open_reservations())
        self._is_prepared = False
        self._swept_to: Cursor | None = None
        self._awaited = 0
        self._failing: dict[InventoryId, _Failing] = {}
        self.status: SweeperStatus = SweeperStatus()

    async def run(self) -> None:
        """Sweep or stand by until :meth:`stop`. Raises nothing: ``status`` and a warning in the log say what fails."""
        try:
            await self._leader.run(self._term)
        finally:
            self.status = attrs.evolve(self.status, state="stopped")

    def stop(self) -> None:
        """End :meth:`run` after the commands in flight. Idempotent; for any task of its event loop, or any thread without one."""
        self._leader.stop()

    async def _term(self) -> float:
        """Sweep what is due, if this candidate has the lease, and return the seconds until the next sweep."""
        if not self._is_prepared:
            await self._read_model.prepare(_ID, ())
            await self._rows.prepare()
            self._is_prepared = True
        if not await self._lease.keep():
            self.status = attrs.evolve(self.status, state="standing by", next_due=None, error=None)
            return self._lease.renew_after
        next_due = await self._sweep_all()
        self._leader.succeeded()
        error = self.status.error if self._failing else None
        self.status = attrs.evolve(self.status, state="sweeping", next_due=next_due, error=error)
        until_due = self._pace.longest_wait if next_due is None else (next_due - self._clock.now()).total_seconds()
        return max(0.0, min(self._pace.longest_wait, self._lease.renew_after, until_due))

    async def _sweep_all(self) -> datetime | None:
        """Sweep the rows in the order in which they are due, and return when the first of the others is due.

        A row stays until the projection has applied the release. Until then the next sweep begins behind the rows that were swept. After
        that it begins at the front again, where there may be reservations that were made meanwhile for a shorter time.
        """
        is_first_sweep = (await self._rows.checkpoint()).position >= self._awaited
        if is_first_sweep:
            self._swept_to, self._awaited = None, 0
        failed: set[InventoryId] = set()
        while not self._leader.is_stopping and await self._lease.keep():
            page = await self._rows.select(DEADLINES, order=("expires_at",), after=self._swept_to, limit=self._pace.batch_size)
            now = self._clock.now()
            due = [row for row in page.rows if row.expires_at <= now]
            position, failing = await self._sweep(due)
            failed |= failing
            if is_first_sweep:
                self._awaited = max(self._awaited, position)
            if due:
                last = due[-1]
                self._swept_to = (to_text(last.expires_at), last.product_id, last.store_id, last.reservation_id)
            if page.next_after is None or len(due) < len(page.rows):
                if is_first_sweep:
                    self._failing = {one: known for one, known in self._failing.items() if one in failed}
                return None if len(due) == len(page.rows) else page.rows[len(due)].expires_at
        return None

    async def _sweep(self, due: Sequence[DeadlineRow]) -> tuple[int, set[InventoryId]]:
        """Expire what is due in the inventories of these rows; return the newest position seen, and the inventories that fail."""
        position = 0
        failing: set[InventoryId] = set()
        away: list[Exception] = []

        async def expire(one: InventoryId) -> None:
            nonlocal position
            if away:
                return
            try:
                result = await self._inventory.expire(one.product_id, one.store_id, limit=self._pace.batch_size)
            except (UnavailableError, AppendOutcomeUnknownError, StoreClosedError, ClockJumpError) as problem:
                away.append(problem)
            except Exception as problem:  # noqa: BLE001  # a failure of one inventory, or of a host's policy, must not stop the others
                failing.add(one)
                self._postpone(one, problem)
            else:
                position = max(position, result.position)
                self.status = attrs.evolve(self.status, expirations=self.status.expirations + result.changed)

        works: list[Callable[[], Awaitable[None]]] = []
        for one in dict.fromkeys(InventoryId(row.product_id, row.store_id) for row in due):
            if one in self._failing and self._failing[one].until > self._clock.now():
                failing.add(one)
            else:
                works.append(partial(expire, one))
        await do_all(works, at_once=_AT_ONCE)
        if away:
            raise away[0]
        return position, failing

    def _postpone(self, one: InventoryId, problem: Exception) -> None:
        before = self._failing.get(one)
        pause = self._pace.first_pause if before is None else min(2 * before.pause, self._pace.longest_pause)
        self._failing[one] = _Failing(self._clock.now() + timedelta(seconds=pause), pause)
        self._report("sweeping", f"{one}: {describe(problem)}")

    def _failed(self, problem: Exception) -> None:
        if not isinstance(problem, CheckpointConflictError):  # which says that another one took over
            self._report("waiting", describe(problem))

    def _report(self, state: Literal["sweeping", "waiting"], error: str) -> None:
        if error != self.status.error:
            _log.warning("sweep_failed", extra={"reason": error})
        self.status = attrs.evolve(self.status, state=state, error=error)


@attrs.frozen
class _Failing:
    until: datetime
    pause: float
