"""The check at the end of a replay through orders: inventories and orders are folded, and counted independently of the replay."""

from collections import Counter

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.processes.orders import OrderHandler
from inventory_es.application.service import InventoryService
from inventory_es.cli.replay.audit import Audit
from inventory_es.cli.replay.steps import Survey
from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.events import (
    Recorded,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.processes.order.events import OrderStatus
from inventory_es.domain.reasons import AddReason
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore
from inventory_es.ports.errors import EventDecodeError
from inventory_es.ports.toolkit.page_rules import read_stream_page
from tests.integration.order_fates import order_id_of
from tests.integration.process_replayer import ProcessTotals

_PAGE = 10_000
_CODEC = JsonEventCodec()
_ADDED = {AddReason.OPENING: "units_opening", AddReason.RECEIVED: "units_received", AddReason.RETURNED: "units_returned"}
_UNITS = {OrderStatus.DONE: "units_sold", OrderStatus.EXPIRED: "units_expired", OrderStatus.REJECTED: "units_refused"}
_ORDERS = {OrderStatus.DONE: "orders_done", OrderStatus.EXPIRED: "orders_expired", OrderStatus.REJECTED: "orders_refused"}


async def audit_processes(inventory: InventoryService, survey: Survey, replay: StreamId, totals: ProcessTotals) -> Audit:
    """Fold every stream that the orders move, and every order, and hold what stands there against the totals.

    The folds themselves refuse a version, a time, a balance or a state that can't be. Beyond them: on hand is what was added less what
    left; every order has ended; what the orders say to have taken from an inventory is what left it; nothing that an order held is still
    held; units ordered are those sold, expired and refused; and the sums are the totals.

    Args:
        inventory: where the streams are.
        survey: which inventories and orders.
        replay: the replay's own stream, whose name its events carry as correlation id.
        totals: what it says to have done.
    """
    violations: list[str] = []
    found = Counter[str]()
    expected_to_leave = await _count_orders(inventory, survey, found, violations)
    sold: dict[InventoryId, int] = {}
    on_hand: dict[InventoryId, int] = {}
    for inventory_id in survey.first_moved:
        try:
            own, state = await _fold(inventory.store, inventory_id, replay.text, violations)
        except (CorruptStreamError, EventDecodeError) as problem:
            violations.append(str(problem))
            continue
        if own["left"] != expected_to_leave[inventory_id]:
            violations.append(f"{own['left']} units left {inventory_id}, its orders say {expected_to_leave[inventory_id]}")
        found.update(own)
        if own["events"]:
            sold[inventory_id] = own["left"]
            on_hand[inventory_id] = state.units_on_hand
    if found["units_ordered"] != found["units_sold"] + found["units_expired"] + found["units_refused"]:
        violations.append(f"{found['units_ordered']} units were ordered, which are not those sold, expired and refused")
    counted = {name: value for name, value in _figures(totals).items() if value != found[name]}
    violations.extend(
        f"the replay counted {value} {name.replace('_', ' ')}, its streams have {found[name]}" for name, value in counted.items()
    )
    return Audit(len(sold), violations, sold, on_hand)


async def _count_orders(inventory: InventoryService, survey: Survey, found: Counter[str], violations: list[str]) -> Counter[InventoryId]:
    """Count every order by how it ended; the units that left, by inventory."""
    handler = OrderHandler(inventory)
    left = Counter[InventoryId]()
    for invoice in survey.invoices:
        if invoice.is_in or invoice.ordered_at is None:
            continue
        try:
            order = (await handler.load(order_id_of(invoice))).state
        except (CorruptStreamError, EventDecodeError) as problem:
            violations.append(str(problem))
            continue
        units = sum(line.quantity for line in order.lines)
        found.update({"orders": 1, "units_ordered": units, _ORDERS.get(order.status, ""): 1, _UNITS.get(order.status, ""): units})
        if order.status not in _UNITS or order.step is not None:
            violations.append(f"order {order_id_of(invoice)} has not ended: it is {order.status}")
        if order.status is OrderStatus.DONE:
            left.update({line.inventory_id: line.quantity for line in order.lines})
    return left


async def _fold(store: EventStore, inventory_id: InventoryId, correlation_id: str, violations: list[str]) -> tuple[Counter[str], Inventory]:
    own, moved, held = Counter[str](), 0, Counter[str]()
    state, is_end = Inventory(inventory_id), False
    while not is_end:
        page = await read_stream_page(store, inventory_id.stream, after=state.version, limit=_PAGE)
        for recorded in page.events:
            event = _CODEC.decode(recorded)
            state.apply(Recorded(event, recorded.version, recorded.recorded_at))
            is_own = _CODEC.decode_metadata(recorded).correlation_id == correlation_id
            own["events"] += is_own
            match event:
                case StockAddedEvent():
                    moved += event.quantity
                    own[_ADDED.get(event.reason, "")] += event.quantity * is_own
                    own["returns"] += is_own and event.reason is AddReason.RETURNED
                case StockReservedEvent() if is_own:
                    held[event.reservation_id] += event.quantity
                case StockCommittedEvent():
                    moved -= event.quantity
                    held[event.reservation_id] -= event.quantity * is_own
                    own["left"] += event.quantity * is_own
                case StockReleasedEvent() if event.reservation_id in held:
                    held[event.reservation_id] -= event.quantity
                case StockAdjustedEvent():
                    moved += event.delta
                    own["units_written_off"] -= event.delta * is_own
                    own["adjustments"] += is_own
                case _:
                    pass
        is_end = page.is_end
    if moved != state.units_on_hand:
        violations.append(f"stream {state.inventory_id.stream} says {state.units_on_hand} on hand, its movements add up to {moved}")
    still = sum(held.values())
    if still:
        violations.append(f"stream {state.inventory_id.stream} has {still} units reserved by orders and neither sold nor given back")
    return own, state


def _figures(totals: ProcessTotals) -> dict[str, int]:
    names = ("orders", "orders_refused", "orders_done", "orders_expired", "units_ordered", "units_sold", "units_expired", "units_refused")
    others = ("events", "returns", "units_returned", "units_written_off", "units_received", "units_opening")
    figures = {name: int(getattr(totals, name)) for name in (*names, *others)}
    return figures | {"adjustments": totals.adjustments - totals.adjustments_refused}
