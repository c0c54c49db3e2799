"""The daily summary: one row per product, store and day in UTC, with what came and went, and the balance at its end."""

from collections.abc import Iterator

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
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
from inventory_es.ports.read_model import Add, Change, ProjectionId, Table, to_text

_MOVED = ("added", "sold", "withdrawn", "adjusted", "promised", "released")

DAYS = Table(
    "days",
    {
        "product_id": str,
        "store_id": str,
        "day": str,
        **dict.fromkeys(_MOVED, int),
        "movements": int,
        "on_hand": int,
        "reserved": int,
        "version": int,
        "position": int,
        "recorded_at": str,
    },
    ("product_id", "store_id", "day"),
    (("day",), ("store_id", "day")),
)
"""``day`` is ``2026-01-05``. Units: ``added``; ``sold``, and ``withdrawn`` for other reasons, out of reservations; ``adjusted``, below 0
where units were missing; ``promised`` to reservations and ``released`` from them. ``on_hand`` and ``reserved`` are those at the end of the
day: on hand at its beginning is ``on_hand − added + sold + withdrawn − adjusted``. A day without movements has no row."""


def daily_summary(*, version: int = 1) -> Projection:
    """What every inventory did on every day on which it did something."""
    return Projection(
        projection_id=ProjectionId("daily_summary", version),
        tables=(DAYS,),
        apply=_apply,
        wanted=EventFilter(categories={INVENTORY_CATEGORY}),
        same_in_every_version=True,
    )


def _apply(event: Event, envelope: Envelope) -> Iterator[Change]:
    at = to_text(envelope.recorded_at)
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
    yield Add(
        "days",
        (event.product_id, event.store_id, at[:10]),
        amounts,
        {
            "on_hand": event.on_hand,
            "reserved": event.reserved,
            "version": envelope.version,
            "position": envelope.position,
            "recorded_at": at,
        },
    )
