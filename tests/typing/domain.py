"""What a type checker says about commands, events and errors. Read by ``test_types.py``, never run."""

from datetime import timedelta
from typing import assert_never, assert_type

from inventory_es.commands import AddReason, AddStock, Command, ReserveStock
from inventory_es.domain.identifiers import InventoryId
from inventory_es.errors import InsufficientStockError, InventoryError
from inventory_es.events import (
    Event,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)

ESPRESSO = InventoryId("espresso-1kg", "berlin")


def commands() -> None:
    anything: list[Command] = [AddStock(inventory_id=ESPRESSO, command_id="c1", quantity=3, reason=AddReason.FOUND)]
    reserve = ReserveStock(inventory_id=ESPRESSO, reservation_id="r1", quantity=3, ttl=timedelta(minutes=15))
    assert_type(reserve.ttl, timedelta | None)
    assert_type(reserve.command_id, str)
    assert_type(reserve.quantity, int)
    ReserveStock(inventory_id=ESPRESSO, reservation_id="r1", quantity=3)  # type: ignore[call-arg]
    AddStock(ESPRESSO, command_id="c1", quantity=3)  # type: ignore[call-arg]
    AddStock(inventory_id="espresso-1kg", command_id="c1", quantity=3)  # type: ignore[arg-type]
    AddStock(inventory_id=ESPRESSO, command_id="c1", quantity="3")  # type: ignore[arg-type]
    reserve.quantity = 4  # type: ignore[misc]
    assert_type(anything[0].inventory_id, InventoryId)


def every_event_is_met(event: Event) -> int:
    match event:
        case StockAddedEvent() | StockReservedEvent() | StockReleasedEvent() | StockCommittedEvent():
            return event.quantity
        case StockAdjustedEvent():
            return event.delta
        case ReservationExtendedEvent():
            return 0
        case _:
            assert_never(event)


def a_forgotten_event_is_found(event: Event) -> int:
    match event:
        case StockAddedEvent() | StockReservedEvent() | StockReleasedEvent() | StockCommittedEvent() | StockAdjustedEvent():
            return event.on_hand
        case _:
            assert_never(event)  # type: ignore[arg-type]


def errors(error: InventoryError) -> None:
    assert_type(error.code, str)
    assert_type(error.retryable, bool)
    if isinstance(error, InsufficientStockError):
        assert_type(error.requested, int)
        assert_type(error.shortfall, int)
