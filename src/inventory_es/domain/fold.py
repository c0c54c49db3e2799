"""How each event moves the balance and its reservation. Checks that the event can follow, changes nothing."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.events import (
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.reasons import Outcome, ReleaseReason
from inventory_es.domain.reservation import ClosedReservation, OpenReservation

if TYPE_CHECKING:
    from inventory_es.domain.inventory import Inventory

Moves = tuple[int, int, OpenReservation | None, ClosedReservation | None]
"""Units that come in and units that are promised, both below zero for the contrary; the event's reservation if it stays open, and how
it ended if it does not."""


def _added(_inventory: "Inventory", event: StockAddedEvent, _hold: None, _version: int, _at: datetime) -> Moves:
    return event.quantity, 0, None, None


def _adjusted(_inventory: "Inventory", event: StockAdjustedEvent, _hold: None, _version: int, _at: datetime) -> Moves:
    return event.delta, 0, None, None


def _reserved(inventory: "Inventory", event: StockReservedEvent, _hold: OpenReservation | None, version: int, at: datetime) -> Moves:
    reservation_id, quantity = event.reservation_id, event.quantity
    if inventory.knows(reservation_id):
        _corrupt(inventory, version, "it reserves under a reservation id that was used before")
    made = OpenReservation(reservation_id, quantity, quantity, 0, event.purpose, event.owner_id, at, event.expires_at, version)
    return 0, quantity, made, None


def _extended(inventory: "Inventory", event: ReservationExtendedEvent, hold: OpenReservation | None, version: int, _at: datetime) -> Moves:
    if hold is None:
        _not_open(inventory, version)
    if hold.expires_at != event.previous_expires_at or (event.expires_at is not None and event.expires_at <= event.previous_expires_at):
        _corrupt(inventory, version, "it does not extend the reservation's time")
    return 0, 0, _with(hold, hold.remaining, hold.committed, event.expires_at), None


def _released(inventory: "Inventory", event: StockReleasedEvent, hold: OpenReservation | None, version: int, _at: datetime) -> Moves:
    hold = _less(inventory, event, hold, version)
    if event.remaining:
        return 0, -event.quantity, _with(hold, event.remaining, hold.committed, hold.expires_at), None
    outcome = Outcome.EXPIRED if event.reason is ReleaseReason.EXPIRED else Outcome.RELEASED
    return 0, -event.quantity, None, ClosedReservation(outcome, hold.committed, hold.original - hold.committed, hold.expires_at)


def _committed(inventory: "Inventory", event: StockCommittedEvent, hold: OpenReservation | None, version: int, _at: datetime) -> Moves:
    hold = _less(inventory, event, hold, version)
    committed = hold.committed + event.quantity
    if event.remaining:
        return -event.quantity, -event.quantity, _with(hold, event.remaining, committed, hold.expires_at), None
    return (
        -event.quantity,
        -event.quantity,
        None,
        ClosedReservation(Outcome.COMMITTED, committed, hold.original - committed, hold.expires_at),
    )


def _less(
    inventory: "Inventory", event: StockReleasedEvent | StockCommittedEvent, hold: OpenReservation | None, version: int
) -> OpenReservation:
    if hold is None:
        _not_open(inventory, version)
    if event.remaining != hold.remaining - event.quantity:
        _corrupt(inventory, version, f"it leaves the reservation {event.remaining} of {hold.remaining} after {event.quantity}")
    return hold


def _with(hold: OpenReservation, remaining: int, committed: int, expires_at: datetime | None) -> OpenReservation:
    return OpenReservation(
        hold.reservation_id, hold.original, remaining, committed, hold.purpose, hold.owner_id, hold.reserved_at, expires_at, hold.version
    )


def _not_open(inventory: "Inventory", version: int) -> NoReturn:
    _corrupt(inventory, version, "it moves a reservation that is not open")


def _corrupt(inventory: "Inventory", version: int, problem: str) -> NoReturn:
    raise CorruptStreamError(stream=inventory.inventory_id.stream, version=version, problem=problem)


FOLDS: Mapping[type[Any], Callable[["Inventory", Any, Any, int, datetime], Moves]] = {
    StockAddedEvent: _added,
    StockReservedEvent: _reserved,
    ReservationExtendedEvent: _extended,
    StockReleasedEvent: _released,
    StockCommittedEvent: _committed,
    StockAdjustedEvent: _adjusted,
}
"""What each event moves.

Each is given the inventory, its next event, the open reservation that the event names (``None``: it names none, or none is open),
the version that the event makes and its time, and raises :class:`~inventory_es.errors.CorruptStreamError` if the event can't follow.
"""
