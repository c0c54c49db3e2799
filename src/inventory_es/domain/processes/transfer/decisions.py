"""Deciders: what each command does to a transfer, and what comes of a step. Pure: they read, and return events or raise a rejection."""

from datetime import datetime
from typing import NoReturn, assert_never

from inventory_es.domain.processes.decider import Decider
from inventory_es.domain.processes.lines import LineMovement, TransferLine
from inventory_es.domain.processes.rejections import (
    ProcessIdReusedError,
    ProcessNotFoundError,
    ProcessStateError,
    QuantityExceedsProcessError,
)
from inventory_es.domain.processes.transfer.commands import (
    CancelTransfer,
    DispatchTransfer,
    DraftTransfer,
    ReceiveTransfer,
    ReturnTransfer,
    TransferCommand,
    WriteOffTransfer,
)
from inventory_es.domain.processes.transfer.events import (
    TRANSFER_CATEGORY,
    TransferClosedEvent,
    TransferDispatchedEvent,
    TransferDraftedEvent,
    TransferEvent,
    TransferLostEvent,
    TransferReceivedEvent,
    TransferReturnedEvent,
    TransferWithdrawnEvent,
)
from inventory_es.domain.processes.transfer.evolve import evolve
from inventory_es.domain.processes.transfer.status import Movement, TransferStatus
from inventory_es.domain.processes.transfer.transfer import Transfer


def decide(transfer: Transfer, command: TransferCommand, at: datetime) -> tuple[TransferEvent, ...]:
    """What ``command`` does to ``transfer`` at ``at``: events to append, none for a no-op or for what was done before.

    Raises:
        ProcessNotFoundError: nothing was drafted under this id.
        ProcessStateError: the transfer is past it, or not there yet.
        ProcessIdReusedError: the transfer, receipt, return or loss id was used for something else.
        QuantityExceedsProcessError: more units than are under way.
    """
    if isinstance(command, DraftTransfer):
        return _draft(transfer, command)
    if transfer.status is TransferStatus.NEW:
        raise ProcessNotFoundError(process=transfer.stream)
    match command:
        case DispatchTransfer():
            return _dispatch(transfer, command)
        case ReceiveTransfer():
            lines = _arrive(transfer, command, Movement.RECEIPT, command.receipt_id)
            return (TransferReceivedEvent(transfer.transfer_id, command.receipt_id, lines),) if lines else ()
        case ReturnTransfer():
            lines = _arrive(transfer, command, Movement.RETURN, command.return_id)
            return (TransferReturnedEvent(transfer.transfer_id, command.return_id, lines),) if lines else ()
        case WriteOffTransfer():
            lines = _arrive(transfer, command, Movement.LOSS, command.loss_id)
            lost = TransferLostEvent(transfer.transfer_id, command.loss_id, lines)
            return (lost, *closed(evolve(transfer, lost, at))) if lines else ()
        case CancelTransfer():
            return _cancel(transfer, command)
        case _:
            assert_never(command)


def closed(transfer: Transfer) -> tuple[TransferEvent, ...]:
    """That the transfer is closed, once nothing is under way, and the books know of all that arrived."""
    is_over = transfer.status is TransferStatus.DISPATCHED and not transfer.in_transit and transfer.open_arrival is None
    return (TransferClosedEvent(transfer.transfer_id),) if is_over else ()


def _draft(transfer: Transfer, command: DraftTransfer) -> tuple[TransferEvent, ...]:
    stores = (command.source_store_id, command.destination_store_id)
    if transfer.status is TransferStatus.NEW:
        return (TransferDraftedEvent(transfer.transfer_id, *stores, command.lines),)
    if (transfer.source_store_id, transfer.destination_store_id, transfer.lines) != (*stores, command.lines):
        raise ProcessIdReusedError(process=transfer.stream, reused_id=transfer.transfer_id)
    return ()


def _dispatch(transfer: Transfer, command: DispatchTransfer) -> tuple[TransferEvent, ...]:
    if transfer.leaves:
        if transfer.expected_at != command.expected_at:
            raise ProcessIdReusedError(process=transfer.stream, reused_id=command.command_id)
        return ()
    if transfer.status is not TransferStatus.RESERVED or transfer.withdrawn is not None:
        _refuse(transfer, command)
    return (TransferDispatchedEvent(transfer.transfer_id, command.expected_at),)


def _arrive(
    transfer: Transfer, command: ReceiveTransfer | ReturnTransfer | WriteOffTransfer, movement: Movement, movement_id: str
) -> tuple[LineMovement, ...]:
    """What the command moves; nothing where it was done before."""
    known = transfer.arrival(movement, movement_id)
    if known is not None:
        told = {(one.line, one.quantity) for one in known.lines}
        if command.lines is not None and told != {(number, units) for number, units, _ in _quantities(transfer, command.lines)}:
            raise ProcessIdReusedError(process=transfer.stream, reused_id=movement_id)
        return ()
    if transfer.status is not TransferStatus.DISPATCHED:
        _refuse(transfer, command)
    if command.lines is None:
        asked = [(number, units, transfer.lines[number - 1]) for number, units in transfer.in_transit.items()]
    else:
        asked = _quantities(transfer, command.lines)
    if not asked:
        _refuse(transfer, command)
    moved: list[LineMovement] = []
    for number, units, line in sorted(asked, key=lambda one: one[0]):
        under_way = transfer.in_transit.get(number, 0)
        if units > under_way:
            inventory = transfer.source(line).stream
            raise QuantityExceedsProcessError(process=transfer.stream, inventory=inventory, requested=units, remaining=under_way)
        moved.append(LineMovement(number, units, under_way - units))
    return tuple(moved)


def _quantities(transfer: Transfer, lines: tuple[TransferLine, ...]) -> list[tuple[int, int, TransferLine]]:
    """The transfer's own line number of each product, with the units asked for; 0 for a product that is none of the transfer's."""
    numbers = {line.product_id: line.line for line in transfer.lines}
    return [(numbers.get(line.product_id, 0), line.quantity, line) for line in lines]


def _cancel(transfer: Transfer, command: CancelTransfer) -> tuple[TransferEvent, ...]:
    if transfer.status in {TransferStatus.CANCELLED, TransferStatus.REJECTED} or transfer.withdrawn is not None:
        return ()
    if transfer.leaves:
        _refuse(transfer, command)
    return (TransferWithdrawnEvent(transfer.transfer_id, TransferStatus.CANCELLED, ()),)


def _refuse(transfer: Transfer, command: TransferCommand) -> NoReturn:
    status = "leaving" if transfer.leaves and transfer.status is TransferStatus.RESERVED else transfer.status.value
    raise ProcessStateError(process=transfer.stream, status=status, command=type(command).__name__)


TRANSFERS = Decider[Transfer, TransferEvent](TRANSFER_CATEGORY, Transfer, decide, evolve)
"""Transfers as a process."""
