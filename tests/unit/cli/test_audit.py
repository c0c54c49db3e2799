"""The check at the end finds what is wrong, and says where."""

from functools import partial
from pathlib import Path

import anyio
import attrs
import pytest

from inventory_es import InventoryId, NewEvent, StreamWrite
from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.cli.checks import check_stream
from inventory_es.cli.commands.replay import run_replay
from inventory_es.cli.replay.audit import Audit, audit
from inventory_es.cli.replay.orders_file import OrdersError, OrdersFile
from inventory_es.cli.replay.progress import Totals
from inventory_es.cli.replay.replayer import replay_stream
from inventory_es.cli.replay.steps import survey
from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.events import StockAddedEvent
from inventory_es.domain.reasons import AddReason
from inventory_es.ports.errors import ConcurrencyError
from tests.integration.made_up_orders import on, write_orders
from tests.integration.replaying import replay

MUG = InventoryId("mug", "main")


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    return write_orders(tmp_path / "orders.csv", [("1", "mug", 5, on("2010-12-01 09:00")), ("C1", "mug", -2, on("2010-12-02 09:00"))])


async def audited(orders: Path, totals: Totals | None = None, *, bad_balance: bool = False) -> Audit:
    """The audit of a replay, with other totals than it came to, or with an event that contradicts the others."""
    store, source = MemoryEventStore(), OrdersFile(orders)
    outcome = await replay(orders, store)
    if bad_balance:
        event_type, schema_version, data = JsonEventCodec().encode(StockAddedEvent("mug", "main", 1, AddReason.FOUND, 99, 0))
        wrong = NewEvent(EventIds(MUG.stream).own("wrong", 0), event_type, schema_version, on("2010-12-03 09:00"), data)
        await store.append([StreamWrite(MUG.stream, 4, [wrong])])
        page = await store.read_stream(MUG.stream, limit=100)
        assert [version for version, _ in check_stream(MUG.stream, iter(page.events))] == [5]
    found = survey(source, skip_bad=False)
    return await audit(store, found, replay_stream(source, None), outcome.totals if totals is None else outcome.totals + totals)


def test_what_is_right_has_no_violation(orders: Path, backend: str) -> None:
    found = anyio.run(audited, orders, backend=backend)
    assert (found.violations, found.inventories, found.sold[MUG], found.on_hand[MUG]) == ([], 1, 5, 2)


@pytest.mark.parametrize(
    "name",
    [
        field.name
        for field in attrs.fields(Totals)
        if field.name not in {"rows", "orders", "orders_refused", "adjustments_refused", "invoices_in_before"}
    ],
)
def test_every_total_that_streams_can_show_is_compared(name: str, orders: Path) -> None:
    found = anyio.run(audited, orders, Totals(**{name: 1}))
    assert len(found.violations) == 1
    assert name.replace("_", " ") in found.violations[0]


def test_an_event_that_contradicts_the_others_is_a_violation(orders: Path) -> None:
    found = anyio.run(partial(audited, bad_balance=True), orders)
    assert "inventory-mug-main" in found.violations[0]
    assert "99" in found.violations[0]


def test_a_stream_that_is_no_inventory_is_the_hosts_to_check(orders: Path) -> None:
    assert list(check_stream(replay_stream(OrdersFile(orders), None), iter(()))) == []


@pytest.mark.parametrize("stream", ["replay", "inventory"])
def test_a_replay_that_another_process_runs_too_is_told_as_that(stream: str, orders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = replay_stream(OrdersFile(orders), None) if stream == "replay" else MUG.stream

    async def beaten(_replayer: object) -> None:
        raise ConcurrencyError(stream=moved, expected=1, actual=2)

    monkeypatch.setattr("inventory_es.cli.replay.replayer.Replayer.run", beaten)
    with pytest.raises(OrdersError if stream == "replay" else ConcurrencyError):
        run_replay(OrdersFile(orders), "memory:", opening=None, skip_bad=False)
