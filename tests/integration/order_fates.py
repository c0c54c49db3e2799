"""Fates of orders: when each is paid, and in which parcels it leaves, drawn from its number and so always the same."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from heapq import heappop, heappush
from random import Random

import attrs

from inventory_es.cli.replay.order_lines import STORE
from inventory_es.cli.replay.steps import Invoice, Step, StepKind
from inventory_es.domain.processes.lines import OrderItem, OrderLine
from inventory_es.domain.processes.order.commands import AuthorisePayment, LapseOrder, OrderCommand, PlaceOrder, ShipOrder

TTL = timedelta(minutes=30)
"""How long an order is held for its payment."""

_ABANDONED_ONE_IN = 50
_PARCELS = (1, 1, 1, 2, 2, 3)
_LONGEST_DELIVERY = 24 * 60 * 60


@attrs.frozen
class Parcel:
    """What leaves together.

    Attributes:
        after: since the order was placed.
        lines: what is in it.
    """

    after: timedelta
    lines: tuple[OrderLine, ...]


@attrs.frozen
class Fate:
    """What becomes of an order that could be held.

    Attributes:
        paid_after: since it was placed; ``None`` for one that nobody ever pays.
        parcels: in the order in which they leave.
    """

    paid_after: timedelta | None
    parcels: Sequence[Parcel]


def fate_of(invoice: str, lines: Sequence[OrderLine]) -> Fate:
    """The fate of the order of this invoice.

    Args:
        invoice: its number.
        lines: its lines, one for each inventory.
    """
    chance = Random(f"fate of {invoice}")
    if chance.randrange(_ABANDONED_ONE_IN) == 0:
        return Fate(None, ())
    after = paid_after = timedelta(seconds=chance.randint(1, int(TTL.total_seconds()) - 1))
    parcels: list[Parcel] = []
    for contents in _contents(chance, lines):
        after += timedelta(seconds=chance.randint(1, _LONGEST_DELIVERY))
        parcels.append(Parcel(after, contents))
    return Fate(paid_after, parcels)


def _contents(chance: Random, lines: Sequence[OrderLine]) -> list[tuple[OrderLine, ...]]:
    """Each line goes into one of the parcels, and the longest into all of them, as far as it has units."""
    count = chance.choice(_PARCELS)
    longest = max(lines, key=lambda line: line.quantity)
    parcels: list[list[OrderLine]] = [[] for _ in range(count)]
    for line in lines:
        if line is not longest:
            chance.choice(parcels).append(line)
    for number, parcel in enumerate(parcels):
        units = longest.quantity // count + (number < longest.quantity % count)
        if units:
            parcel.append(attrs.evolve(longest, quantity=units))
    return [tuple(parcel) for parcel in parcels if parcel]


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


def order_id_of(invoice: Invoice) -> str:
    """Return the id of the order process of an invoice. A number with an @ always has its store behind it, so no two ids are equal."""
    return invoice.name if invoice.store_id == STORE and "@" not in invoice.number else f"{invoice.name}@{invoice.store_id}"


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
        place = _place(step, "" if step.invoice is None else order_id_of(step.invoice))
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
