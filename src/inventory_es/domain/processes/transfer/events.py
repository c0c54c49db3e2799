"""Events of a transfer: what happened to it, as it is stored. Names and fields never change meaning.

As with orders, what a transfer intends stands in its stream before it is done to any inventory, and what came of it after.
"""

from datetime import datetime, timedelta
from typing import Any

import attrs

from inventory_es.domain.processes.lines import LineMovement, LineRefusal, LineShortage, TransferLine
from inventory_es.domain.processes.transfer.status import Movement, TransferStatus

_ZERO = timedelta(0)


def _instant_or_none(_instance: object, attribute: "attrs.Attribute[datetime | None]", value: object) -> None:
    if value is not None and not (isinstance(value, datetime) and value.utcoffset() == _ZERO):
        msg = f"{attribute.name} of an event must be an aware datetime in UTC, or None"
        raise ValueError(msg)


@attrs.frozen
class TransferDraftedEvent:
    """Somebody wants these units moved. Each line is to be held at the source."""

    transfer_id: str
    source_store_id: str
    destination_store_id: str
    lines: tuple[TransferLine, ...]


@attrs.frozen
class TransferReservedEvent:
    """Every line is held at the source, for good."""

    transfer_id: str


@attrs.frozen
class TransferDispatchedEvent:
    """The goods leave, and are to arrive at ``expected_at``, if anybody said when."""

    transfer_id: str
    expected_at: datetime | None = attrs.field(validator=_instant_or_none)


@attrs.frozen
class TransferDispatchCommittedEvent:
    """These lines are off the books of the source, and their units belong to the transfer.

    Attributes:
        lines: what is in transit.
        refused: lines that could not leave, since a count had taken their units away.
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
    """These units will arrive nowhere."""

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
    """The goods won't leave: every line is to be given back, after which the transfer ends as said.

    Attributes:
        shortages: of every line that could not be had; none where that is not why.
    """

    transfer_id: str
    ends_as: TransferStatus
    shortages: tuple[LineShortage, ...]


@attrs.frozen
class TransferReleasedEvent:
    """Nothing is held any more, and the transfer ended as said."""

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
"""Of the streams of transfers."""

TRANSFER_EVENT_TYPES: tuple[type[Any], ...] = (
    TransferDraftedEvent,
    TransferReservedEvent,
    TransferDispatchedEvent,
    TransferDispatchCommittedEvent,
    TransferReceivedEvent,
    TransferReturnedEvent,
    TransferLostEvent,
    TransferBookedEvent,
    TransferClosedEvent,
    TransferWithdrawnEvent,
    TransferReleasedEvent,
)
"""Every event class, in the order of the documentation."""
