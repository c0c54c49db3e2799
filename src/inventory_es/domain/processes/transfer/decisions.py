"""Decisions of a transfer: what each command does to it. Pure: they return events or raise a rejection."""

from datetime import datetime
from typing import NoReturn, assert_never

from inventory_es.domain.errors import ProcessIdReusedError, ProcessNotFoundError, ProcessStateError, QuantityExceedsProcessError
from inventory_es.domain.processes.decider import Decider
from inventory_es.domain.processes.lines import LineMovement, TransferLine
from inventory_es.domain.processes.transfer import commands, events, steps
from inventory_es.domain.processes.transfer.commands import TransferCommand
from inventory_es.domain.processes.transfer.events import TRANSFER_CATEGORY, Movement, TransferEvent, TransferStatus
from inventory_es.domain.processes.transfer.transfer import Transfer, evolve


def decide(transfer: Transfer, command: TransferCommand, at: datetime) -> tuple[TransferEvent, ...]:
    """Return the events of ``command`` at ``at``: none for a no-op, or for a command that was accepted before.

    Raises:
        ProcessNotFoundError: nothing was drafted under this id.
        ProcessStateError: the transfer's state does not allow the command.
        ProcessIdReusedError: the transfer, receipt, return or loss id was used for something else.
        QuantityExceedsProcessError: more units than are in transit.
    """
    if isinstance(command, commands.DraftTransfer):
        return _draft(transfer, command)
    if transfer.status is TransferStatus.NEW:
        raise ProcessNotFoundError(process=transfer.stream)
    match command:
        case commands.DispatchTransfer():
            return _dispatch(transfer, command)
        case commands.ReceiveTransfer():
            lines = _arrive(transfer, command, Movement.RECEIPT, command.receipt_id)
            return (events.TransferReceivedEvent(transfer.transfer_id, command.receipt_id, lines),) if lines else ()
        case commands.ReturnTransfer():
            lines = _arrive(transfer, command, Movement.RETURN, command.return_id)
            return (events.TransferReturnedEvent(transfer.transfer_id, command.return_id, lines),) if lines else ()
        case commands.WriteOffTransfer():
            lines = _arrive(transfer, command, Movement.LOSS, command.loss_id)
            lost = events.TransferLostEvent(transfer.transfer_id, command.loss_id, lines)
            return (lost, *steps.closed(evolve(transfer, lost, at))) if lines else ()
        case commands.CancelTransfer():
            return _cancel(transfer, command)
        case _:
            assert_never(command)


def _draft(transfer: Transfer, command: commands.DraftTransfer) -> tuple[TransferEvent, ...]:
    stores = (command.source_store_id, command.destination_store_id)
    if transfer.status is TransferStatus.NEW:
        return (events.TransferDraftedEvent(transfer.transfer_id, *stores, command.lines),)
    if (transfer.source_store_id, transfer.destination_store_id, transfer.lines) != (*stores, command.lines):
        raise ProcessIdReusedError(process=transfer.stream, reused_id=transfer.transfer_id)
    return ()


def _dispatch(transfer: Transfer, command: commands.DispatchTransfer) -> tuple[TransferEvent, ...]:
    if transfer.leaves:
        if transfer.expected_at != command.expected_at:
            raise ProcessIdReusedError(process=transfer.stream, reused_id=command.command_id)
        return ()
    if transfer.status is not TransferStatus.RESERVED or transfer.withdrawn is not None:
        _refuse(transfer, command)
    return (events.TransferDispatchedEvent(transfer.transfer_id, command.expected_at),)


def _arrive(
    transfer: Transfer,
    command: commands.ReceiveTransfer | commands.ReturnTransfer | commands.WriteOffTransfer,
    movement: Movement,
    movement_id: str,
) -> tuple[LineMovement, ...]:
    """Return the movements of a command; none where it was accepted before."""
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
        in_transit = transfer.in_transit.get(number, 0)
        if units > in_transit:
            inventory = transfer.source(line).stream
            raise QuantityExceedsProcessError(process=transfer.stream, inventory=inventory, requested=units, remaining=in_transit)
        moved.append(LineMovement(number, units, in_transit - units))
    return tuple(moved)


def _quantities(transfer: Transfer, lines: tuple[TransferLine, ...]) -> list[tuple[int, int, TransferLine]]:
    """Return line number, units and line of each product; number 0 for a product that the transfer does not have."""
    numbers = {line.product_id: line.line for line in transfer.lines}
    return [(numbers.get(line.product_id, 0), line.quantity, line) for line in lines]


def _cancel(transfer: Transfer, command: commands.CancelTransfer) -> tuple[TransferEvent, ...]:
    if transfer.status in {TransferStatus.CANCELLED, TransferStatus.REJECTED} or transfer.withdrawn is not None:
        return ()
    if transfer.leaves:
        _refuse(transfer, command)
    return (events.TransferWithdrawnEvent(transfer.transfer_id, TransferStatus.CANCELLED, ()),)


def _refuse(transfer: Transfer, command: TransferCommand) -> NoReturn:
    status = "leaving" if transfer.leaves and transfer.status is TransferStatus.RESERVED else transfer.status.value
    raise ProcessStateError(process=transfer.stream, status=status, command=type(command).__name__)


TRANSFERS = Decider[Transfer, TransferEvent](
    category=TRANSFER_CATEGORY,
    start=Transfer,
    decide=decide,
    evolve=evolve,
    plan=steps.plan,
    refuse=steps.refused,
    release=steps.released,
    close=steps.closed,
    source=Transfer.source,
)
"""Transfers as a process."""
