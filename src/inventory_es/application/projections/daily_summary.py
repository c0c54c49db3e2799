"""The daily summary: one row per product, store and day in UTC, with the movements of the day and the balance at its end."""

from collections.abc import Iterator
from datetime import datetime

import attrs

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
from inventory_es.application.projections.rows import RowTable, stamp
from inventory_es.domain.events import (
    Event,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.domain.reasons import CommitReason
from inventory_es.ports.read_model import Change, ProjectionId, to_text


@attrs.frozen(kw_only=True)
class DayRow:
    """The movements of an inventory on a day. A day without movements has no row.

    On hand at the start of the day is ``on_hand − added + sold + withdrawn − adjusted``.

    Attributes:
        product_id: the product.
        store_id: the store.
        day: in UTC, as ``2026-01-05``.
        added: units that came in.
        sold: units sold out of reservations.
        withdrawn: units that left out of reservations for other reasons.
        adjusted: units of corrections; negative where units were missing.
        promised: units promised to reservations.
        released: units released from reservations.
        movements: number of events.
        on_hand: units on hand at the end of the day.
        reserved: units reserved at the end of the day.
        version: of the inventory's stream, at the last event of the day.
        position: of that event in the store.
        recorded_at: time of that event, UTC.
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
    return Projection(
        projection_id=ProjectionId("daily_summary", version),
        tables=(DAYS.shape,),
        apply=_apply,
        wanted=EventFilter(categories={INVENTORY_CATEGORY}),
        same_in_every_version=True,
    )


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
    key = (event.product_id, event.store_id, to_text(envelope.recorded_at)[:10])
    yield DAYS.add(key, amounts, on_hand=event.on_hand, reserved=event.reserved, **stamp(envelope))
