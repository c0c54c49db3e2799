"""Orders of a file go through order processes exactly once, every one ends, and what was ordered is what was sold, expired and refused."""

import json
from functools import partial
from pathlib import Path
from uuid import uuid4

import anyio
import attrs
import pytest

from inventory_es import AddReason, InventoryId, StreamId, command_context
from inventory_es.adapters.file import verify
from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.cli.checks import check_stream
from inventory_es.cli.replay.audit import Audit
from inventory_es.cli.replay.order_lines import OrderLine as FileLine
from inventory_es.cli.replay.orders_file import OrdersError, OrdersFile
from inventory_es.cli.replay.replayer import ReplayClock, ReplayOutcome
from inventory_es.cli.replay.steps import steps, survey
from inventory_es.domain.events import StockAddedEvent
from inventory_es.domain.processes.lines import OrderLine
from inventory_es.ports import NewEvent, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.processes import OrderHeldEvent, Orders, OrderStatus
from inventory_es.wiring import open_inventory
from tests.integration import order_fates
from tests.integration.independent_count import count
from tests.integration.made_up_orders import SAMPLES, made_up_rows, on, write_orders
from tests.integration.order_fates import TTL, actions, fate_of
from tests.integration.process_audit import audit_processes
from tests.integration.process_replay import replay, run
from tests.integration.process_replayer import ProcessReplayAdvancedEvent, ProcessReplayer, ProcessTotals
from tests.integration.replaying import store_url
from tests.integration.test_replay import Meddled, Slow, StoppedError, StopsAfter

DAY = [path for path in SAMPLES if path.suffix == ".csv"]
BOTH = ("rows", "orders", "returns", "adjustments", "units_returned")


@pytest.fixture(autouse=True)
def one_in_four_is_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_fates, "_ABANDONED_ONE_IN", 4)


def check(outcome: ReplayOutcome, found: Audit, path: Path) -> None:
    """Nothing is violated, and what does not depend on the processes is as in the file."""
    assert list(found.violations) == []
    totals = outcome.totals
    assert isinstance(totals, ProcessTotals)
    assert totals.units_ordered == totals.units_sold + totals.units_expired + totals.units_refused
    assert totals.orders == totals.orders_done + totals.orders_expired + totals.orders_refused
    expected = count(path, opening=None)
    assert {name: getattr(totals, name) for name in BOTH} == {name: expected[name] for name in BOTH}
    assert totals.units_ordered == expected["units_sold"]


@pytest.mark.parametrize("opening", [None, 0, 7, 60])
@pytest.mark.parametrize("seed", range(3))
def test_made_up_orders_reconcile(seed: int, opening: int | None, tmp_path: Path, backend: str) -> None:
    path = write_orders(tmp_path / "orders.csv", made_up_rows(seed, invoices=40))
    outcome, found = anyio.run(partial(replay, path, "memory:", opening=opening, most_commands=25), backend=backend)
    check(outcome, found, path)
    assert outcome.events_now == outcome.totals.events
    assert (outcome.totals.orders_refused > 0) is (opening in {0, 7} or (opening == 60 and outcome.totals.orders_refused > 0))


@pytest.mark.parametrize("path", DAY or [None], ids=lambda path: path.name if path else "no sample data")
@pytest.mark.parametrize("scheme, opening", [("file", None), ("sqlite", None), ("memory", 100), ("postgresql", None)])
def test_a_real_day_reconciles(path: Path | None, scheme: str, opening: int | None, tmp_path: Path) -> None:
    path = path or write_orders(tmp_path / "orders.csv", made_up_rows(100, invoices=120))
    with store_url(scheme, tmp_path) as url:
        outcome, found = anyio.run(partial(replay, path, url, opening=opening))
    check(outcome, found, path)
    if scheme == "file":
        assert list(verify(tmp_path / "stock", check_stream=check_stream)) == []


def test_the_script_prints_the_totals_of_both_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_orders(tmp_path / "orders.csv", made_up_rows(3, invoices=40))
    assert run([str(path), "--url", f"file:{tmp_path / 'stock'}"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["units_ordered"] == told["units_sold"] + told["units_expired"] + told["units_refused"] > 0
    assert (told["orders_expired"] > 0, told["resumed_at_row"]) == (True, 0)
    assert run([str(path), "--url", f"file:{tmp_path / 'stock'}"]) == 0
    assert json.loads(capsys.readouterr().out) == told | {"resumed_at_row": told["rows"]}


@pytest.mark.parametrize("opening", [None, 20])
def test_stopped_after_any_append_it_goes_on_and_comes_to_the_same(opening: int | None, tmp_path: Path, backend: str) -> None:
    path = write_orders(tmp_path / "orders.csv", made_up_rows(5, invoices=60))

    async def stop_again_and_again() -> None:
        store, stopped = MemoryEventStore(), 0
        while True:
            try:
                outcome, found = await replay(path, StopsAfter(store, 2), opening=opening, most_commands=30)
            except StoppedError:
                stopped += 1
                continue
            break
        assert stopped > 5
        check(outcome, found, path)
        undisturbed, _ = await replay(path, MemoryEventStore(), opening=opening)
        assert undisturbed.totals == outcome.totals
        head = await store.head()
        again, _ = await replay(path, store, opening=opening)
        assert (again.totals, again.resumed_at_row, again.events_now) == (outcome.totals, outcome.totals.rows, 0)
        assert await store.head() == head

    anyio.run(stop_again_and_again, backend=backend)


def test_progress_and_what_it_describes_are_one_append(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.csv", made_up_rows(6, invoices=30))

    async def look() -> None:
        told: list[ProcessReplayAdvancedEvent] = []
        await replay(path, MemoryEventStore(), most_commands=30, advanced=told.append)
        assert [one.action for one in told] == sorted(one.action for one in told)
        assert [one.row for one in told] == sorted(one.row for one in told)
        for one in told:
            totals = one.totals
            assert totals.units_ordered >= totals.units_sold + totals.units_expired + totals.units_refused
        assert (told[0].action, told[-1].is_finished, told[-1].row) == (0, True, told[-1].totals.rows)

    anyio.run(look)


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
        assert beaten in ([], ["replay"])
        check(*await replay(path, store), path)

    anyio.run(race, backend=backend)


@pytest.mark.parametrize("opening", [None, 30])
def test_somebody_else_takes_all_meanwhile(opening: int | None, tmp_path: Path, backend: str) -> None:
    path = write_orders(tmp_path / "orders.csv", [("1", "mug", 5, on("2010-12-01 09:00")), ("C1", "mug", -9, on("2010-12-01 09:00"))])
    more = write_orders(tmp_path / "more.csv", [("3", "plate", 1, on("2010-12-10 10:00")), ("4", "mug", 8, on("2010-12-10 10:00"))])

    async def sell() -> None:
        store = MemoryEventStore()
        await replay(path, store, opening=opening)
        source, clock = OrdersFile(more), ReplayClock()
        found = survey(source, skip_bad=False)
        others_clock = ReplayClock()
        others_clock.time = on("2010-12-10 09:30")
        async with open_inventory(store, clock=others_clock) as other, open_inventory(Meddled(store, other), clock=clock) as inventory:
            outcome = await ProcessReplayer(inventory, clock, source, found, opening=opening).run()
            order = await Orders(inventory).order("4")
        assert (outcome.totals.orders_refused, order.status is OrderStatus.REJECTED) == ((0, False) if opening is None else (1, True))
        assert order.status in {OrderStatus.DONE, OrderStatus.EXPIRED, OrderStatus.REJECTED}

    anyio.run(sell, backend=backend)


def test_an_order_that_somebody_else_moved_is_told_as_that(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.csv", [("1", "mug", 5, on("2010-12-01 09:00"))])

    async def look() -> None:
        store, clock = MemoryEventStore(), ReplayClock()
        clock.time = on("2010-12-01 08:00")
        async with open_inventory(store, clock=clock) as other:
            await other.add_stock("plate", "main", 5)
            await Orders(other).reserve("1", [("plate", "main", 1)], ttl=TTL)
        with pytest.raises(OrdersError, match="order-1 is there already, and was moved by somebody else"):
            await replay(path, store)

    anyio.run(look)


@pytest.mark.parametrize(
    "name",
    [field.name for field in attrs.fields(ProcessTotals) if field.name not in {"rows", "adjustments_refused", "invoices_in_before"}],
)
def test_every_total_that_streams_can_show_is_compared(name: str, tmp_path: Path) -> None:
    rows = [("1", "mug", 5, on("2010-12-01 09:00")), ("C1", "mug", -2, on("2010-12-02 09:00"))]
    path = write_orders(tmp_path / "orders.csv", rows)
    _, found = anyio.run(partial(replay, path, "memory:", more=ProcessTotals(**{name: 1})))
    assert len(found.violations) == 1
    assert name.replace("_", " ") in found.violations[0]


def test_streams_that_do_not_fold_are_found(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.csv", [("1", "mug", 5, on("2010-12-01 09:00")), ("2", "jug", 1, on("2010-12-01 09:00"))])

    async def look() -> Audit:
        store = MemoryEventStore()
        await replay(path, store)
        wrong = (StockAddedEvent("mug", "main", 1, AddReason.FOUND, 99, 0), InventoryId("mug", "main").stream)
        twice = (OrderHeldEvent("1", on("2010-12-09 09:00")), StreamId("order", "1"))
        async with open_inventory(store) as other:
            for event, stream in (wrong, twice):
                version = (await store.read_stream(stream, limit=1)).version
                kind, schema_version, data = other.parts.codec.encode(event)
                new = NewEvent(uuid4(), kind, schema_version, on("2010-12-09 09:00"), data)
                await store.append([StreamWrite(stream, version, [new])])
            await other.add_stock("jug", "main", 2, reference="somebody else")
            hold = await other.reserve("jug", "main", 1, ttl=None)
            await other.commit(hold)
            await other.adjust("jug", "main", -1, reason="LOSS")
        _, found = await replay(path, store)
        return found

    found = anyio.run(look)
    assert any("inventory-mug-main does not fold at version 6" in violation for violation in found.violations), found.violations
    assert any("order-1 does not fold" in violation for violation in found.violations)
    assert not any("jug" in violation for violation in found.violations), found.violations


def test_what_an_order_still_holds_is_found(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.csv", [("1", "mug", 5, on("2010-12-01 09:00"))])

    async def look() -> Audit:
        store, clock, source = MemoryEventStore(), ReplayClock(), OrdersFile(path)
        await replay(path, store)
        found = survey(source, skip_bad=False)
        clock.time = on("2010-12-09 09:00")
        async with open_inventory(store, clock=clock) as inventory:
            replayer = ProcessReplayer(inventory, clock, source, found)
            totals = (await replayer.run()).totals
            assert isinstance(totals, ProcessTotals)
            with command_context(correlation_id=replayer.stream.text):
                await inventory.add_stock("mug", "main", 3)
                hold = await inventory.reserve("mug", "main", 3, ttl=None)
                await inventory.commit(hold, 1)
            return await audit_processes(inventory, found, replayer.stream, totals)

    violations = anyio.run(look).violations
    assert "stream inventory-mug-main has 2 units reserved by orders and neither sold nor given back" in violations
    assert "6 units left inventory-mug-main, its orders say 5" in violations


def test_what_was_done_behind_the_replay_is_found(tmp_path: Path) -> None:
    path = write_orders(tmp_path / "orders.csv", [("1", "mug", 5, on("2010-12-01 09:00")), ("2", "mug", 1, on("2010-12-01 09:00"))])

    async def look() -> Audit:
        store, clock = MemoryEventStore(), ReplayClock()
        source = OrdersFile(path)
        found = survey(source, skip_bad=False)
        async with open_inventory(store, clock=clock) as inventory:
            outcome = await ProcessReplayer(inventory, clock, source, found).run()
            assert isinstance(outcome.totals, ProcessTotals)
            line = FileLine(4, 3, 1, "3", InventoryId("mug", "main"), 1, on("2010-12-02 09:00"), "")
            found.invoices.begin(line).add(line)
            stream = ProcessReplayer(inventory, clock, source, found).stream
            return await audit_processes(inventory, found, stream, outcome.totals)

    found = anyio.run(look)
    assert any("order 3 has not ended: it is NEW" in violation for violation in found.violations)


def test_every_order_has_one_fate_and_all_of_it_leaves() -> None:
    lines = [OrderLine(f"p{number}", "main", number, number) for number in range(1, 8)]
    fates = [fate_of(str(invoice), lines) for invoice in range(400)]
    assert fates == [fate_of(str(invoice), lines) for invoice in range(400)]
    abandoned = [one for one in fates if one.paid_after is None]
    assert 50 < len(abandoned) < 150
    assert all(not one.parcels for one in abandoned)
    for fate in fates:
        if fate.paid_after is not None:
            assert fate.paid_after < TTL
            assert [one.after for one in fate.parcels] == sorted(one.after for one in fate.parcels)
            assert fate.parcels[0].after > fate.paid_after
            units: dict[InventoryId, int] = {}
            for parcel in fate.parcels:
                for line in parcel.lines:
                    units[line.inventory_id] = units.get(line.inventory_id, 0) + line.quantity
            assert units == {line.inventory_id: line.quantity for line in lines}
    assert {len(fate.parcels) for fate in fates} == {0, 1, 2, 3}
    assert len(fate_of("1", [OrderLine("p", "main", 1, 1)]).parcels) <= 1


def test_what_happens_is_in_the_order_of_time(tmp_path: Path) -> None:
    source = OrdersFile(write_orders(tmp_path / "orders.csv", made_up_rows(9, invoices=60)))
    found = list(actions(steps(source, survey(source, skip_bad=False).invoices)))
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    assert [one.at for one in found] == sorted(one.at for one in found)
