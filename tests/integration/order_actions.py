"""What happens to whole orders over time, with everything else that happens: one sequence, the same for the same file."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from heapq import heappop, heappush

import attrs

from inventory_es.cli.replay.steps import Step, StepKind
from inventory_es.domain.processes.lines import OrderItem
from inventory_es.domain.processes.order.commands import AuthorisePayment, LapseOrder, OrderCommand, PlaceOrder, ShipOrder
from tests.integration.order_fates import TTL, fate_of


@attrs.frozen
class Action:
    """One thing that happens.

    Attributes:
        number: among all of them, from 1.
        at: when.
        step: of the file: what it is, or which order it belongs to.
        command: to the order of the step; ``None`` where the step is no order.
    """

    number: int
    at: datetime
    step: Step
    command: OrderCommand | None


def actions(steps: Iterable[Step]) -> Iterator[Action]:
    """Everything in the order of its time: what the file says, and what becomes of its orders.

    Orders are kept no longer than until the last thing happened to them.

    Args:
        steps: in the order of their times.
    """
    number = 0
    later: list[tuple[datetime, int, Step, OrderCommand]] = []
    drawn = 0
    for step in steps:
        while later and later[0][0] <= step.at:
            number += 1
            at, _, its_step, command = heappop(later)
            yield Action(number, at, its_step, command)
        number += 1
        if step.kind is not StepKind.ORDER:
            yield Action(number, step.at, step, None)
            continue
        place = _place(step, "" if step.invoice is None else step.invoice.order_id)
        yield Action(number, step.at, step, place)
        for after, command in _what_follows(step, place):
            drawn += 1
            heappush(later, (step.at + after, drawn, step, command))
    while later:
        number += 1
        at, _, step, command = heappop(later)
        yield Action(number, at, step, command)


def _place(step: Step, order_id: str) -> PlaceOrder:
    items = (OrderItem(line.inventory_id.product_id, line.inventory_id.store_id, line.quantity) for line in step.lines)
    return PlaceOrder(order_id=order_id, lines=tuple(items), ttl=TTL)


def _what_follows(step: Step, place: PlaceOrder) -> Iterator[tuple[timedelta, OrderCommand]]:
    fate = fate_of(step.lines[0].invoice, place.lines)
    if fate.paid_after is None:
        yield TTL, LapseOrder(order_id=place.order_id)
        return
    yield fate.paid_after, AuthorisePayment(order_id=place.order_id, payment_id=f"payment of {place.order_id}")
    for number, parcel in enumerate(fate.parcels, 1):
        yield parcel.after, ShipOrder(order_id=place.order_id, shipment_id=f"parcel {number}", lines=parcel.lines)
