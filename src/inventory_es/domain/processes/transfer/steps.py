"""The steps of a transfer as commands to its inventories: pure, and the same for the same transfer, however often they are made."""

from collections.abc import Iterator

from inventory_es.domain.commands import AddStock, CommitStock, ReleaseStock, ReserveStock
from inventory_es.domain.processes.lines import TransferLine
from inventory_es.domain.processes.step_ids import encoded, step_id
from inventory_es.domain.processes.transfer.status import Movement, TransferStatus
from inventory_es.domain.processes.transfer.transfer import Arrival, Transfer
from inventory_es.domain.reasons import AddReason, CommitReason, Purpose, ReleaseReason


def reserve(transfer: Transfer, line: TransferLine) -> ReserveStock:
    """Hold a line at the source, for good."""
    return ReserveStock(
        inventory_id=transfer.source(line),
        reservation_id=step_id(transfer.transfer_id, line.line),
        quantity=line.quantity,
        ttl=None,
        purpose=Purpose.TRANSFER,
        reference=transfer.stream.text,
    )


def dispatch(transfer: Transfer, line: TransferLine) -> CommitStock:
    """Take a line off the books of the source."""
    return CommitStock(
        inventory_id=transfer.source(line),
        command_id=step_id(transfer.transfer_id, line.line, "dispatch"),
        reservation_id=step_id(transfer.transfer_id, line.line),
        quantity=line.quantity,
        reason=CommitReason.TRANSFER_OUT,
        reference=transfer.stream.text,
    )


def release(transfer: Transfer, line: TransferLine) -> ReleaseStock:
    """Give back what a line holds at the source."""
    rejected = transfer.withdrawn is TransferStatus.REJECTED or transfer.status is TransferStatus.REJECTED
    return ReleaseStock(
        inventory_id=transfer.source(line),
        command_id=step_id(transfer.transfer_id, line.line, "compensate" if rejected else "cancel"),
        reservation_id=step_id(transfer.transfer_id, line.line),
        reason=ReleaseReason.COMPENSATION if rejected else ReleaseReason.CANCELLED,
        reference=transfer.stream.text,
    )


def releases(transfer: Transfer) -> Iterator[ReleaseStock]:
    """Give everything back, newest first."""
    return (release(transfer, line) for line in reversed(transfer.lines))


def bookings(transfer: Transfer, arrival: Arrival) -> Iterator[AddStock]:
    """Put what arrived on the books: at the destination for a receipt, at the source for a return."""
    is_receipt = arrival.movement is Movement.RECEIPT
    for one in arrival.lines:
        line = transfer.lines[one.line - 1]
        yield AddStock(
            inventory_id=transfer.destination(line) if is_receipt else transfer.source(line),
            command_id=step_id(transfer.transfer_id, line.line, "receive" if is_receipt else "return", encoded(arrival.movement_id)),
            quantity=one.quantity,
            reason=AddReason.TRANSFER_IN if is_receipt else AddReason.TRANSFER_RETURN,
            reference=transfer.stream.text,
        )
