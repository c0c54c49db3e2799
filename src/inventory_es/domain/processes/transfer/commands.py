"""Commands to a transfer: frozen, checked when created, and idempotent."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

import attrs

from inventory_es.domain.errors import InvalidIdentifierError
from inventory_es.domain.identifiers import identifier
from inventory_es.domain.processes.lines import TransferItem, TransferLine, transfer_lines
from inventory_es.domain.processes.step_ids import part_id, process_id

_ZERO = timedelta(0)


def _transfer_id(value: str | UUID) -> str:
    return process_id("transfer_id", value)


def _source_store_id(value: str | UUID) -> str:
    return identifier("source_store_id", value)


def _destination_store_id(value: str | UUID) -> str:
    return identifier("destination_store_id", value)


def _receipt_id(value: str | UUID) -> str:
    return part_id("receipt_id", value)


def _return_id(value: str | UUID) -> str:
    return part_id("return_id", value)


def _loss_id(value: str | UUID) -> str:
    return part_id("loss_id", value)


def _all_or_grouped(items: Iterable[TransferItem | tuple[str, int]] | None) -> tuple[TransferLine, ...] | None:
    return None if items is None else transfer_lines(items)


def _expected_at(value: datetime | None) -> datetime | None:
    if value is not None and not (isinstance(value, datetime) and value.utcoffset() == _ZERO):
        msg = "expected_at must be an aware datetime in UTC, or None"
        raise ValueError(msg)
    return value


@attrs.frozen(kw_only=True)
class DraftTransfer:
    """Draft a transfer: hold every line at the source, or none.

    Args:
        transfer_id: 1 to 64 characters; never used again.
        source_store_id: the store that has the goods.
        destination_store_id: the store that they are for; another one.
        lines: the items. Items of one product become one line.
    """

    transfer_id: str = attrs.field(converter=_transfer_id)
    source_store_id: str = attrs.field(converter=_source_store_id)
    destination_store_id: str = attrs.field(converter=_destination_store_id)
    lines: tuple[TransferLine, ...] = attrs.field(converter=transfer_lines)

    def __attrs_post_init__(self) -> None:
        if self.source_store_id == self.destination_store_id:
            raise InvalidIdentifierError(name="destination_store_id", problem="must be another store than source_store_id")

    command_id: ClassVar[str] = "draft"
    """The command's name within the transfer."""


@attrs.frozen(kw_only=True)
class DispatchTransfer:
    """Dispatch the goods of a reserved transfer from the source.

    Args:
        transfer_id: the id of a reserved transfer.
        expected_at: the time when they should arrive, in UTC, after which the transfer is overdue; ``None`` if unknown.
    """

    transfer_id: str = attrs.field(converter=_transfer_id)
    expected_at: datetime | None = attrs.field(default=None, converter=_expected_at)
    command_id: ClassVar[str] = "dispatch"
    """The command's name within the transfer."""


@attrs.frozen(kw_only=True)
class ReceiveTransfer:
    """Receive units at the destination.

    Args:
        transfer_id: the id of a dispatched transfer.
        receipt_id: 1 to 40 characters; used once in the transfer.
        lines: the units; ``None`` for everything that is still in transit.
    """

    transfer_id: str = attrs.field(converter=_transfer_id)
    receipt_id: str = attrs.field(converter=_receipt_id)
    lines: tuple[TransferLine, ...] | None = attrs.field(default=None, converter=_all_or_grouped)

    @property
    def command_id(self) -> str:
        """The command's name within the transfer."""
        return f"receive:{self.receipt_id}"


@attrs.frozen(kw_only=True)
class ReturnTransfer:
    """Take units back at the source; see :class:`ReceiveTransfer`."""

    transfer_id: str = attrs.field(converter=_transfer_id)
    return_id: str = attrs.field(converter=_return_id)
    lines: tuple[TransferLine, ...] | None = attrs.field(default=None, converter=_all_or_grouped)

    @property
    def command_id(self) -> str:
        """The command's name within the transfer."""
        return f"return:{self.return_id}"


@attrs.frozen(kw_only=True)
class WriteOffTransfer:
    """Write off units that will never arrive; see :class:`ReceiveTransfer`."""

    transfer_id: str = attrs.field(converter=_transfer_id)
    loss_id: str = attrs.field(converter=_loss_id)
    lines: tuple[TransferLine, ...] | None = attrs.field(default=None, converter=_all_or_grouped)

    @property
    def command_id(self) -> str:
        """The command's name within the transfer."""
        return f"lose:{self.loss_id}"


@attrs.frozen(kw_only=True)
class CancelTransfer:
    """Cancel the transfer and release everything at the source. Refused once the goods have left: return or write them off."""

    transfer_id: str = attrs.field(converter=_transfer_id)
    command_id: ClassVar[str] = "cancel"
    """The command's name within the transfer."""


TransferCommand = DraftTransfer | DispatchTransfer | ReceiveTransfer | ReturnTransfer | WriteOffTransfer | CancelTransfer
"""Any command to a transfer."""
