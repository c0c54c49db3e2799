"""Projections: equal to an independent fold, exactly once through every interruption, one runner at a time."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.adapters.sqlite import open_sqlite_event_store, open_sqlite_read_model
from inventory_es.application.following.lease import Lease
from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import Pace
from inventory_es.application.observers import ProjectionAdvanced
from inventory_es.application.projections import daily_summary, ledger, low_stock, open_reservations, stock_levels, stock_totals
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Change, EventStore, ProjectionId, Put, ReadModel, Table
from inventory_es.ports.errors import CheckpointConflictError, CorruptStoreError
from inventory_es.testing import ManualClock
from inventory_es.testing.contracts.core.schedule import PLAIN, Schedule
from tests.integration.read_side import LEASE, balances, figures, rows_of, runner, trade, whole_feed

SHIPPED = (
    stock_levels(),
    open_reservations(),
    ledger(),
    low_stock(lambda product: int(product[1]) * 60),
    daily_summary(),
    stock_totals(),
)


@asynccontextmanager
async def stores(kind: str, path: Path) -> AsyncIterator[tuple[EventStore, ReadModel]]:
    if kind == "memory":
        async with MemoryEventStore() as store:
            yield store, MemoryReadModel()
    else:
        async with open_sqlite_event_store(path / "stock.db") as sqlite, open_sqlite_read_model(path / "stock.db") as model:
            yield sqlite, model


@pytest.fixture(params=["memory", "sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_rebuilt_from_zero_equals_live_and_an_independent_fold(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model):
            for seed in range(3):
                await trade(store, clock, seed=seed)
                for projection in SHIPPED:
                    await runner(projection, store, model, clock).catch_up()
            events = await whole_feed(store)
            for projection in SHIPPED:
                anew = attrs.evolve(projection, projection_id=ProjectionId(projection.projection_id.name, 2))
                await runner(anew, store, model, clock).catch_up()
                for table in projection.tables:
                    live = await rows_of(model, projection, table.name)
                    assert live, table.name
                    assert await rows_of(model, anew, table.name) == live
            levels = await rows_of(model, SHIPPED[0], "levels")
            assert figures(levels, "product_id", "store_id", "on_hand", "reserved", "version") == balances(events, events[-1].position)
            held = await rows_of(model, SHIPPED[1], "reservations")
            for level in levels:
                of_it = [
                    row["remaining"] for row in held if (row["product_id"], row["store_id"]) == (level["product_id"], level["store_id"])
                ]
                assert sum(of_it) == level["reserved"]
            _ledger_adds_up(await rows_of(model, SHIPPED[2], "movements"), len(events))
            _crossings_alternate(await rows_of(model, SHIPPED[3], "crossings"), await rows_of(model, SHIPPED[3], "low"))
            low = figures(
                [row for row in levels if row["available"] <= int(row["product_id"][1]) * 60], "product_id", "store_id", "available"
            )
            assert figures(await rows_of(model, SHIPPED[3], "low"), "product_id", "store_id", "available") == low

    anyio.run(body, backend=backend)


def _ledger_adds_up(movements: list[dict[str, Any]], count: int) -> None:
    assert len(movements) == count
    running: dict[object, tuple[int, int]] = {}
    for row in movements:
        inventory = row["product_id"], row["store_id"]
        on_hand, reserved = running.get(inventory, (0, 0))
        running[inventory] = on_hand + row["on_hand_change"], reserved + row["reserved_change"]
        assert running[inventory] == (row["on_hand"], row["reserved"])


def _crossings_alternate(crossings: list[dict[str, Any]], low: list[dict[str, Any]]) -> None:
    last: dict[object, dict[str, Any]] = {}
    for row in crossings:
        inventory = row["product_id"], row["store_id"]
        assert row["direction"] != last.get(inventory, {"direction": "recovered"})["direction"]
        last[inventory] = row
    now_low = {inventory: row["recorded_at"] for inventory, row in last.items() if row["direction"] == "low"}
    assert {(row["product_id"], row["store_id"]): row["since"] for row in low} == now_low


def test_cancelled_at_every_await_rows_and_checkpoint_agree(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        levels = SHIPPED[0]
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock, steps=25)
            events = await whole_feed(store)
            for nth in range(1, 100):
                projection = attrs.evolve(levels, projection_id=ProjectionId("stock_levels", nth))
                ended = await _cancelled_at(nth, runner(projection, store, model, clock))
                page = await model.select(projection.projection_id, "levels", limit=100)
                shown = figures(page.rows, "product_id", "store_id", "on_hand", "reserved", "version")
                assert shown == balances(events, page.checkpoint.position)
                await runner(projection, store, model, clock, owner="two").catch_up()
                page = await model.select(projection.projection_id, "levels", limit=100)
                assert page.checkpoint.position == events[-1].position
                assert figures(page.rows, "product_id", "store_id", "on_hand", "reserved", "version") == balances(events, 10**9)
                if ended:
                    return
            pytest.fail("the runner never ended by itself")

    anyio.run(body, backend=backend)


async def _cancelled_at(nth: int, runs: Any) -> bool:
    """Cancel it at its n-th suspension; whether it ended before that."""
    await runs.resume()
    left = nth

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            scope.cancel()

    with anyio.CancelScope() as scope:
        await Schedule(PLAIN, "").drive(runs.catch_up(), count)
    return left > 0


TABLE = Table("seen", {"stream": str, "version": int}, ("stream",))


@attrs.define
class Picky:
    """A projection that fails where it is told to."""

    bad: set[int] = attrs.field(factory=set[int])
    wrong: set[int] = attrs.field(factory=set[int])

    def projection(self) -> Projection:
        return Projection(projection_id=ProjectionId("seen", 1), tables=(TABLE,), apply=self.apply)

    def apply(self, _event: object, envelope: Envelope) -> Iterator[Change]:
        if envelope.position in self.bad:
            msg = "secret payload"
            raise LookupError(msg)
        row = {"stream": envelope.stream.text, "version": envelope.version}
        yield Put("seen", row | {"colour": "red"} if envelope.position in self.wrong else row)  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", ["bad", "wrong"])
def test_stop_stands_still_readably_until_it_is_resumed(backend: str, kind: str, tmp_path: Path, fault: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        picky = Picky(**{fault: {5}})
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock, steps=25)
            events = await whole_feed(store)
            runs = runner(picky.projection(), store, model, clock)
            for _ in range(2):
                await runs.run()
                status = await runs.status()
                assert (status.state, status.position, status.owner) == ("stopped", 4, None)
                assert status.error is not None
                assert str(events[4].stream) in status.error
                assert "secret" not in status.error
                assert status.lag_events == len(events) - 4
                assert status.lag_seconds == (clock.now() - events[4].recorded_at).total_seconds()
            picky.bad.clear()
            picky.wrong.clear()
            await runs.resume()
            await runs.catch_up()
            status = await runs.status()
            assert (status.state, status.error, status.lag_events, status.lag_seconds) == ("idle", None, 0, 0)

    anyio.run(body, backend=backend)


def test_where_only_the_newest_counts_a_failure_still_stands_where_it_is(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with MemoryEventStore() as store:
            await trade(store, clock, steps=25)
            events = await whole_feed(store)
            newest = sorted({event.stream.text: event.position for event in events}.values())
            for bad in (newest[0], newest[-2], newest[-1]):
                picky, model = Picky(bad={bad}), MemoryReadModel()
                projection = attrs.evolve(picky.projection(), newest_only=True)
                runs = runner(projection, store, model, clock, pace=Pace(batch_size=100))
                await runs.catch_up()
                status = await runs.status()
                assert (status.state, status.position) == ("stopped", bad - 1)
                last = {event.stream.text: event.version for event in events if event.position < bad}
                assert {row["stream"]: row["version"] for row in await rows_of(model, projection, "seen")} == last
                picky.bad.clear()
                await runs.resume()
                await runs.catch_up()
                assert (await runs.status()).position == events[-1].position

    anyio.run(body, backend=backend)


def test_a_table_of_dead_letters_is_the_runners_own() -> None:
    with pytest.raises(ValueError, match="parked"):
        Projection(projection_id=ProjectionId("p", 1), tables=(Table("parked", {"a": int}, ("a",)),), apply=Picky().apply)


def test_retry_goes_on_as_soon_as_it_can_and_says_why_it_waits(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()
        picky = Picky(bad={5})
        async with MemoryEventStore() as store:
            await trade(store, clock, steps=25)
            runs = runner(picky.projection(), store, model, clock, on_failure="retry")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runs.catch_up)
                with anyio.fail_after(5):
                    while (await runs.status()).state != "retrying":
                        await anyio.lowlevel.checkpoint()
                picky.bad.clear()
            assert (await runs.status()).lag_events == 0

    anyio.run(body, backend=backend)


def test_park_sets_a_stream_aside_and_it_can_be_retried_or_dropped(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        picky = Picky(bad={1})
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock, steps=25)
            events = await whole_feed(store)
            projection = picky.projection()
            runs = runner(projection, store, model, clock, on_failure="park")
            await runs.catch_up()
            stream = events[0].stream
            apart = [event.position for event in events if event.stream == stream]
            parked = runs.parked
            assert [row["position"] for row in await parked.list()] == apart
            assert [row["error"] for row in await parked.list(limit=1)] == ["LookupError"]
            assert all(row["stream"] != stream.text for row in await rows_of(model, projection, "seen"))
            with pytest.raises(LookupError):
                await parked.retry(stream)
            assert len(await parked.list()) == len(apart)
            picky.bad.clear()
            assert await parked.retry(stream) == len(apart)
            assert await parked.list() in ([], ())
            last = {event.stream.text: event.version for event in events}
            assert {row["stream"]: row["version"] for row in await rows_of(model, projection, "seen")} == last
            assert await parked.drop(StreamId("inventory", "none", "none")) == 0

    anyio.run(body, backend=backend)


def test_every_commit_is_told(backend: str) -> None:
    told: list[ProjectionAdvanced] = []

    class Listener:
        def projection_advanced(self, record: ProjectionAdvanced) -> None:
            told.append(record)

    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()
        async with MemoryEventStore() as store:
            await trade(store, clock, steps=25)
            count = len(await whole_feed(store))
            runs = runner(Picky(bad={count}).projection(), store, model, clock, observers=[Listener()], pace=Pace(batch_size=count - 1))
            await runs.catch_up()
            assert [(one.position, one.events, one.changes) for one in told] == [(count - 1, count - 1, count - 1), (count - 1, 1, 0)]
            assert {one.projection for one in told} == {"seen v1"}
            assert told[0].error is None
            assert "LookupError" in str(told[1].error)
            assert all(one.seconds >= 0 for one in told)

    anyio.run(body, backend=backend)


def test_one_runner_works_the_others_stand_by_and_a_fenced_one_changes_nothing(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores(kind, tmp_path) as (store, model):
            await trade(store, clock, steps=10)
            levels = SHIPPED[0]
            dead, person = (Lease(model, levels.projection_id, owner, clock, LEASE) for owner in ("dead", "person"))
            second, third = (runner(levels, store, model, clock, owner=owner) for owner in ("second", "third"))
            await second.resume()
            assert await dead.acquire()
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(second.run)
                    for _ in range(20):
                        status = await second.status()
                        assert (status.owner, status.position) == ("dead", 0)
                    clock.advance(LEASE)
                    await _until(second, "second")
                    with pytest.raises(CheckpointConflictError):
                        await dead.commit()
                    tasks.start_soon(third.run)
                    await trade(store, clock, seed=2, steps=20)
                    second.stop()
                    await _until(third, "third")
                    while not await person.acquire(by_force=True):
                        pass
                    await trade(store, clock, seed=3, steps=20)
                    await person.release()
                    while (await third.status()).lag_events:
                        await anyio.lowlevel.checkpoint()
                    third.stop()
            events = await whole_feed(store)
            rows = await rows_of(model, levels, "levels")
            assert figures(rows, "product_id", "store_id", "on_hand", "reserved", "version") == balances(events, 10**9)
            assert (await third.status()).state == "idle"

    anyio.run(body, backend=backend)


async def _until(runs: Any, owner: str) -> None:
    while (await runs.status()).owner != owner:
        await anyio.lowlevel.checkpoint()


KILLED = """
import sys, anyio, attrs
from pathlib import Path
from tests.integration.test_projections import SHIPPED, stores
from tests.integration.read_side import runner
from inventory_es.testing import ManualClock
from inventory_es.application.following.subscription import Pace

def apply(event, envelope):
    print(envelope.position, flush=True)
    return SHIPPED[2].apply(event, envelope)

async def main():
    async with stores("sqlite", Path(sys.argv[1])) as (store, model):
        told = attrs.evolve(SHIPPED[2], apply=apply)
        await runner(told, store, model, ManualClock(), pace=Pace(batch_size=1)).catch_up()

anyio.run(main)
"""


def test_a_killed_runner_loses_and_doubles_nothing(backend: str, tmp_path: Path) -> None:
    async def fill() -> None:
        async with stores("sqlite", tmp_path) as (store, _):
            await trade(store, ManualClock(), steps=60)

    async def judge() -> int:
        async with stores("sqlite", tmp_path) as (store, model):
            await runner(SHIPPED[2], store, model, ManualClock()).resume()
            page = await model.select(SHIPPED[2].projection_id, "movements", limit=10_000)
            events = await whole_feed(store)
            shown = sorted(int(row["position"] or 0) for row in page.rows)
            assert shown == [event.position for event in events if event.position <= page.checkpoint.position]
            return len(events) - len(shown)

    anyio.run(fill, backend=backend)
    root = Path(__file__).parents[2]
    chance = Random(5)
    left = [anyio.run(judge, backend=backend)]
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, cwd=root) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 6)):
                assert process.stdout.readline()
            process.kill()
        left.append(anyio.run(judge, backend=backend))
    assert left == sorted(left, reverse=True)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.DEVNULL, check=True, cwd=root)
    assert left[0] > left[-1]
    assert anyio.run(judge, backend=backend) == 0


class HeadTooFar:
    """A feed whose head is behind its last event."""

    def __init__(self, store: MemoryEventStore) -> None:
        self.read_all, self.wait_for_position, self._store = store.read_all, store.wait_for_position, store

    async def head(self) -> int:
        return await self._store.head() + 1


def test_catching_up_with_a_head_that_no_event_has_ends(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with MemoryEventStore() as store:
            await trade(store, clock, seed=0)
            model = MemoryReadModel()
            await runner(stock_levels(), HeadTooFar(store), model, clock).catch_up()
            with anyio.fail_after(20), pytest.raises(CorruptStoreError, match="the head is there, and the feed ends at"):
                await runner(stock_levels(), HeadTooFar(store), model, clock).catch_up()

    anyio.run(body, backend=backend)
