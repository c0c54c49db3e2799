"""The stock as a decision sees it: at one instant, with what is due closed."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.reservation import OpenReservation

if TYPE_CHECKING:
    from inventory_es.domain.inventory import Inventory


class StockView:
    """Read-only figures for deciders and for a host's policies, after what is due at ``at`` was closed.

    Attributes:
        inventory_id: of which inventory.
        at: the instant of the decision.
        version: of the stream, before the command.
        on_hand: units there.
        reserved: units promised, without what is due.
        due: the reservations that the command will close as expired, by (expires_at, reservation_id).
    """

    __slots__ = ("_inventory", "at", "due", "inventory_id", "on_hand", "reserved", "version")

    def __init__(self, inventory: "Inventory", at: datetime) -> None:
        self._inventory = inventory
        self.inventory_id: InventoryId = inventory.inventory_id
        self.at: datetime = at
        self.version: int = inventory.version
        self.due: tuple[OpenReservation, ...] = inventory.due(at)
        self.on_hand: int = inventory.units_on_hand
        self.reserved: int = inventory.units_reserved
        if self.due:
            self.reserved -= sum(hold.remaining for hold in self.due)

    @property
    def unreserved(self) -> int:
        """Units free to promise now."""
        return self.on_hand - self.reserved

    def reservation(self, reservation_id: str) -> OpenReservation | None:
        """The reservation of this id, if it is open and not due."""
        hold = self._inventory.reservation(reservation_id)
        return None if hold is None or hold.is_due(self.at) else hold

    def reservations(self) -> Iterator[OpenReservation]:
        """Every reservation that is open and not due. Costs in proportion to their number."""
        return (hold for hold in self._inventory.reservations() if not hold.is_due(self.at))

    def reserved_for(self, owner_id: str) -> int:
        """Units that open reservations hold for one owner, without what is due."""
        return self._inventory.reserved_for(owner_id) - sum(hold.remaining for hold in self.due if hold.owner_id == owner_id)
