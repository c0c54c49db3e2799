"""Orders come in exactly once, and add up to what an independent count of the file says."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import attrs
import pytest

from inventory_es import InventoryService, StreamId
from inventory_es.adapters.file import verify
from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.cli.checks import check_stream
from inventory_es.cli.replay.ledger import LEDGER
from inventory_es.cli.replay.orders_file import OrdersError, OrdersFile
from inventory_es.cli.replay.progress import Progress, ReplayAdvancedEvent
from inventory_es.cli.replay.replayer import ReplayClock, Replayer, replay_stream
from inventory_es.cli.replay.steps import survey
from inventory_es.ports import AppendResult, StreamPage, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.wiring import open_inventory
from tests.integration.made_up_orders import SAMPLES, made_up_rows, on, write_orders
from tests.integration.replaying import check_totals, replay

DAY = [path for path in SAMPLES if path.suffix == ".csv"]
MONTH = [path for path in SAMPLES if "2010-12.csv" in path.name]


@pytest.mark.parametrize("opening", [None, 0, 7, 60])
@pytest.mark.parametrize("seed", range(8))
def test_made_up_orders_add_up(seed: int, opening: int | None, tmp_path: Path, backend: str) -> None:
    path = write_orders(tmp_path / "orders.csv", made_up_rows(seed, invoices=40))
    outcome = anyio.run(partial(replay, path, "memory:", opening=opening, most_commands=25), backend=backend)
    check_totals(outcome, path, opening=opening)
    assert outcome.resumed_at_row == 0
    assert outcome.events_now == outcome.totals.events


def test_a_store_in_a_folder_has_the_same_totals_and_holds_together(tmp_path: Path, backend: str) -> None:
    path = write_orders(tmp_path / "orders.csv", made_up_rows(3, invoices=60))
    outcome = anyio.run(partial(replay, path, f"file:{tmp_path / 'stock'}", most_commands=40), backend=backend)
    check_totals(outcome, path)
    assert list(verify(tmp_path / "stock", check_stream=check_stream)) == []


@pytest.mark.parametrize("opening", [None, 100])
@pytest.mark.parametrize("path", DAY or [None], ids=lambda path: path.name if path else "no sample data")
def test_a_real_day_adds_up(path: Path | None, opening: int | None, tmp_path: Path) -> None:
    path = path or write_orders(tmp_path / "orders.csv", made_up_rows(100, invoices=120))
    for store in ("memory:", f"file:{tmp_path / 'stock'}"):
        check_totals(anyio.run(partial(replay, path, store, opening=opening)), path, opening=opening)


@pytest.mark.parametrize("path", MONTH or [None], ids=lambda path: path.name if path else "no sample data")
def test_a_real_month_adds_up(path: Path | None, tmp_path: Path) -> None:
    path = path or write_orders(tmp_path / "orders.csv", made_up_rows(101, invoices=300))
    check_totals(anyio.run(partial(replay, path, f"file:{tmp_path / 'stock'}")), path)


def test_after_the_end_nothing_changes(tmp_path: Path, backend: str) -> None:
    path = write_orders(tmp_path / "orders.csv", made_up_rows(4, invoices=30))

    async def twice() -> None:
        store = MemoryEventStore()
        first = await replay(path, store)
        head = await store.head()
        second = await replay(path, store)
        assert await store.head() == head
        assert second.totals == first.totals
        assert (second.resumed_at_row, second.events_now) == (first.totals.rows, 0)

    anyio.run(twice, backend=backend)


@pytest.mark.parametrize("opening", [None, 20])
def test_stopped_after_any_append_it_goes_on_and_comes_to_the_same(opening: int | None, tmp_path: Path, backend: str) -> None:
    path = write_orders(tmp_path / "orders.csv", made_up_rows(5, invoices=90))

    async def stop_again_and_again() -> None:
        store = MemoryEventStore()
        rows: list[int] = []
        while True:
            try:
                outcome = await replay(path, StopsAfter(store, 2), opening=opening, most_commands=30)
            except StoppedError:
                rows.append((await last_progress(store, path, opening)).row)
                continue
            break
        assert len(rows) > 5
        assert rows == sorted(rows)
        assert outcome.resumed_at_row == rows[-1]
        check_totals(outcome, path, opening=opening)
        undisturbed = await replay(path, MemoryEventStore(), opening=opening)
        assert undisturbed.totals == outcome.totals

    anyio.run(stop_again_and_again, backend=backend)


def test_progress_and_what_it_describes_are_one_append(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.csv", made_up_rows(6, invoices=30))

    async def look() -> None:
        store = MemoryEventStore()
        told: list[ReplayAdvancedEvent] = []
        await replay(path, store, most_commands=30, advanced=told.append)
        events = 0
        for recorded in (await store.read_all(after=0, limit=10_000)).events:
            if recorded.stream.category == "inventory":
                events += 1
            elif recorded.stream != LEDGER:
                told.pop(0)
                assert told[0].totals.events == events
        assert len(told) == 1

    anyio.run(look)


def test_only_the_last_event_of_the_progress_is_read(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.csv", made_up_rows(7, invoices=30))

    async def look() -> None:
        store = Watched(MemoryEventStore())
        await replay(path, store, most_commands=20)
        store.limits.clear()
        await replay(path, store, most_commands=20)
        assert store.limits == [1]

    anyio.run(look)


def test_the_past_is_as_the_file_says(tmp_path: Path) -> None:
    rows = [
        ("1", "mug", 5, on("2010-12-01 09:00")),
        ("C1", "mug", -2, on("2010-12-02 09:00")),
        ("2", "mug", 1, on("2010-12-03 09:00")),
    ]
    path = write_orders(tmp_path / "orders.csv", rows)

    async def ask() -> list[int]:
        store = MemoryEventStore()
        await replay(path, store)
        async with open_inventory(store) as inventory:
            return [(await inventory.as_of("mug", "main", time=on(f"2010-12-0{day} 12:00"))).on_hand for day in (1, 2, 3)]

    assert anyio.run(ask) == [0, 2, 1]


@pytest.mark.parametrize("sizes", [(20, 20), (20, 33)], ids=["in step", "out of step"])
def test_two_at_once_do_it_once(sizes: tuple[int, int], tmp_path: Path, backend: str) -> None:
    path = write_orders(tmp_path / "orders.csv", made_up_rows(8, invoices=30))

    async def race() -> None:
        store = MemoryEventStore()
        beaten: list[str] = []

        async def one(most_commands: int) -> None:
            try:
                await replay(path, Slow(store), most_commands=most_commands)
            except ConcurrencyError as conflict:
                beaten.append(conflict.stream.category)

        async with anyio.create_task_group() as tasks:
            for size in sizes:
                tasks.start_soon(one, size)
        assert beaten == ([] if sizes[0] == sizes[1] else ["replay"])
        check_totals(await replay(path, store), path)

    anyio.run(race, backend=backend)


@pytest.mark.parametrize("opening", [None, 30])
def test_somebody_else_sells_meanwhile(opening: int | None, tmp_path: Path, backend: str) -> None:
    path = write_orders(tmp_path / "orders.csv", [("1", "mug", 5, on("2010-12-01 09:00")), ("C1", "mug", -9, on("2010-12-01 09:00"))])
    more = write_orders(tmp_path / "more.csv", [("3", "plate", 1, on("2010-12-01 10:00")), ("4", "mug", 8, on("2010-12-01 10:00"))])

    async def sell() -> None:
        store = MemoryEventStore()
        await replay(path, store, opening=opening)
        source, clock = OrdersFile(more), ReplayClock()
        found = survey(source, skip_bad=False)
        clock.time = on("2010-12-01 09:30")
        async with open_inventory(store, clock=clock) as other, open_inventory(Meddled(store, other), clock=clock) as inventory:
            outcome = await Replayer(inventory, clock, source, found, opening=opening).run()
            level = await inventory.stock("mug", "main")
        if opening is None:
            assert outcome.totals.units_received == 1 + 8
            assert (outcome.totals.orders_refused, level.on_hand) == (0, 0)
        else:
            assert (outcome.totals.orders_refused, level.on_hand) == (1, 0)

    anyio.run(sell, backend=backend)


def test_orders_from_before_what_is_stored_are_refused(tmp_path: Path) -> None:
    late = write_orders(tmp_path / "late.csv", [("2", "mug", 1, on("2011-01-04 09:00"))])
    early = write_orders(tmp_path / "early.csv", [("1", "plate", 1, on("2010-12-01 09:00")), ("1", "mug", 1, on("2010-12-01 09:00"))])

    async def run() -> None:
        store = MemoryEventStore()
        await replay(late, store)
        head = await store.head()
        with pytest.raises(OrdersError, match=r"inventory-mug-main at 2010-12-01 09:00:00.*up to 2011-01-04"):
            await replay(early, store)
        assert await store.head() == head

    anyio.run(run)


def test_files_in_the_order_of_time_share_a_store(tmp_path: Path) -> None:
    first = write_orders(tmp_path / "first.csv", [("1", "mug", 1, on("2010-12-01 09:00")), ("C1", "mug", -1, on("2010-12-02 09:00"))])
    second = write_orders(tmp_path / "second.csv", [("2", "mug", 3, on("2011-01-04 09:00"))])

    async def run() -> None:
        store = MemoryEventStore()
        await replay(first, store)
        outcome = await replay(second, store)
        assert outcome.totals.units_received == 2

    anyio.run(run)


class StoppedError(Exception):
    """The process died."""


class Delegating:
    """A store in front of another."""

    def __init__(self, store: MemoryEventStore) -> None:
        self.store = store
        self.capabilities = attrs.evolve(store.capabilities, group_commit=False)
        self.read_stream = store.read_stream
        self.find_events = store.find_events
        self.head = store.head
        self.read_all = store.read_all
        self.wait_for_position = store.wait_for_position

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        return await self.store.append(writes)

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        return await self.store.read_stream_backwards(stream, before=before, limit=limit)

    async def aclose(self) -> None:
        await self.store.aclose()


class StopsAfter(Delegating):
    """Dies with the append after so many: before it is done, or after it is done and before anybody is told."""

    def __init__(self, store: MemoryEventStore, appends: int) -> None:
        super().__init__(store)
        self.left = appends

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.left -= 1
        if self.left < 0:
            if await self.store.head() % 2:
                await self.store.append(writes)
            raise StoppedError
        return await self.store.append(writes)


class Slow(Delegating):
    """Lets others go first."""

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        await anyio.lowlevel.checkpoint()
        return await self.store.append(writes)


class Watched(Delegating):
    """Remembers how much of other streams than inventories was read."""

    def __init__(self, store: MemoryEventStore) -> None:
        super().__init__(store)
        self.limits: list[int] = []

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        if stream.category == "replay":
            self.limits.append(limit)
        return await self.store.read_stream_backwards(stream, before=before, limit=limit)


class Meddled(Delegating):
    """Before the first append through it, somebody else sells all mugs."""

    def __init__(self, store: MemoryEventStore, other: InventoryService) -> None:
        super().__init__(store)
        self.other: InventoryService | None = other

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        if self.other is not None:
            other, self.other = self.other, None
            level = await other.stock("mug", "main")
            await other.adjust("mug", "main", -level.on_hand, reason="THEFT")
        return await self.store.append(writes)


async def last_progress(store: MemoryEventStore, path: Path, opening: int | None) -> ReplayAdvancedEvent:
    progress = Progress(store, replay_stream(OrdersFile(path), opening), ReplayClock())
    await progress.load()
    return progress.last
