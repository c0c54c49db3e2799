"""Expiring reservations when they are due, so that read models and followers of the feed see it without waiting for the next write.

The write side does not need it: every command closes what is due before it decides. So a sweeper may be late, absent, or doubled, and no
answer differs by it.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import anyio
import attrs

from inventory_es.application.following.lease import Ownership
from inventory_es.application.following.projector import describe
from inventory_es.application.following.subscription import Pace
from inventory_es.application.projections.open_reservations import DEADLINES, open_reservations
from inventory_es.application.queries.active_version import ActiveVersion
from inventory_es.application.service import InventoryService
from inventory_es.domain.errors import ClockJumpError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports import Checkpoint, Clock, ProjectionId, ReadModel, Row
from inventory_es.ports.errors import AppendOutcomeUnknownError, CheckpointConflictError, StoreClosedError, UnavailableError
from inventory_es.ports.read_model import Value, from_text, place_of

_ID = ProjectionId("reservation_sweeper", 1)
_ORDER = ("expires_at",)
_AT_ONCE = 16
_log = logging.getLogger("inventory_es")


@attrs.frozen(kw_only=True)
class SweeperStatus:
    """How a sweeper stands.

    Attributes:
        state: ``sweeping``; ``standing by`` (another one sweeps); ``waiting`` (a backend is away, or the clock was set; it tries again);
            ``stopped``.
        expirations: commands of this sweeper that released something.
        next_due: when the next reservation is due, as far as the projection knows; ``None`` where none is.
        error: what failed last, and where; ``None`` once nothing fails.
    """

    state: Literal["sweeping", "standing by", "waiting", "stopped"] = "stopped"
    expirations: int = 0
    next_due: datetime | None = None
    error: str | None = None


class ReservationSweeper:
    """Sends ``ExpireReservations`` to every inventory with something due, by the rows of the projection ``open_reservations``.

    A reservation is expired within ``pace.longest_wait`` after it is due, once the projection knows it. Any number of sweepers may run, in
    any number of processes: one works, the others stand by, and one of them takes over when it stops or when its lease is over. Rows that
    are behind their stream cost a command without effect, no more.

    Nothing that fails ends the task: backends that are away, a clock that was set, and inventories that can't be read, are tried again
    with growing pauses.

    Args:
        inventory: executes the commands.
        read_model: has the rows, kept by a runner of that projection, here or elsewhere.
        clock: tells what is due.
        owner: an opaque text, unique to this sweeper.
        pace: rows at once (also the most that one command expires), seconds between two looks (``longest_wait``, 1 by default), pauses.
        lease: how long a sweeper that died keeps others waiting.
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
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self._inventory = inventory
        self._read_model = read_model
        self._clock = clock
        self._pace = Pace(longest_wait=1.0) if pace is None else pace
        self._sleep = sleep
        self._ownership = Ownership(read_model, _ID, owner, clock, lease)
        self._turn = lease.total_seconds() / 3
        self._rows = ActiveVersion(read_model, open_reservations())
        self._is_prepared = False
        self._held: Checkpoint | None = None
        self._epoch = 0
        self._swept_to: tuple[Value, ...] | None = None
        self._awaited = 0
        self._failing: dict[InventoryId, _Failing] = {}
        self._is_stopped = False
        self._idling: anyio.CancelScope | None = None
        self.status: SweeperStatus = SweeperStatus()

    async def run(self) -> None:
        """Sweep or stand by until :meth:`stop`. Raises nothing: ``status`` and a warning in the log tell what fails."""
        pauses = self._pace.pauses()
        try:
            while not self._is_stopped:
                try:
                    pause = await self._work()
                    pauses = self._pace.pauses()
                except CheckpointConflictError:  # another one took over
                    self._held = None
                    pause = next(pauses)
                except Exception as problem:  # noqa: BLE001  # the task is the host's: it goes on, whatever a backend raises
                    self._fails("waiting", describe(problem))
                    pause = next(pauses)
                await self._idle(pause)
        finally:
            self._held = None
            self.status = attrs.evolve(self.status, state="stopped")
            await self._ownership.release(self._epoch)

    def stop(self) -> None:
        """End :meth:`run` after the commands in flight. For any task of the same event loop; twice is fine."""
        self._is_stopped = True
        if self._idling is not None:
            self._idling.cancel()

    async def _work(self) -> float:
        """Sweep what is due, if this one may; for how many seconds there is nothing to do then."""
        if not self._is_prepared:
            await self._read_model.prepare(_ID, ())
            await self._rows.prepare()
            self._is_prepared = True
        if not await self._holds():
            self.status = attrs.evolve(self.status, state="standing by", next_due=None, error=None)
            return self._turn
        next_due = await self._sweep_all()
        error = self.status.error if self._failing else None
        self.status = attrs.evolve(self.status, state="sweeping", next_due=next_due, error=error)
        until_due = self._pace.longest_wait if next_due is None else (next_due - self._clock.now()).total_seconds()
        return max(0.0, min(self._pace.longest_wait, self._turn, until_due))

    async def _holds(self) -> bool:
        """Whether this one sweeps: it claims what is free, and renews its lease in time."""
        if self._held is None:
            self._held = await self._ownership.claim()
            self._epoch = self._epoch if self._held is None else self._held.epoch
        elif self._ownership.is_ageing(self._held):
            renewed = self._ownership.renewed(self._held)
            await self._read_model.commit(_ID, (), before=self._held, after=renewed)
            self._held = renewed
        return self._held is not None

    async def _sweep_all(self) -> datetime | None:
        """Go through the rows by the time at which they are due; when the first is due that is not yet.

        Rows stay until the projection has seen the release. Until then the next look begins behind those that were swept; then at the front
        again, where there may be others that were reserved meanwhile for a shorter time.
        """
        is_first_look = (await self._rows.checkpoint()).position >= self._awaited
        if is_first_look:
            self._swept_to, self._awaited = None, 0
        failed: set[InventoryId] = set()
        while not self._is_stopped and await self._holds():
            page = await self._rows.select(DEADLINES.name, order=_ORDER, after=self._swept_to, limit=self._pace.batch_size)
            now = self._clock.now()
            due = [row for row in page.rows if _expires_at(row) <= now]
            position, failing = await self._sweep(due)
            failed |= failing
            if is_first_look:
                self._awaited = max(self._awaited, position)
            if due:
                self._swept_to = place_of(DEADLINES, _ORDER, due[-1])
            if page.is_end or len(due) < len(page.rows):
                if is_first_look:
                    self._failing = {one: known for one, known in self._failing.items() if one in failed}
                return None if len(due) == len(page.rows) else _expires_at(page.rows[len(due)])
        return None

    async def _sweep(self, due: Sequence[Row]) -> tuple[int, set[InventoryId]]:
        """Expire what is due in the inventories of these rows; the newest position that was seen, and those that fail."""
        position = 0
        failing: set[InventoryId] = set()
        away: list[Exception] = []
        limiter = anyio.CapacityLimiter(_AT_ONCE)

        async def expire(one: InventoryId) -> None:
            nonlocal position
            async with limiter:
                if away:
                    return
                try:
                    result = await self._inventory.expire(one.product_id, one.store_id, limit=self._pace.batch_size)
                except (UnavailableError, AppendOutcomeUnknownError, StoreClosedError, ClockJumpError) as problem:
                    away.append(problem)
                except Exception as problem:  # noqa: BLE001  # one inventory's trouble, or that of a host's policy, is not the others'
                    failing.add(one)
                    self._postpone(one, problem)
                else:
                    position = max(position, result.position)
                    self.status = attrs.evolve(self.status, expirations=self.status.expirations + result.changed)

        async with anyio.create_task_group() as tasks:
            for one in dict.fromkeys(InventoryId(str(row["product_id"]), str(row["store_id"])) for row in due):
                if one in self._failing and self._failing[one].until > self._clock.now():
                    failing.add(one)
                else:
                    tasks.start_soon(expire, one)
        if away:
            raise away[0]
        return position, failing

    def _postpone(self, one: InventoryId, problem: Exception) -> None:
        before = self._failing.get(one)
        pause = self._pace.first_pause if before is None else min(2 * before.pause, self._pace.longest_pause)
        self._failing[one] = _Failing(self._clock.now() + timedelta(seconds=pause), pause)
        self._fails("sweeping", f"{one}: {describe(problem)}")

    def _fails(self, state: Literal["sweeping", "waiting"], error: str) -> None:
        if error != self.status.error:
            _log.warning("sweep_failed", extra={"reason": error})
        self.status = attrs.evolve(self.status, state=state, error=error)

    async def _idle(self, seconds: float) -> None:
        """Wait, at most until :meth:`stop`."""
        if not self._is_stopped:
            self._idling = anyio.CancelScope()
            with self._idling:
                await self._sleep(seconds)
            self._idling = None


@attrs.frozen
class _Failing:
    until: datetime
    pause: float


def _expires_at(row: Row) -> datetime:
    return from_text(row["expires_at"], column="expires_at")
