"""The events that one decision is drafting, with their running balance."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from inventory_es.domain.events import Event, StockReleasedEvent
from inventory_es.domain.reasons import ReleaseReason
from inventory_es.domain.reservation import OpenReservation

if TYPE_CHECKING:
    from inventory_es.domain.inventory import Inventory


def expired(inventory: "Inventory", holds: Iterable[OpenReservation]) -> tuple[Event, ...]:
    """Events that end ``holds``, the first of those due, by time."""
    place = (inventory.inventory_id.product_id, inventory.inventory_id.store_id)
    on_hand, reserved = inventory.units_on_hand, inventory.units_reserved
    events: list[Event] = []
    for hold in holds:
        reserved -= hold.remaining
        events.append(StockReleasedEvent(*place, hold.remaining, hold.reservation_id, 0, ReleaseReason.EXPIRED, on_hand, reserved))
    return tuple(events)


class Draft:
    """Events of one command, in order.

    Args:
        inventory: which it is decided on.
        at: when.

    Attributes:
        at: the instant of the decision.
        place: product id and store id, which every event starts with.
        on_hand: units there, after the events drafted so far.
        reserved: units promised, after the events drafted so far and those that close what is due.
        own: the command's own events.
    """

    __slots__ = ("_due", "_inventory", "at", "on_hand", "own", "place", "reserved")

    def __init__(self, inventory: "Inventory", at: datetime) -> None:
        self._inventory = inventory
        self._due = inventory.due(at)
        self.at: datetime = at
        self.place: tuple[str, str] = (inventory.inventory_id.product_id, inventory.inventory_id.store_id)
        self.on_hand: int = inventory.units_on_hand
        self.reserved: int = inventory.units_reserved
        if self._due:
            self.reserved -= sum(hold.remaining for hold in self._due)
        self.own: list[Event] = []

    @property
    def events(self) -> tuple[Event, ...]:
        """All of them: those that close everything due, then the command's own."""
        return (*expired(self._inventory, self._due), *self.own) if self._due else tuple(self.own)

    def release(self, hold: OpenReservation, quantity: int, reason: ReleaseReason, *, remaining: int) -> None:
        """Give ``quantity`` of ``hold`` back, after which it still has ``remaining``."""
        self.reserved -= quantity
        self.own.append(StockReleasedEvent(*self.place, quantity, hold.reservation_id, remaining, reason, self.on_hand, self.reserved))

    def bump(self, holds: Iterable[OpenReservation], lacking: int) -> None:
        """Release ``lacking`` units from ``holds`` in their order, the last one partially if that is enough."""
        candidates: Iterator[OpenReservation] = (hold for hold in holds if not hold.is_due(self.at))
        while lacking > 0:
            hold = next(candidates)
            quantity = min(lacking, hold.remaining)
            self.release(hold, quantity, ReleaseReason.SHORTFALL, remaining=hold.remaining - quantity)
            lacking -= quantity
