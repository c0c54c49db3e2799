"""The moves of each event: of the balance, and of its reservation. Each move is checked; the state stays unchanged."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from inventory_es.domain.events import (
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.reasons import Ending, ReleaseReason
from inventory_es.domain.reservation_book import ClosedReservation, OpenReservation, ReservationBook

_NOT_OPEN = "it moves a reservation that is not open"


class ContradictionError(Exception):
    """An event can't follow. The text gives the reason."""


def _refuse(problem: str) -> NoReturn:
    raise ContradictionError(problem)


Moves = tuple[int, int, OpenReservation | None, ClosedReservation | None]
"""The changes of on hand and of reserved; the event's reservation if it stays open, and its ending if it does not."""


def _added(_book: ReservationBook, event: StockAddedEvent, _hold: None, _version: int, _at: datetime) -> Moves:
    return event.quantity, 0, None, None


def _adjusted(_book: ReservationBook, event: StockAdjustedEvent, _hold: None, _version: int, _at: datetime) -> Moves:
    return event.delta, 0, None, None


def _reserved(book: ReservationBook, event: StockReservedEvent, _hold: OpenReservation | None, version: int, at: datetime) -> Moves:
    reservation_id, quantity = event.reservation_id, event.quantity
    if book.knows(reservation_id):
        _refuse("it reserves under a reservation id that was used before")
    made = OpenReservation(reservation_id, quantity, quantity, 0, event.purpose, event.owner_id, at, event.expires_at, version)
    return 0, quantity, made, None


def _extended(_book: ReservationBook, event: ReservationExtendedEvent, hold: OpenReservation | None, _version: int, _at: datetime) -> Moves:
    if hold is None:
        _refuse(_NOT_OPEN)
    if hold.expires_at != event.previous_expires_at or (event.expires_at is not None and event.expires_at <= event.previous_expires_at):
        _refuse("it does not extend the reservation's time")
    return 0, 0, _with(hold, hold.remaining, hold.committed, event.expires_at), None


def _released(_book: ReservationBook, event: StockReleasedEvent, hold: OpenReservation | None, _version: int, _at: datetime) -> Moves:
    hold = _less(event, hold)
    if event.remaining:
        return 0, -event.quantity, _with(hold, event.remaining, hold.committed, hold.expires_at), None
    outcome = Ending.EXPIRED if event.reason is ReleaseReason.EXPIRED else Ending.RELEASED
    return 0, -event.quantity, None, ClosedReservation(outcome, hold.committed, hold.original - hold.committed, hold.expires_at)


def _committed(_book: ReservationBook, event: StockCommittedEvent, hold: OpenReservation | None, _version: int, _at: datetime) -> Moves:
    hold = _less(event, hold)
    committed = hold.committed + event.quantity
    if event.remaining:
        return -event.quantity, -event.quantity, _with(hold, event.remaining, committed, hold.expires_at), None
    return (
        -event.quantity,
        -event.quantity,
        None,
        ClosedReservation(Ending.COMMITTED, committed, hold.original - committed, hold.expires_at),
    )


def _less(event: StockReleasedEvent | StockCommittedEvent, hold: OpenReservation | None) -> OpenReservation:
    if hold is None:
        _refuse(_NOT_OPEN)
    if event.remaining != hold.remaining - event.quantity:
        _refuse(f"it leaves the reservation {event.remaining} of {hold.remaining} after {event.quantity}")
    return hold


def _with(hold: OpenReservation, remaining: int, committed: int, expires_at: datetime | None) -> OpenReservation:
    return OpenReservation(
        hold.reservation_id, hold.original, remaining, committed, hold.purpose, hold.owner_id, hold.reserved_at, expires_at, hold.version
    )


FOLDS: Mapping[type[Any], Callable[[ReservationBook, Any, Any, int, datetime], Moves]] = {
    StockAddedEvent: _added,
    StockReservedEvent: _reserved,
    ReservationExtendedEvent: _extended,
    StockReleasedEvent: _released,
    StockCommittedEvent: _committed,
    StockAdjustedEvent: _adjusted,
}
"""The function that returns the moves of each kind of event.

The arguments are the reservations, the next event, the open reservation that it names (``None``: it names none, or none is open), its
version and its time. The function raises :class:`ContradictionError` if the event can't follow.
"""
