"""What one event of an inventory moved."""

from typing import NamedTuple

from inventory_es.domain.events import (
    Event,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)


class Movement(NamedTuple):
    """By how much the balance changed.

    Attributes:
        on_hand: units that came (or left, below 0).
        reserved: units promised (or freed, below 0).
    """

    on_hand: int
    reserved: int


def movement_of(event: Event) -> Movement:
    """By how much this event changed the balance that it carries."""
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
