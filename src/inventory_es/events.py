"""Every event: what happened to an inventory, as it is stored."""

from inventory_es.domain.events import (
    Event,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)

__all__ = [
    "Event",
    "ReservationExtendedEvent",
    "StockAddedEvent",
    "StockAdjustedEvent",
    "StockCommittedEvent",
    "StockReleasedEvent",
    "StockReservedEvent",
]
