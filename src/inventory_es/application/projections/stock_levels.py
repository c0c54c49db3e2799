"""Stock levels: one row per product and store, read by either."""

from collections.abc import Iterator

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.ports.read_model import Change, ProjectionId, Put, Table, to_text

LEVELS = Table(
    "levels",
    {
        "product_id": str,
        "store_id": str,
        "on_hand": int,
        "reserved": int,
        "available": int,
        "version": int,
        "position": int,
        "recorded_at": str,
    },
    ("product_id", "store_id"),
    (("store_id",),),
)
"""``available`` is on hand less reserved: what is due for expiry counts as reserved until it is expired."""


def stock_levels(*, version: int = 1) -> Projection:
    """The newest balance of every inventory."""
    return Projection(
        projection_id=ProjectionId("stock_levels", version),
        tables=(LEVELS,),
        apply=_apply,
        wanted=EventFilter(categories={INVENTORY_CATEGORY}),
        newest_only=True,
        same_in_every_version=True,
    )


def _apply(event: Event, envelope: Envelope) -> Iterator[Change]:
    yield Put(
        "levels",
        {
            "product_id": event.product_id,
            "store_id": event.store_id,
            "on_hand": event.on_hand,
            "reserved": event.reserved,
            "available": event.on_hand - event.reserved,
            "version": envelope.version,
            "position": envelope.position,
            "recorded_at": to_text(envelope.recorded_at),
        },
    )
