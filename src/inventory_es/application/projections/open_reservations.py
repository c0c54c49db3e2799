"""Open reservations: one row per reservation that still holds units, and the deadlines by time."""

from collections.abc import Iterator
from datetime import datetime

import attrs

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.projections.rows import AsOf, RowTable, inventory_projection, stamp
from inventory_es.domain.events import Event, ReservationExtendedEvent, StockCommittedEvent, StockReleasedEvent, StockReservedEvent
from inventory_es.ports.read_model import Change, Value, to_text


@attrs.frozen(kw_only=True)
class ReservationRow(AsOf):
    """A reservation that still holds units, as of the last event of it; ``expires_at`` is ``None`` for a firm one."""

    reservation_id: str
    quantity: int
    remaining: int
    purpose: str
    owner_id: str | None
    reserved_at: datetime
    expires_at: datetime | None


@attrs.frozen(kw_only=True)
class DeadlineRow:
    """The time when an open reservation is due. Firm reservations have none."""

    product_id: str
    store_id: str
    reservation_id: str
    expires_at: datetime


_KEY = ("product_id", "store_id", "reservation_id")
RESERVATIONS = RowTable("reservations", ReservationRow, key=_KEY, indexes=(("reserved_at",), ("store_id", "reserved_at")))
DEADLINES = RowTable("deadlines", DeadlineRow, key=_KEY, indexes=(("expires_at",),))


def open_reservations(*, version: int = 1) -> Projection:
    """Return the projection of every reservation that is neither released nor committed in full."""
    return inventory_projection("open_reservations", version, _apply, RESERVATIONS, DEADLINES, same_in_every_version=True)


def _apply(event: Event, envelope: Envelope) -> Iterator[Change]:
    seen = stamp(envelope)
    match event:
        case StockReservedEvent():
            yield RESERVATIONS.put(
                {
                    "product_id": event.product_id,
                    "store_id": event.store_id,
                    "reservation_id": event.reservation_id,
                    "quantity": event.quantity,
                    "remaining": event.quantity,
                    "purpose": event.purpose.value,
                    "owner_id": event.owner_id,
                    "reserved_at": seen["recorded_at"],
                    "expires_at": _until(event),
                    **seen,
                }
            )
            yield from _deadline(event)
        case ReservationExtendedEvent():
            yield RESERVATIONS.patch(_key(event), {"expires_at": _until(event)} | seen)
            yield from _deadline(event)
        case StockReleasedEvent() | StockCommittedEvent() if event.remaining:
            yield RESERVATIONS.patch(_key(event), {"remaining": event.remaining} | seen)
        case StockReleasedEvent() | StockCommittedEvent():
            yield RESERVATIONS.delete(_key(event))
            yield DEADLINES.delete(_key(event))
        case _:
            return


def _deadline(event: StockReservedEvent | ReservationExtendedEvent) -> Iterator[Change]:
    if event.expires_at is not None:
        yield DEADLINES.put({**dict(zip(_KEY, _key(event), strict=True)), "expires_at": to_text(event.expires_at)})
    elif isinstance(event, ReservationExtendedEvent):
        yield DEADLINES.delete(_key(event))


def _until(event: StockReservedEvent | ReservationExtendedEvent) -> Value:
    return None if event.expires_at is None else to_text(event.expires_at)


def _key(event: StockReservedEvent | ReservationExtendedEvent | StockReleasedEvent | StockCommittedEvent) -> tuple[str, str, str]:
    return event.product_id, event.store_id, event.reservation_id
