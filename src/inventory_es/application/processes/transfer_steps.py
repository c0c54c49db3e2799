"""The steps of a transfer, done to its inventories: at once with the transfer's own events where the store can, else one by one.

As with orders, intentions stand in the transfer's stream before an inventory is touched, and every command's id derives from the
transfer, the line and the step, so a step that was cut short is taken again from its beginning.
"""

from contextlib import suppress
from typing import assert_never

from inventory_es.application.processes.handler import ProcessHandler
from inventory_es.application.processes.session import ProcessDraft
from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import Command
from inventory_es.domain.errors import (
    CommandsRejectedError,
    InsufficientStockError,
    RejectionError,
    ReservationAlreadyCommittedError,
    ReservationNotFoundError,
)
from inventory_es.domain.processes.lines import LineRefusal, LineShortage, TransferLine
from inventory_es.domain.processes.transfer import steps
from inventory_es.domain.processes.transfer.decisions import closed
from inventory_es.domain.processes.transfer.events import (
    TransferBookedEvent,
    TransferDispatchCommittedEvent,
    TransferEvent,
    TransferReleasedEvent,
    TransferReservedEvent,
    TransferWithdrawnEvent,
)
from inventory_es.domain.processes.transfer.status import TransferStatus, TransferStep
from inventory_es.domain.processes.transfer.transfer import Arrival, Transfer
from inventory_es.ports.errors import AppendTooLargeError

Draft = ProcessDraft[Transfer, TransferEvent]


class TransferSteps:
    """Takes the steps of transfers.

    Args:
        handler: keeps the streams of transfers.
        inventory: whose inventories are moved.
    """

    def __init__(self, handler: ProcessHandler[Transfer, TransferEvent], inventory: InventoryService) -> None:
        self._handler = handler
        self._inventory = inventory
        self.is_atomic: bool = inventory.store_capabilities.multi_stream

    async def take(self, draft: Draft) -> Draft:
        """Take every step that the transfer has to take, and store what is drafted.

        Returns:
            The transfer after them.

        Raises:
            ConcurrencyError: somebody else moved the transfer; take its steps from its new state.
            RejectionError: what arrived can't be put on the books. Once that is mended, the step is taken again.
        """
        while (step := draft.state.step) is not None:
            if step is TransferStep.RELEASE and draft.version == 0:  # refused before anything was stored: nothing was ever held
                self._conclude(draft, _released(draft.state))
                continue
            ahead = await self._at_once(draft, step) if self.is_atomic else None
            if ahead is not None:
                draft = ahead
                continue
            await self._handler.append(draft)
            self._conclude(draft, await self._one_by_one(draft.state, step))
        await self._handler.append(draft)
        return draft

    async def give_back(self, transfer: Transfer) -> None:
        """Release whatever the lines of a transfer that ended may hold: somebody ended it while another task was reserving for it."""
        for command in steps.releases(transfer):
            with suppress(ReservationNotFoundError):
                await self._inventory.execute(command)

    def _conclude(self, draft: Draft, outcome: TransferEvent) -> None:
        command_id, at = f"step:{draft.state.step}", self._handler.time_of(draft)
        draft.take((outcome,), at, command_id=command_id)
        draft.take(closed(draft.state), at, command_id=command_id)

    async def _at_once(self, draft: Draft, step: TransferStep) -> Draft | None:
        """Append the whole step with the transfer's events.

        Returns:
            What follows; ``None`` where the step must be taken one by one.
        """
        transfer, at = draft.state, self._handler.time_of(draft)
        commands, outcome = _plan(transfer, step)
        ahead = draft.copy()
        self._conclude(ahead, outcome)
        try:
            await self._inventory.execute_all(commands, writes=[self._handler.write(ahead)], times=[at] * len(commands))
        except CommandsRejectedError as refused:
            if step is TransferStep.BOOK:
                raise refused.rejections[0] from refused
            if step is not TransferStep.RESERVE:
                return None
            ahead = draft.copy()
            found = zip(refused.indexes, refused.rejections, strict=True)
            self._conclude(ahead, _refused(transfer, tuple(_shortage(transfer, transfer.lines[index], why) for index, why in found)))
            return ahead
        except AppendTooLargeError:
            return None
        ahead.stored()
        return ahead

    async def _one_by_one(self, transfer: Transfer, step: TransferStep) -> TransferEvent:
        match step:
            case TransferStep.RESERVE:
                return await self._reserve(transfer)
            case TransferStep.DISPATCH:
                return await self._dispatch(transfer)
            case TransferStep.BOOK:
                arrival = _open_arrival(transfer)
                for booking in steps.bookings(transfer, arrival):
                    await self._inventory.execute(booking)
                return _booked(transfer, arrival)
            case TransferStep.RELEASE:
                await self.give_back(transfer)
                return _released(transfer)
            case _:
                assert_never(step)

    async def _reserve(self, transfer: Transfer) -> TransferEvent:
        for line in transfer.lines:
            try:
                await self._inventory.execute(steps.reserve(transfer, line))
            except RejectionError as why:
                return _refused(transfer, await self._shortages(transfer, line, why))
        return TransferReservedEvent(transfer.transfer_id)

    async def _dispatch(self, transfer: Transfer) -> TransferEvent:
        """Take every line off the books of the source that can be; give back the hold of one that can't."""
        refused: list[LineRefusal] = []
        for line in transfer.lines:
            try:
                await self._inventory.execute(steps.dispatch(transfer, line))
            except RejectionError as why:
                refused.append(LineRefusal(line.line, why.code))
                with suppress(ReservationNotFoundError, ReservationAlreadyCommittedError):
                    await self._inventory.execute(steps.release(transfer, line))
        return _committed(transfer, tuple(refused))

    async def _shortages(self, transfer: Transfer, refused: TransferLine, why: RejectionError) -> tuple[LineShortage, ...]:
        """Of the line that was refused, and of those after it, which were not asked for."""
        found = [_shortage(transfer, refused, why)]
        for line in transfer.lines[refused.line :]:
            store = transfer.source_store_id
            available = (await self._inventory.stock(line.product_id, store)).available
            if available < line.quantity:
                found.append(LineShortage(line.line, line.product_id, store, line.quantity, available, InsufficientStockError.code))
        return tuple(found)


def _plan(transfer: Transfer, step: TransferStep) -> tuple[list[Command], TransferEvent]:
    """All commands of a step, and what comes of it if each is accepted."""
    match step:
        case TransferStep.RESERVE:
            return [steps.reserve(transfer, line) for line in transfer.lines], TransferReservedEvent(transfer.transfer_id)
        case TransferStep.DISPATCH:
            return [steps.dispatch(transfer, line) for line in transfer.lines], _committed(transfer, ())
        case TransferStep.BOOK:
            arrival = _open_arrival(transfer)
            return list(steps.bookings(transfer, arrival)), _booked(transfer, arrival)
        case TransferStep.RELEASE:
            return list(steps.releases(transfer)), _released(transfer)
        case _:
            assert_never(step)


def _committed(transfer: Transfer, refused: tuple[LineRefusal, ...]) -> TransferEvent:
    left_out = {one.line for one in refused}
    return TransferDispatchCommittedEvent(
        transfer.transfer_id,
        transfer.source_store_id,
        transfer.destination_store_id,
        transfer.expected_at,
        tuple(line for line in transfer.lines if line.line not in left_out),
        refused,
    )


def _booked(transfer: Transfer, arrival: Arrival) -> TransferEvent:
    return TransferBookedEvent(transfer.transfer_id, arrival.movement, arrival.movement_id)


def _refused(transfer: Transfer, shortages: tuple[LineShortage, ...]) -> TransferEvent:
    return TransferWithdrawnEvent(transfer.transfer_id, TransferStatus.REJECTED, shortages)


def _released(transfer: Transfer) -> TransferEvent:
    assert transfer.withdrawn is not None  # noqa: S101  # the transfer has this step because of it
    return TransferReleasedEvent(transfer.transfer_id, transfer.withdrawn)


def _open_arrival(transfer: Transfer) -> Arrival:
    arrival = transfer.open_arrival
    assert arrival is not None  # noqa: S101  # the transfer has this step because of it
    return arrival


def _shortage(transfer: Transfer, line: TransferLine, why: RejectionError) -> LineShortage:
    available = why.available if isinstance(why, InsufficientStockError) else None
    return LineShortage(line.line, line.product_id, transfer.source_store_id, line.quantity, available, why.code)
