"""The whole state of an inventory as one value: for comparing, and for a disposable cache of state."""

from datetime import datetime

import attrs

from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.reservation import ClosedReservation, OpenReservation

STATE_SCHEMA_VERSION = 1
"""Raised whenever a fold of the same events gives another state: older snapshots are then ignored."""


@attrs.frozen(kw_only=True)
class InventorySnapshot:
    """State after ``version`` events.

    Attributes:
        inventory_id: of which inventory.
        version: events folded; 0 for none yet.
        on_hand: units there.
        reserved: units promised by open reservations.
        last_time: time of the last event, ``None`` before the first.
        last_count_version: version of the last count's StockAdjustedEvent; 0 for none.
        open: open reservations, by the version of their StockReservedEvent.
        closed: the most recent closed ones with their ids, oldest first.
    """

    inventory_id: InventoryId
    version: int
    on_hand: int
    reserved: int
    last_time: datetime | None
    last_count_version: int
    open: tuple[OpenReservation, ...]
    closed: tuple[tuple[str, ClosedReservation], ...]
