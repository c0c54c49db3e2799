"""Transfers: one row for each, read by state or by when it is due, and a row for every line that is under way."""

from collections.abc import Iterator
from datetime import datetime

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
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
from inventory_es.ports.read_model import Add, Change, Delete, Patch, ProjectionId, Put, Table, Value, to_text

NEVER = "9999-12-31T23:59:59.999999+00:00"
"""When goods are due of which nobody said when they arrive: behind all others."""

TRANSFERS = Table(
    "transfers",
    {
        "transfer_id": str,
        "status": str,
        "since": str,
        "source_store_id": str,
        "destination_store_id": str,
        "lines": int,
        "units": int,
        "in_transit": int,
        "lost": int,
        "drafted_at": str,
        "dispatched_at": str,
        "due_at": str,
        "version": int,
        "position": int,
        "recorded_at": str,
    },
    ("transfer_id",),
    (("status", "since"), ("status", "due_at")),
)
"""``since`` is when the transfer came into its state; ``due_at`` when its goods should arrive, or :data:`NEVER`."""

INCOMING = Table(
    "incoming",
    {
        "transfer_id": str,
        "line": int,
        "product_id": str,
        "source_store_id": str,
        "destination_store_id": str,
        "in_transit": int,
        "due_at": str,
        "position": int,
        "recorded_at": str,
    },
    ("transfer_id", "line"),
    (("destination_store_id", "due_at"), ("destination_store_id", "product_id", "due_at")),
)
"""Lines of which units are under way. ``position`` and ``recorded_at`` are of the event that last moved the line."""


def transfers(*, version: int = 1) -> Projection:
    """Every transfer with its state, and what is incoming where."""
    return Projection(
        projection_id=ProjectionId("transfers", version),
        tables=(TRANSFERS, INCOMING),
        apply=_apply,
        wanted=EventFilter(categories={TRANSFER_CATEGORY}, types={kind.__name__ for kind in TRANSFER_EVENT_TYPES}),
        same_in_every_version=True,
    )


def _apply(event: TransferEvent, envelope: Envelope) -> Iterator[Change]:
    at = to_text(envelope.recorded_at)
    seen: dict[str, Value] = {"position": envelope.position, "recorded_at": at}
    changed = seen | {"version": envelope.version}
    status = _status_after(event)
    if status is not None:
        changed |= {"status": status.value, "since": at}
    match event:
        case TransferDraftedEvent():
            yield Put("transfers", _row(event) | changed | {"drafted_at": at})
        case TransferDispatchedEvent():
            yield Patch("transfers", (event.transfer_id,), changed | {"due_at": _due(event.expected_at)})
        case TransferDispatchCommittedEvent():
            units = sum(line.quantity for line in event.lines)
            yield Patch("transfers", (event.transfer_id,), changed | {"dispatched_at": at, "in_transit": units})
            for line in event.lines:
                under_way: dict[str, Value] = {
                    "transfer_id": event.transfer_id,
                    "line": line.line,
                    "product_id": line.product_id,
                    "source_store_id": event.source_store_id,
                    "destination_store_id": event.destination_store_id,
                    "in_transit": line.quantity,
                    "due_at": _due(event.expected_at),
                }
                yield Put("incoming", under_way | seen)
        case TransferReceivedEvent() | TransferReturnedEvent() | TransferLostEvent():
            units = sum(one.quantity for one in event.lines)
            amounts = {"in_transit": -units} | ({"lost": units} if isinstance(event, TransferLostEvent) else {})
            yield Add("transfers", (event.transfer_id,), amounts, changed)
            for one in event.lines:
                key = (event.transfer_id, one.line)
                yield Patch("incoming", key, seen | {"in_transit": one.in_transit}) if one.in_transit else Delete("incoming", key)
        case _:
            yield Patch("transfers", (event.transfer_id,), changed)


def _row(event: TransferDraftedEvent) -> dict[str, Value]:
    return {
        "transfer_id": event.transfer_id,
        "source_store_id": event.source_store_id,
        "destination_store_id": event.destination_store_id,
        "lines": len(event.lines),
        "units": sum(line.quantity for line in event.lines),
        "in_transit": 0,
        "lost": 0,
        "dispatched_at": None,
        "due_at": NEVER,
    }


def _due(expected_at: datetime | None) -> str:
    return NEVER if expected_at is None else to_text(expected_at)


def _status_after(event: TransferEvent) -> TransferStatus | None:
    """The state that the event leads to; ``None`` where it leaves the transfer in the one that it was in."""
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
