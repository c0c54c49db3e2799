"""An instant, one command or one ``execute_all``, is told from others, and thresholds see no state in its middle."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from inventory_es import InventoryId, InventoryService, open_inventory
from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter, Pace
from inventory_es.application.projections import low_stock, stock_levels
from inventory_es.application.queries.stock_queries import open_queries
from inventory_es.commands import AddStock, ReleaseStock, ReserveStock
from inventory_es.ports import Change, FeedPage, ProjectionId, Put, ReadModel, RecordedEvent, Table
from inventory_es.testing import ManualClock
from tests.integration.read_side import CODEC, rows_of, runner, whole_feed
from tests.integration.test_projections import kind, stores

__all__ = ["kind"]

TEA, MUG = InventoryId("tea", "berlin"), InventoryId("mug", "berlin")
NINE = datetime(2026, 1, 5, 9, tzinfo=UTC)
TEN = NINE + timedelta(hours=1)
LOW = low_stock(lambda _: 0)


def reserve(reservation_id: str, quantity: int, *, ttl: timedelta | None = None, of: InventoryId = TEA) -> ReserveStock:
    return ReserveStock(inventory_id=of, reservation_id=reservation_id, quantity=quantity, ttl=ttl)


def release(reservation_id: str, command_id: str, *, of: InventoryId = TEA) -> ReleaseStock:
    return ReleaseStock(inventory_id=of, reservation_id=reservation_id, command_id=command_id)


async def marks(store: Any) -> list[tuple[str, bool]]:
    """Of every event, its type, and whether it says that more of its instant follow."""
    return [(event.event_type, CODEC.decode_metadata(event).more) for event in await whole_feed(store)]


async def count_below_what_is_held(inventory: InventoryService) -> None:
    await inventory.record_count("tea", "berlin", 3, observed_version=2, shortfall="BUMP")


async def release_and_reserve(inventory: InventoryService) -> None:
    await inventory.execute_all([release("r1", "c1"), reserve("r2", 5)])


async def reserve_what_is_due(inventory: InventoryService) -> None:
    await inventory.reserve("tea", "berlin", 5, ttl=None, reservation_id="r2")


CASES = [count_below_what_is_held, release_and_reserve, reserve_what_is_due]


async def sold_out(inventory: InventoryService, clock: ManualClock, case: Any) -> None:
    """Low since nine; at ten something happens that passes through a state that is not low."""
    await inventory.add_stock("tea", "berlin", 5)
    ttl = timedelta(minutes=30) if case is reserve_what_is_due else None
    await inventory.reserve("tea", "berlin", 5, ttl=ttl, reservation_id="r1")
    clock.advance(TEN - clock.now())
    await case(inventory)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 1_000])
@pytest.mark.parametrize("case", CASES)
def test_what_is_low_before_and_after_an_instant_was_low_all_the_time(
    case: Any, batch_size: int, backend: str, kind: str, tmp_path: Path
) -> None:
    async def body() -> None:
        clock = ManualClock(NINE)
        async with stores(kind, tmp_path) as (store, model), open_inventory(store, clock=clock) as inventory:
            await sold_out(inventory, clock, case)
            for projection in (LOW, low_stock(lambda _: 0, version=2)):  # and in a rebuild
                await runner(projection, store, model, clock, pace=Pace(batch_size=batch_size)).catch_up()
                (row,) = (await (await open_queries(model)).low_stock()).rows
                newest = (await whole_feed(store))[-1]
                assert (row.since, row.version, row.position, row.recorded_at) == (NINE, newest.version, newest.position, TEN)
                crossings = await rows_of(model, projection, "crossings")
                assert [(one["direction"], one["version"]) for one in crossings] == [("low", 2)]

    anyio.run(body, backend=backend)


def test_a_recovery_within_an_instant_and_a_fall_within_one_are_one_crossing(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(NINE), MemoryReadModel()
        async with MemoryEventStore() as store, open_inventory(store, clock=clock) as inventory:
            await inventory.execute_all([AddStock(inventory_id=TEA, command_id="a1", quantity=5), reserve("r1", 2), reserve("r2", 3)])
            clock.advance(TEN - NINE)
            await inventory.execute_all([release("r1", "c1"), reserve("r3", 1)])
            await runner(LOW, store, model, clock).catch_up()
            assert (await (await open_queries(model)).low_stock()).rows == ()
            crossings = [(one["direction"], one["version"], one["available"]) for one in await rows_of(model, LOW, "crossings")]
            assert crossings == [("low", 3, 0), ("recovered", 5, 1)]

    anyio.run(body, backend=backend)


def test_a_command_marks_all_its_events_but_the_last_and_one_event_has_no_mark(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock(NINE)
        async with MemoryEventStore() as store, open_inventory(store, clock=clock) as inventory:
            await inventory.add_stock("tea", "berlin", 5)
            for number in range(3):
                await inventory.reserve("tea", "berlin", 1, ttl=timedelta(minutes=30), reservation_id=f"r{number}")
            clock.advance(TEN - NINE)
            await inventory.expire("tea", "berlin")
            held = await inventory.reserve("tea", "berlin", 3, ttl=None, reservation_id="r4")
            await inventory.commit(held, 1, remainder="RELEASE")
            singly = [("StockAddedEvent", False), *[("StockReservedEvent", False)] * 3]
            expired = [("StockReleasedEvent", True), ("StockReleasedEvent", True), ("StockReleasedEvent", False)]
            sold = [("StockReservedEvent", False), ("StockCommittedEvent", True), ("StockReleasedEvent", False)]
            assert await marks(store) == [*singly, *expired, *sold]
            for event in await whole_feed(store):
                assert (b'"more":true' in event.metadata) == CODEC.decode_metadata(event).more
                assert b'"more":false' not in event.metadata

    anyio.run(body, backend=backend)


def test_callers_that_share_an_append_are_instants_of_their_own(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store, open_inventory(store) as inventory:
            await inventory.add_stock("tea", "berlin", 50)

            async def buy(number: int) -> None:
                await inventory.reserve("tea", "berlin", 1, ttl=None, reservation_id=f"r{number}")

            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(buy, number)
            assert await marks(store) == [("StockAddedEvent", False), *[("StockReservedEvent", False)] * 20]

    anyio.run(body, backend=backend)


@pytest.mark.parametrize(
    "times, expected",
    [
        (None, [True, True, False]),
        ([NINE, NINE + timedelta(seconds=1), TEN], [False, False, False]),
        ([NINE, TEN, TEN], [False, True, False]),
    ],
)
def test_commands_executed_together_are_an_instant_for_each_stream_and_time(times: Any, expected: list[bool], backend: str) -> None:
    async def body() -> None:
        clock = ManualClock(TEN)
        async with MemoryEventStore() as store, open_inventory(store, clock=clock) as inventory:
            commands: list[Any] = [AddStock(inventory_id=TEA, command_id="a", quantity=5), reserve("r1", 1), reserve("r2", 1)]
            others = [attrs.evolve(one, inventory_id=MUG) for one in commands]
            together = [one for pair in zip(commands, others, strict=True) for one in pair]
            twice = None if times is None else [one for one in times for _ in range(2)]
            await inventory.execute_all(together, times=twice)
            for stream in (TEA.stream, MUG.stream):
                page = await store.read_stream(stream, limit=10)
                assert [CODEC.decode_metadata(event).more for event in page.events] == expected
            again = await inventory.execute_all(together, times=twice)
            assert all(one.replayed for one in again)

    anyio.run(body, backend=backend)


def test_events_from_before_instants_were_marked_are_instants_alone(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(NINE), MemoryReadModel()
        async with MemoryEventStore() as store, open_inventory(store, clock=clock) as inventory:
            await sold_out(inventory, clock, release_and_reserve)
            old = [attrs.evolve(one, metadata=one.metadata.replace(b',"more":true', b"")) for one in await whole_feed(store)]
            await runner(LOW, CutFeed(old), model, clock).catch_up()
            (row,) = (await (await open_queries(model)).low_stock()).rows
            assert row.since == TEN

    anyio.run(body, backend=backend)


@attrs.define
class CutFeed:
    """Events up to a position."""

    events: Sequence[RecordedEvent]
    end: int = 1_000

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        shown = self.events[: self.end]
        page = shown[after : after + limit]
        return FeedPage(page, after + len(page), is_end=after + len(page) == len(shown))

    async def head(self) -> int:
        return len(self.events[: self.end])

    async def wait_for_position(self, position: int, *, timeout: float) -> bool:
        await anyio.lowlevel.checkpoint()
        return await self.head() >= position


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_half_an_instant_at_the_end_of_the_feed_waits_for_the_rest(batch_size: int, backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(NINE), MemoryReadModel()
        async with MemoryEventStore() as store, open_inventory(store, clock=clock) as inventory:
            await sold_out(inventory, clock, release_and_reserve)
            feed = CutFeed(await whole_feed(store), 3)
            runs = runner(LOW, feed, model, clock, pace=Pace(batch_size=batch_size))
            await runs.catch_up()
            status = await runs.status()
            assert (status.position, status.lag_events, status.error) == (2, 1, None)
            feed.end = 4
            await runner(LOW, feed, model, clock, pace=Pace(batch_size=batch_size)).catch_up()
            assert (await runs.status()).position == 4
            assert [one["version"] for one in await rows_of(model, LOW, "crossings")] == [2]

    anyio.run(body, backend=backend)


SEEN = Table("seen", {"stream": str, "version": int, "events": int, "net": int}, ("stream", "version"))


def net(events: Sequence[Any], envelope: Envelope) -> Iterator[Change]:
    """A host's own: by how much each instant changed what is reserved."""
    first, last = events[0], events[-1]
    if last.on_hand == 13:
        msg = "unlucky"
        raise ValueError(msg)
    moved = last.reserved - first.reserved
    yield Put("seen", {"stream": envelope.stream.text, "version": envelope.version, "events": len(events), "net": moved})


def by_instant(**changed: Any) -> Projection:
    return Projection(projection_id=ProjectionId("net", 1), tables=(SEEN,), apply=net, by_instant=True, **changed)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_hosts_own_projection_takes_instants_and_parks_them_whole(batch_size: int, backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock(NINE)
        async with stores(kind, tmp_path) as (store, model), open_inventory(store, clock=clock) as inventory:
            await sold_out(inventory, clock, release_and_reserve)
            unlucky: list[Any] = [AddStock(inventory_id=MUG, command_id="a1", quantity=13), reserve("r1", 1, of=MUG)]
            await inventory.execute_all(unlucky)
            pace = Pace(batch_size=batch_size)
            runs = runner(by_instant(), store, model, clock, pace=pace, on_failure="park")
            await runs.catch_up()
            assert await seen(model) == [(TEA.stream.text, 1, 1, 0), (TEA.stream.text, 2, 1, 0), (TEA.stream.text, 4, 2, 5)]
            parked = [(row["version"], str(row["error"])) for row in await runs.parked.list()]
            assert parked == [(1, "ValueError"), (2, "waits behind an earlier event of its stream")]
            lucky = runner(attrs.evolve(by_instant(), apply=lambda events, at: net([events[0], *events], at)), store, model, clock)
            with pytest.raises(ValueError, match="unlucky"):
                await lucky.parked.retry(MUG.stream)

            def forgiving(events: Sequence[Any], envelope: Envelope) -> Iterator[Change]:
                return net([attrs.evolve(one, on_hand=14) for one in events], envelope)

            mended = runner(attrs.evolve(by_instant(), apply=forgiving), store, model, clock)
            assert await mended.parked.retry(MUG.stream) == 2
            assert (MUG.stream.text, 2, 2, 1) in await seen(model)

    anyio.run(body, backend=backend)


async def seen(model: ReadModel) -> list[tuple[Any, ...]]:
    return [(row["stream"], row["version"], row["events"], row["net"]) for row in await rows_of(model, by_instant(), "seen")]


def test_a_failing_instant_stops_before_its_first_event(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(NINE), MemoryReadModel()
        async with MemoryEventStore() as store, open_inventory(store, clock=clock) as inventory:
            await inventory.add_stock("tea", "berlin", 1)
            unlucky: list[Any] = [AddStock(inventory_id=MUG, command_id="a1", quantity=13), reserve("r1", 1, of=MUG)]
            await inventory.execute_all(unlucky)
            runs = runner(by_instant(), store, model, clock)
            await runs.catch_up()
            status = await runs.status()
            assert (status.position, status.state) == (1, "stopped")
            assert status.error == "event 1 of stream inventory-mug-berlin at position 2 (StockAddedEvent): ValueError"

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("wrong", [{"newest_only": True}, {"wanted": EventFilter(types={"StockAddedEvent"})}])
def test_a_projection_by_instant_takes_every_event_of_a_stream(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="every event of a stream"):
        by_instant(**wrong)
    assert not stock_levels().by_instant
