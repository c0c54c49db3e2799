"""The steps of a transfer: commands to the inventories, and the events that end them.

Pure, and the same for the same transfer, however often a step is made.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import assert_never

from inventory_es.domain.commands import AddStock, Command, CommitStock, ReleaseStock, ReserveStock
from inventory_es.domain.processes.lines import LineRefusal, LineShortage, TransferLine
from inventory_es.domain.processes.step_ids import encoded, step_id
from inventory_es.domain.processes.transfer import events
from inventory_es.domain.processes.transfer.events import Movement, TransferEvent, TransferStatus
from inventory_es.domain.processes.transfer.transfer import Arrival, Transfer, TransferStep
from inventory_es.domain.reasons import AddReason, CommitReason, Purpose, ReleaseReason


def plan(transfer: Transfer, _at: datetime) -> tuple[list[Command], TransferEvent] | None:
    """Return the commands of the transfer's step and the event that ends it if all are accepted; ``None`` where no step is due."""
    match transfer.step:
        case None:
            return None
        case TransferStep.RESERVE:
            return [reserve(transfer, line) for line in transfer.lines], events.TransferReservedEvent(transfer.transfer_id)
        case TransferStep.DISPATCH:
            return [dispatch(transfer, line) for line in transfer.lines], dispatched(transfer, ())
        case TransferStep.BOOK:
            return book(transfer)
        case TransferStep.RELEASE:
            return list(releases(transfer)), released(transfer)
        case _:
            assert_never(transfer.step)


def book(transfer: Transfer) -> tuple[list[Command], TransferEvent]:
    """Return the commands that put the first open arrival on the books, and the event that ends them."""
    arrival = transfer.open_arrival
    assert arrival is not None  # noqa: S101  # the transfer has this step because of it
    booked = events.TransferBookedEvent(transfer.transfer_id, arrival.movement, arrival.movement_id)
    return list(bookings(transfer, arrival)), booked


def refused(transfer: Transfer, shortages: tuple[LineShortage, ...]) -> TransferEvent:
    """Return the event that withdraws a transfer whose lines can't be had."""
    return events.TransferWithdrawnEvent(transfer.transfer_id, TransferStatus.REJECTED, shortages)


def released(transfer: Transfer) -> TransferEvent:
    """Return the event that ends a withdrawn transfer once everything is released."""
    assert transfer.withdrawn is not None  # noqa: S101  # the transfer has this step because of it
    return events.TransferReleasedEvent(transfer.transfer_id, transfer.withdrawn)


def dispatched(transfer: Transfer, refused: tuple[LineRefusal, ...]) -> TransferEvent:
    """Return the event that ends the dispatch: every line left but those that were refused."""
    stay = {one.line for one in refused}
    stores = (transfer.source_store_id, transfer.destination_store_id)
    lines = tuple(line for line in transfer.lines if line.line not in stay)
    return events.TransferDispatchCommittedEvent(transfer.transfer_id, *stores, transfer.expected_at, lines, refused)


def closed(transfer: Transfer) -> tuple[TransferEvent, ...]:
    """Return the event that closes a transfer with nothing in transit and nothing to book; none for another transfer."""
    is_over = transfer.status is TransferStatus.DISPATCHED and not transfer.in_transit and transfer.open_arrival is None
    return (events.TransferClosedEvent(transfer.transfer_id),) if is_over else ()


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
    """Release a line's hold at the source."""
    rejected = transfer.withdrawn is TransferStatus.REJECTED or transfer.status is TransferStatus.REJECTED
    return ReleaseStock(
        inventory_id=transfer.source(line),
        command_id=step_id(transfer.transfer_id, line.line, "compensate" if rejected else "cancel"),
        reservation_id=step_id(transfer.transfer_id, line.line),
        reason=ReleaseReason.COMPENSATION if rejected else ReleaseReason.CANCELLED,
        reference=transfer.stream.text,
    )


def releases(transfer: Transfer) -> Iterator[ReleaseStock]:
    """Release everything, newest first."""
    return (release(transfer, line) for line in reversed(transfer.lines))


def bookings(transfer: Transfer, arrival: Arrival) -> Iterator[AddStock]:
    """Put an arrival on the books: at the destination for a receipt, at the source for a return."""
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
