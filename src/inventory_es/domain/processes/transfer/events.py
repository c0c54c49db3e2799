"""Events of a transfer as they are stored, and its states. Names and fields never change meaning.

As with orders, the stream of a transfer names each step before any inventory is touched, and its outcome after.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, get_args

import attrs

from inventory_es.domain.processes.lines import LineMovement, LineRefusal, LineShortage, TransferLine

_ZERO = timedelta(0)


class TransferStatus(StrEnum):
    """States of a transfer.

    NEW: no transfer was drafted. DRAFT: its lines are being reserved at the source. RESERVED: every line is firm there.
    DISPATCHED: the goods have left the source and belong to the transfer. CLOSED: every unit that left was received, returned or
    lost. CANCELLED: cancelled before the goods left; nothing is held. REJECTED: a line was short; nothing is held.
    """

    NEW = "NEW"
    DRAFT = "DRAFT"
    RESERVED = "RESERVED"
    DISPATCHED = "DISPATCHED"
    CLOSED = "CLOSED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"


class Movement(StrEnum):
    """Ends of units in transit: received at the destination, returned to the source, or lost."""

    RECEIPT = "RECEIPT"
    RETURN = "RETURN"
    LOSS = "LOSS"


def _instant_or_none(_instance: object, attribute: "attrs.Attribute[datetime | None]", value: object) -> None:
    if value is not None and not (isinstance(value, datetime) and value.utcoffset() == _ZERO):
        msg = f"{attribute.name} of an event must be an aware datetime in UTC, or None"
        raise ValueError(msg)


@attrs.frozen
class TransferDraftedEvent:
    """The transfer was drafted. Each line will be held at the source."""

    transfer_id: str
    source_store_id: str
    destination_store_id: str
    lines: tuple[TransferLine, ...]


@attrs.frozen
class TransferReservedEvent:
    """Every line is held at the source, without an end."""

    transfer_id: str


@attrs.frozen
class TransferDispatchedEvent:
    """The goods leave, and should arrive at ``expected_at``; ``None`` if that is unknown."""

    transfer_id: str
    expected_at: datetime | None = attrs.field(validator=_instant_or_none)


@attrs.frozen
class TransferDispatchCommittedEvent:
    """These lines are off the books of the source, and their units belong to the transfer.

    Attributes:
        lines: what is in transit.
        refused: lines that could not leave, because a count had removed their units.
    """

    transfer_id: str
    source_store_id: str
    destination_store_id: str
    expected_at: datetime | None = attrs.field(validator=_instant_or_none)
    lines: tuple[TransferLine, ...]
    refused: tuple[LineRefusal, ...]


@attrs.frozen
class TransferReceivedEvent:
    """These units arrived at the destination."""

    transfer_id: str
    receipt_id: str
    lines: tuple[LineMovement, ...]


@attrs.frozen
class TransferReturnedEvent:
    """These units came back to the source."""

    transfer_id: str
    return_id: str
    lines: tuple[LineMovement, ...]


@attrs.frozen
class TransferLostEvent:
    """These units will never arrive."""

    transfer_id: str
    loss_id: str
    lines: tuple[LineMovement, ...]


@attrs.frozen
class TransferBookedEvent:
    """The units of a receipt or a return are on the books of their store."""

    transfer_id: str
    movement: Movement
    movement_id: str


@attrs.frozen
class TransferClosedEvent:
    """Every unit that left is accounted for."""

    transfer_id: str


@attrs.frozen
class TransferWithdrawnEvent:
    """The goods won't leave. Every line will be released, then the transfer ends as ``ends_as``.

    Attributes:
        shortages: one per line that could not be had; empty where the transfer was withdrawn for another reason.
    """

    transfer_id: str
    ends_as: TransferStatus
    shortages: tuple[LineShortage, ...]


@attrs.frozen
class TransferReleasedEvent:
    """Nothing is held any more, and the transfer ended as ``ends_as``."""

    transfer_id: str
    ends_as: TransferStatus


TransferEvent = (
    TransferDraftedEvent
    | TransferReservedEvent
    | TransferDispatchedEvent
    | TransferDispatchCommittedEvent
    | TransferReceivedEvent
    | TransferReturnedEvent
    | TransferLostEvent
    | TransferBookedEvent
    | TransferClosedEvent
    | TransferWithdrawnEvent
    | TransferReleasedEvent
)
"""Any event of a transfer."""

TRANSFER_CATEGORY = "transfer"
"""Category of the streams of transfers."""

TRANSFER_EVENT_TYPES: tuple[type[Any], ...] = get_args(TransferEvent)
"""Every event class, in the order of the documentation."""
