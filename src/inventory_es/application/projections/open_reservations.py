"""Open reservations: one row for each that still holds units, read by inventory, by store, or oldest first; deadlines by time."""

from collections.abc import Iterator

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
from inventory_es.domain.events import Event, ReservationExtendedEvent, StockCommittedEvent, StockReleasedEvent, StockReservedEvent
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.ports.read_model import Change, Delete, Patch, ProjectionId, Put, Table, Value, to_text

RESERVATIONS = Table(
    "reservations",
    {
        "product_id": str,
        "store_id": str,
        "reservation_id": str,
        "quantity": int,
        "remaining": int,
        "purpose": str,
        "owner_id": str,
        "reserved_at": str,
        "expires_at": str,
        "version": int,
        "position": int,
        "recorded_at": str,
    },
    ("product_id", "store_id", "reservation_id"),
    (("reserved_at",), ("store_id", "reserved_at")),
)
"""``version``, ``position`` and ``recorded_at`` are of the last event that touched the reservation."""

DEADLINES = Table(
    "deadlines",
    {"product_id": str, "store_id": str, "reservation_id": str, "expires_at": str},
    ("product_id", "store_id", "reservation_id"),
    (("expires_at",),),
)
"""When each of them is due; firm ones are not there."""


def open_reservations(*, version: int = 1) -> Projection:
    """Every reservation that is neither released nor committed in full."""
    return Projection(
        projection_id=ProjectionId("open_reservations", version),
        tables=(RESERVATIONS, DEADLINES),
        apply=_apply,
        wanted=EventFilter(categories={INVENTORY_CATEGORY}),
        same_in_every_version=True,
    )


def _apply(event: Event, envelope: Envelope) -> Iterator[Change]:
    seen: dict[str, Value] = {"version": envelope.version, "position": envelope.position, "recorded_at": to_text(envelope.recorded_at)}
    match event:
        case StockReservedEvent():
            row: dict[str, Value] = {
                "product_id": event.product_id,
                "store_id": event.store_id,
                "reservation_id": event.reservation_id,
                "quantity": event.quantity,
                "remaining": event.quantity,
                "purpose": event.purpose.value,
                "owner_id": event.owner_id,
                "reserved_at": to_text(envelope.recorded_at),
                "expires_at": None if event.expires_at is None else to_text(event.expires_at),
            }
            yield Put("reservations", row | seen)
            yield from _deadline(event)
        case ReservationExtendedEvent():
            until = None if event.expires_at is None else to_text(event.expires_at)
            yield Patch("reservations", _key(event), {"expires_at": until} | seen)
            yield from _deadline(event)
        case StockReleasedEvent() | StockCommittedEvent() if event.remaining:
            yield Patch("reservations", _key(event), {"remaining": event.remaining} | seen)
        case StockReleasedEvent() | StockCommittedEvent():
            yield Delete("reservations", _key(event))
            yield Delete("deadlines", _key(event))
        case _:
            return


def _deadline(event: StockReservedEvent | ReservationExtendedEvent) -> Iterator[Change]:
    if event.expires_at is not None:
        names = dict(zip(DEADLINES.key, _key(event), strict=True))
        yield Put("deadlines", {**names, "expires_at": to_text(event.expires_at)})
    elif isinstance(event, ReservationExtendedEvent):
        yield Delete("deadlines", _key(event))


def _key(event: StockReservedEvent | ReservationExtendedEvent | StockReleasedEvent | StockCommittedEvent) -> tuple[str, str, str]:
    return event.product_id, event.store_id, event.reservation_id
