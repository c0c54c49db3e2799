"""The movement ledger: one row per event of an inventory, with the running balance."""

from collections.abc import Iterator

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
from inventory_es.application.projections.movement import movement_of
from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.ports.read_model import Change, ProjectionId, Put, Table, to_text

MOVEMENTS = Table(
    "movements",
    {
        "product_id": str,
        "store_id": str,
        "version": int,
        "event_type": str,
        "on_hand_change": int,
        "reserved_change": int,
        "on_hand": int,
        "reserved": int,
        "reservation_id": str,
        "reason": str,
        "position": int,
        "recorded_at": str,
    },
    ("product_id", "store_id", "version"),
)


def ledger(*, version: int = 1) -> Projection:
    """Every movement of every inventory."""
    return Projection(
        projection_id=ProjectionId("ledger", version),
        tables=(MOVEMENTS,),
        apply=_apply,
        wanted=EventFilter(categories={INVENTORY_CATEGORY}),
        same_in_every_version=True,
    )


def _apply(event: Event, envelope: Envelope) -> Iterator[Change]:
    moved = movement_of(event)
    reason = getattr(event, "reason", None)
    yield Put(
        "movements",
        {
            "product_id": event.product_id,
            "store_id": event.store_id,
            "version": envelope.version,
            "event_type": type(event).__name__,
            "on_hand_change": moved.on_hand,
            "reserved_change": moved.reserved,
            "on_hand": event.on_hand,
            "reserved": event.reserved,
            "reservation_id": getattr(event, "reservation_id", None),
            "reason": None if reason is None else reason.value,
            "position": envelope.position,
            "recorded_at": to_text(envelope.recorded_at),
        },
    )
