"""The movement ledger: one row per event of an inventory, with the running balance."""

from collections.abc import Iterator
from typing import NamedTuple

import attrs

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.projections.rows import AsOf, RowTable, inventory_projection, stamp
from inventory_es.domain.events import (
    Event,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.ports.read_model import Change


@attrs.frozen(kw_only=True)
class MovementRow(AsOf):
    """One event of an inventory: the change of the balance, and the balance after it."""

    event_type: str
    on_hand_change: int
    reserved_change: int
    on_hand: int
    reserved: int
    reservation_id: str | None
    reason: str | None


MOVEMENTS = RowTable("movements", MovementRow, key=("product_id", "store_id", "version"))


class Movement(NamedTuple):
    """The change of a balance.

    Attributes:
        on_hand: units that came in; negative for units that left.
        reserved: units promised; negative for units freed.
    """

    on_hand: int
    reserved: int


def movement_of(event: Event) -> Movement:
    """Return the change that an event made to the balance that it carries."""
    match event:
        case StockAddedEvent():
            return Movement(event.quantity, 0)
        case StockAdjustedEvent():
            return Movement(event.delta, 0)
        case StockReservedEvent():
            return Movement(0, event.quantity)
        case StockReleasedEvent():
            return Movement(0, -event.quantity)
        case StockCommittedEvent():
            return Movement(-event.quantity, -event.quantity)
        case _:
            return Movement(0, 0)


def ledger(*, version: int = 1) -> Projection:
    """Return the projection of every movement of every inventory."""
    return inventory_projection("ledger", version, _apply, MOVEMENTS, same_in_every_version=True)


def _apply(event: Event, envelope: Envelope) -> Iterator[Change]:
    moved = movement_of(event)
    reason = getattr(event, "reason", None)
    yield MOVEMENTS.put(
        {
            "product_id": event.product_id,
            "store_id": event.store_id,
            "event_type": type(event).__name__,
            "on_hand_change": moved.on_hand,
            "reserved_change": moved.reserved,
            "on_hand": event.on_hand,
            "reserved": event.reserved,
            "reservation_id": getattr(event, "reservation_id", None),
            "reason": None if reason is None else reason.value,
            **stamp(envelope),
        }
    )
