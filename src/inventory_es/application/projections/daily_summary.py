"""The daily summary: one row per product, store and day in UTC, with the movements of the day and the balance at its end."""

from collections.abc import Iterator
from datetime import datetime

import attrs

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.projections.rows import RowTable, inventory_projection, stamp
from inventory_es.domain.events import (
    Event,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.reasons import CommitReason
from inventory_es.ports.read_model import Change


@attrs.frozen(kw_only=True)
class DayRow:
    """The movements of an inventory on a day in UTC, such as ``2026-01-05``, and its balance at the end of the day.

    Units left reservations as ``sold``, or as ``withdrawn`` for other reasons; ``adjusted`` is negative where units were missing. On hand
    at the start of the day is ``on_hand − added + sold + withdrawn − adjusted``. A day without movements has no row.
    """

    product_id: str
    store_id: str
    day: str
    added: int
    sold: int
    withdrawn: int
    adjusted: int
    promised: int
    released: int
    movements: int
    on_hand: int
    reserved: int
    version: int
    position: int
    recorded_at: datetime


DAYS = RowTable("days", DayRow, key=("product_id", "store_id", "day"), indexes=(("day",), ("store_id", "day")))
_MOVED = ("added", "sold", "withdrawn", "adjusted", "promised", "released")


def daily_summary(*, version: int = 1) -> Projection:
    """Return the projection of the movements of every inventory, per day."""
    return inventory_projection("daily_summary", version, _apply, DAYS, same_in_every_version=True)


def _apply(event: Event, envelope: Envelope) -> Iterator[Change]:
    amounts = {**dict.fromkeys(_MOVED, 0), "movements": 1}
    match event:
        case StockAddedEvent():
            amounts["added"] = event.quantity
        case StockAdjustedEvent():
            amounts["adjusted"] = event.delta
        case StockReservedEvent():
            amounts["promised"] = event.quantity
        case StockReleasedEvent():
            amounts["released"] = event.quantity
        case StockCommittedEvent():
            amounts["sold" if event.reason is CommitReason.SOLD else "withdrawn"] = event.quantity
        case _:
            pass
    seen = stamp(envelope)
    key = (event.product_id, event.store_id, str(seen["recorded_at"])[:10])
    yield DAYS.add(key, amounts, {"on_hand": event.on_hand, "reserved": event.reserved, **seen})
