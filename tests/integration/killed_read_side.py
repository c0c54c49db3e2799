"""Projections, relay and sweeper in two processes that are killed with SIGKILL, round after round, while somebody trades.

A process kills itself: before the n-th commit, publication or append, after it and before anybody was told, or from a second thread
while it runs. File store and file bus, rows in SQLite. Deep run: ``python -m tests.integration.killed_read_side 100``.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import anyio
import anyio.lowlevel
import attrs

from inventory_es import InventoryId, InventoryService, Reservation, open_inventory
from inventory_es.adapters.file import FileEventBus, FileEventStore, open_file_event_bus, open_file_event_store
from inventory_es.adapters.sqlite import SqliteReadModel, open_sqlite_read_model
from inventory_es.adapters.system import SystemClock
from inventory_es.application.following.relay import Relay
from inventory_es.application.following.runner import ProjectionRunner
from inventory_es.application.following.subscription import Pace
from inventory_es.application.following.sweeper import ReservationSweeper
from inventory_es.application.projections import ledger, open_reservations, stock_levels
from inventory_es.domain.events import Recorded
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import RejectionError
from inventory_es.ports import RecordedEvent
from inventory_es.ports.read_model import to_text
from tests.integration.read_side import CODEC, balances, figures

MODULE = "tests.integration.killed_read_side"
ROOT = Path(__file__).parents[2]
MOMENTS = ("before", "during", "after")
CLOCK = SystemClock()
LEVELS, HELD, LEDGER = stock_levels(), open_reservations(), ledger()
_PACE = Pace(batch_size=5, longest_wait=0.05, first_pause=0.01, longest_pause=0.1)
_LEASE = timedelta(seconds=0.5)
_LONGEST_TTL = 0.4
_LATEST_DEATH = 30


@attrs.define
class Killer:
    """Kills the process at a call.

    Attributes:
        left: how many calls come before it.
        moment: when in that call.
    """

    left: int
    moment: str

    def watch(self, backend: Any, *names: str) -> None:
        """Count the calls of these methods."""
        for name in names:
            setattr(backend, name, self._counted(getattr(backend, name)))

    def _counted(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left >= 0:
                return await method(*args, **kwargs)
            if self.moment == "before":
                _die()
            if self.moment == "during":
                Thread(target=_die).start()
            result = await method(*args, **kwargs)
            _die()
            return result

        return call


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@attrs.frozen
class Site:
    """Everything, open."""

    store: FileEventStore
    model: SqliteReadModel
    bus: FileEventBus
    inventory: InventoryService


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Site]:
    async with (
        open_file_event_store(folder / "stock") as store,
        open_sqlite_read_model(folder / "queries.db") as model,
        open_file_event_bus(folder / "bus", clock=CLOCK) as bus,
        open_inventory(store) as inventory,
    ):
        yield Site(store, model, bus, inventory)


def followers(site: Site, owner: str) -> list[ProjectionRunner | Relay | ReservationSweeper]:
    """What is killed."""
    projections = [
        ProjectionRunner(
            projection,
            feed=site.store,
            read_model=site.model,
            codec=CODEC,
            clock=CLOCK,
            owner=owner,
            on_failure="stop",
            pace=_PACE,
            lease=_LEASE,
        )
        for projection in (LEVELS, HELD, LEDGER)
    ]
    relay = Relay("to_bus", feed=site.store, bus=site.bus, read_model=site.model, clock=CLOCK, owner=owner, pace=_PACE, lease=_LEASE)
    sweeper = ReservationSweeper(site.inventory, read_model=site.model, clock=CLOCK, owner=owner, pace=_PACE, lease=_LEASE)
    return [*projections, relay, sweeper]


async def _child(folder: str, owner: str, left: int, moment: str) -> None:
    async with opened(Path(folder)) as site:
        killer = Killer(left, moment)
        killer.watch(site.store, "append_group")
        killer.watch(site.model, "commit")
        killer.watch(site.bus, "publish")
        async with anyio.create_task_group() as tasks:
            for follower in followers(site, owner):
                tasks.start_soon(follower.run)


class Torture:
    """Some rounds over one folder.

    Args:
        folder: empty.
        seed: of all chance but that of the machine.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._chance = Random(seed)
        self._held: list[Reservation] = []
        self._events: list[RecordedEvent] = []
        self._round = 0

    async def run(self, rounds: int) -> dict[str, int]:
        """Kill two processes a round, look at the rows after each, and at everything in the end.

        Raises:
            AssertionError: something is lost, or counts twice, or stays due.
        """
        async with opened(self._folder) as site:
            for follower in followers(site, "nobody"):
                await (follower._prepare() if isinstance(follower, ProjectionRunner) else anyio.lowlevel.checkpoint())
            for self._round in range(rounds):
                await self._kill_two(site)
                await self._look(site)
            await self._come_to_rest(site)
            await self._look(site, is_at_end=True)
            published = await self._judge_bus(site)
        expired = sum(event.event_type == "StockReleasedEvent" and b'"EXPIRED"' in event.data for event in self._events)
        assert expired, "nothing was swept"
        return {"killed": 2 * rounds, "events": len(self._events), "expired": expired, "published": published}

    async def _kill_two(self, site: Site) -> None:
        async with anyio.create_task_group() as tasks:
            trade = anyio.CancelScope()
            tasks.start_soon(self._trade, site, trade)
            async with anyio.create_task_group() as children:
                for name in ("a", "b"):
                    children.start_soon(self._let_die, f"{name}{self._round}")
            trade.cancel()

    async def _let_die(self, owner: str) -> None:
        task = ["child", str(self._folder), owner, str(self._chance.randint(0, 40)), self._chance.choice(MOMENTS)]
        with anyio.fail_after(_LATEST_DEATH):
            done = await anyio.run_process([sys.executable, "-m", MODULE, *task], check=False, cwd=ROOT, stderr=subprocess.STDOUT)
        assert done.returncode == -signal.SIGKILL, done.stdout.decode()

    async def _trade(self, site: Site, until: anyio.CancelScope) -> None:
        number = 0
        with until:
            while True:
                number += 1
                with anyio.CancelScope(shield=True):
                    await self._trade_once(site.inventory, f"r{self._round}-{number}")
                await anyio.sleep(0.01)

    async def _trade_once(self, inventory: InventoryService, name: str) -> None:
        product = f"p{self._chance.randint(0, 3)}"
        ttl = None if self._chance.random() < 0.1 else timedelta(seconds=self._chance.uniform(0.02, _LONGEST_TTL))
        try:
            match self._chance.randint(0, 6):
                case 0 | 1:
                    await inventory.add_stock(product, "berlin", self._chance.randint(1, 9))
                case 2 | 3 | 4:
                    self._held.append(await inventory.reserve(product, "berlin", 1, ttl=ttl, reservation_id=name))
                case 5 if self._held:
                    await inventory.commit(self._held.pop())
                case _ if self._held:
                    await inventory.release(self._held.pop(0))
                case _:
                    return
        except RejectionError:
            return

    async def _look(self, site: Site, *, is_at_end: bool = False) -> None:
        """Rows are those of an independent fold up to their checkpoint, each event once."""
        page = await site.store.read_all(after=self._events[-1].position if self._events else 0, limit=100_000)
        while page.events:
            self._events += page.events
            page = await site.store.read_all(after=page.next_after, limit=100_000)
        levels = await site.model.select(LEVELS.projection_id, "levels", limit=1_000)
        position = levels.checkpoint.position
        assert figures(levels.rows, "product_id", "store_id", "on_hand", "reserved", "version") == balances(self._events, position)
        for table in ("reservations", "deadlines"):
            page_ = await site.model.select(HELD.projection_id, table, limit=100_000)
            wanted = _held(self._events, page_.checkpoint.position, is_dated=table == "deadlines")
            names = ("reservation_id", "expires_at") if table == "deadlines" else ("reservation_id", "remaining")
            assert figures(page_.rows, *names) == wanted
        movements = await site.model.select(LEDGER.projection_id, "movements", limit=1_000_000)
        done = [event for event in self._events if event.position <= movements.checkpoint.position]
        assert len(movements.rows) == len(done)
        moved = sum(int(row["on_hand_change"] or 0) for row in movements.rows)
        assert moved == sum(on_hand for _, _, on_hand, _, _ in balances(done, 10**9) if isinstance(on_hand, int))
        if is_at_end:
            assert {position, movements.checkpoint.position} == {self._events[-1].position}

    async def _come_to_rest(self, site: Site) -> None:
        """With nobody killed, everything catches up, and nothing that is due stays."""
        working = followers(site, "last")
        with anyio.fail_after(_LATEST_DEATH):
            async with anyio.create_task_group() as tasks:
                for follower in working:
                    tasks.start_soon(follower.run)
                await anyio.sleep(_LONGEST_TTL)
                await _until(self._nothing_is_due, site.inventory)
                for follower in working:
                    await _until(_is_at_end, follower, site.store)
                for follower in working:
                    follower.stop()

    async def _nothing_is_due(self, inventory: InventoryService) -> bool:
        return not sum([(await inventory.stock(f"p{number}", "berlin")).due for number in range(4)])

    async def _judge_bus(self, site: Site) -> int:
        """Every event is there at least once, and for the first time in the order of its stream; histories hold together."""
        by_stream: dict[StreamId, list[RecordedEvent]] = {}
        for event in self._events:
            by_stream.setdefault(event.stream, []).append(event)
        for stream, events in by_stream.items():
            recorded = [Recorded(CODEC.decode(event), event.version, event.recorded_at) for event in events]
            Inventory.replay(InventoryId.from_stream(stream), recorded)
        seen: dict[StreamId, list[RecordedEvent]] = {}
        missing = {event.event_id for event in self._events}
        count = 0
        with anyio.move_on_after(_LATEST_DEATH):
            async with site.bus.subscribe("judge") as deliveries:
                async for delivery in deliveries:
                    count += 1
                    if delivery.event.event_id in missing:
                        missing.discard(delivery.event.event_id)
                        seen.setdefault(delivery.event.stream, []).append(delivery.event)
                    await delivery.ack()
                    if not missing:
                        break
        assert not missing, f"{len(missing)} events were never published"
        assert seen == by_stream
        return count


async def _until(is_so: Callable[..., Awaitable[bool]], *args: Any) -> None:
    """Ask again and again: another process, or another task, is at work."""
    while not await is_so(*args):
        await anyio.lowlevel.checkpoint()


async def _is_at_end(follower: ProjectionRunner | Relay | ReservationSweeper, store: FileEventStore) -> bool:
    match follower:
        case ProjectionRunner():
            return not (await follower.status()).lag_events
        case Relay():
            return (await follower.checkpoint()).position == await store.head()
        case _:
            return True


def _held(events: list[RecordedEvent], up_to: int, *, is_dated: bool) -> list[tuple[object, ...]]:
    """Open reservations by an own reading of the payloads."""
    found: dict[str, tuple[object, ...]] = {}
    for event in events:
        data = json.loads(event.data)
        name = data.get("reservation_id")
        if name is None or event.position > up_to:
            continue
        if event.event_type == "StockReservedEvent":
            until = data["expires_at"]
            if not is_dated:
                found[name] = (name, data["quantity"])
            elif until is not None:
                found[name] = (name, to_text(datetime.fromisoformat(until)))
        elif not data["remaining"]:
            found.pop(name, None)
    return sorted(found.values(), key=repr)


def torture(folder: Path, *, rounds: int, seed: int, backend: str) -> dict[str, int]:
    """Run the rounds on one event loop."""
    return anyio.run(Torture(folder, seed).run, rounds, backend=backend)


def _main() -> None:
    if sys.argv[1:2] == ["child"]:
        anyio.run(_child, sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as folder:
        counts = torture(Path(folder), rounds=rounds, seed=1, backend="asyncio")
    print(f"{rounds} rounds: {counts}; nothing lost, nothing twice, nothing left due")


if __name__ == "__main__":
    _main()
