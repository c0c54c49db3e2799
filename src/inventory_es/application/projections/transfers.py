"""Transfers: one row per transfer, read by state or by due time, and one row per line in transit."""

from collections.abc import Iterator
from datetime import datetime

import attrs

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
from inventory_es.application.projections.rows import RowTable, stamp
from inventory_es.domain.processes.transfer.events import (
    TRANSFER_CATEGORY,
    TRANSFER_EVENT_TYPES,
    TransferClosedEvent,
    TransferDispatchCommittedEvent,
    TransferDispatchedEvent,
    TransferDraftedEvent,
    TransferEvent,
    TransferLostEvent,
    TransferReceivedEvent,
    TransferReleasedEvent,
    TransferReservedEvent,
    TransferReturnedEvent,
    TransferStatus,
)
from inventory_es.ports.read_model import Change, ProjectionId, Value, to_text

NEVER = "9999-12-31T23:59:59.999999+00:00"
"""Due time, as stored, of goods whose arrival nobody knows: behind all others."""

_NEVER = datetime.fromisoformat(NEVER)


def _known(due_at: datetime) -> datetime | None:
    return None if due_at == _NEVER else due_at


@attrs.frozen(kw_only=True)
class TransferRow:
    """The state of a transfer.

    Attributes:
        transfer_id: the transfer.
        status: its status.
        since: time when it came into this status.
        source_store_id: the store that the goods leave.
        destination_store_id: the store that they are for.
        lines: number of products.
        units: number of units, of all lines.
        in_transit: units in transit.
        lost: units that were written off.
        drafted_at: time when it was drafted.
        dispatched_at: time when its goods left; ``None`` before.
        due_at: time when they should arrive; ``None`` where nobody knows.
        version: of the transfer's stream, at the event that the row shows.
        position: of that event in the store.
        recorded_at: time of that event, UTC.
    """

    transfer_id: str
    status: TransferStatus = attrs.field(converter=TransferStatus)
    since: datetime
    source_store_id: str
    destination_store_id: str
    lines: int
    units: int
    in_transit: int
    lost: int
    drafted_at: datetime
    dispatched_at: datetime | None
    due_at: datetime | None = attrs.field(converter=_known)
    version: int
    position: int
    recorded_at: datetime


@attrs.frozen(kw_only=True)
class IncomingRow:
    """Units of a product that are in transit to a store.

    Attributes:
        transfer_id: the transfer.
        line: number of the line in the transfer.
        product_id: the product.
        source_store_id: the store that they left.
        destination_store_id: the store that they are for.
        in_transit: number of units.
        due_at: time when they should arrive; ``None`` where nobody knows.
        position: of the event that last moved the line.
        recorded_at: time of that event, UTC.
    """

    transfer_id: str
    line: int
    product_id: str
    source_store_id: str
    destination_store_id: str
    in_transit: int
    due_at: datetime | None = attrs.field(converter=_known)
    position: int
    recorded_at: datetime


TRANSFERS = RowTable("transfers", TransferRow, key=("transfer_id",), indexes=(("status", "since"), ("status", "due_at")))
INCOMING = RowTable(
    "incoming",
    IncomingRow,
    key=("transfer_id", "line"),
    indexes=(("destination_store_id", "due_at"), ("destination_store_id", "product_id", "due_at")),
)


def transfers(*, version: int = 1) -> Projection:
    """Return the projection of every transfer with its state, and of the lines in transit to each store."""
    return Projection(
        projection_id=ProjectionId("transfers", version),
        tables=(TRANSFERS.shape, INCOMING.shape),
        apply=_apply,
        wanted=EventFilter(categories={TRANSFER_CATEGORY}, types={kind.__name__ for kind in TRANSFER_EVENT_TYPES}),
        same_in_every_version=True,
    )


def _apply(event: TransferEvent, envelope: Envelope) -> Iterator[Change]:
    key, changed = (event.transfer_id,), stamp(envelope)
    at = changed["recorded_at"]
    seen: dict[str, Value] = {"position": envelope.position, "recorded_at": at}
    status = _status_after(event)
    if status is not None:
        changed |= {"status": status.value, "since": at}
    match event:
        case TransferDraftedEvent():
            yield TRANSFERS.put(
                {
                    "transfer_id": event.transfer_id,
                    "source_store_id": event.source_store_id,
                    "destination_store_id": event.destination_store_id,
                    "lines": len(event.lines),
                    "units": sum(line.quantity for line in event.lines),
                    "in_transit": 0,
                    "lost": 0,
                    "drafted_at": at,
                    "dispatched_at": None,
                    "due_at": NEVER,
                    **changed,
                }
            )
        case TransferDispatchedEvent():
            yield TRANSFERS.patch(key, changed | {"due_at": _due(event.expected_at)})
        case TransferDispatchCommittedEvent():
            units = sum(line.quantity for line in event.lines)
            yield TRANSFERS.patch(key, changed | {"dispatched_at": at, "in_transit": units})
            for line in event.lines:
                yield INCOMING.put(
                    {
                        "transfer_id": event.transfer_id,
                        "line": line.line,
                        "product_id": line.product_id,
                        "source_store_id": event.source_store_id,
                        "destination_store_id": event.destination_store_id,
                        "in_transit": line.quantity,
                        "due_at": _due(event.expected_at),
                        **seen,
                    }
                )
        case TransferReceivedEvent() | TransferReturnedEvent() | TransferLostEvent():
            units = sum(one.quantity for one in event.lines)
            amounts = {"in_transit": -units} | ({"lost": units} if isinstance(event, TransferLostEvent) else {})
            yield TRANSFERS.add(key, amounts, changed)
            for one in event.lines:
                line_key = (event.transfer_id, one.line)
                yield INCOMING.patch(line_key, seen | {"in_transit": one.in_transit}) if one.in_transit else INCOMING.delete(line_key)
        case _:
            yield TRANSFERS.patch(key, changed)


def _due(expected_at: datetime | None) -> str:
    return NEVER if expected_at is None else to_text(expected_at)


def _status_after(event: TransferEvent) -> TransferStatus | None:
    """Return the state that the event leads to; ``None`` where the state stays."""
    match event:
        case TransferDraftedEvent():
            return TransferStatus.DRAFT
        case TransferReservedEvent():
            return TransferStatus.RESERVED
        case TransferDispatchCommittedEvent():
            return TransferStatus.DISPATCHED
        case TransferClosedEvent():
            return TransferStatus.CLOSED
        case TransferReleasedEvent():
            return event.ends_as
        case _:
            return None
