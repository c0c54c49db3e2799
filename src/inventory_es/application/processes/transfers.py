"""Transfers between stores: reserved, dispatched, received in parts. No unit appears anywhere before it is received."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import assert_never
from uuid import UUID

from inventory_es.application.following.subscription import EventFilter
from inventory_es.application.processes.handler import ProcessHandler, ProcessSession, check_command
from inventory_es.application.processes.runner import Touch
from inventory_es.application.service import InventoryService
from inventory_es.domain.errors import (
    CommandsRejectedError,
    ProcessNotFoundError,
    RejectionError,
    ReservationAlreadyCommittedError,
    ReservationNotFoundError,
)
from inventory_es.domain.events import StockReservedEvent
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.domain.processes.lines import LineRefusal, TransferItem
from inventory_es.domain.processes.step_ids import process_id
from inventory_es.domain.processes.transfer import commands, events, steps
from inventory_es.domain.processes.transfer.commands import TransferCommand
from inventory_es.domain.processes.transfer.decisions import TRANSFERS
from inventory_es.domain.processes.transfer.events import TRANSFER_CATEGORY, TRANSFER_EVENT_TYPES, TransferEvent, TransferStatus
from inventory_es.domain.processes.transfer.transfer import Transfer, TransferStep
from inventory_es.ports import RecordedEvent

Goods = Iterable[TransferItem | tuple[str, int]]
"""Goods that are moved: product and quantity of each."""

TransferSession = ProcessSession[Transfer, TransferEvent]

_EVENT_NAMES = frozenset(kind.__name__ for kind in TRANSFER_EVENT_TYPES)
_OF_TRANSFERS = EventFilter(categories={TRANSFER_CATEGORY}, types=_EVENT_NAMES)
_WITH_RESERVATIONS = EventFilter(categories={TRANSFER_CATEGORY, INVENTORY_CATEGORY}, types=_EVENT_NAMES | {StockReservedEvent.__name__})


class TransferHandler(ProcessHandler[Transfer, TransferEvent]):
    """Handler of transfers, which takes their steps.

    Args:
        inventory: the open service; its store has the streams.
    """

    def __init__(self, inventory: InventoryService) -> None:
        super().__init__(TRANSFERS, inventory)

    async def give_back(self, transfer: Transfer) -> None:
        """Release holds of a transfer that ended, where lines are reserved one by one. A task that was overtaken may have left them."""
        if not self.is_atomic and transfer.status in {TransferStatus.CANCELLED, TransferStatus.REJECTED}:
            await self._release(transfer)

    def _refused(self, session: TransferSession, why: CommandsRejectedError) -> TransferSession | None:
        if session.state.step is TransferStep.BOOK:
            raise why.rejections[0] from why
        return self.refuse(session, why) if session.state.step is TransferStep.RESERVE else None

    async def _one_by_one(self, state: Transfer) -> TransferEvent:
        match state.step:
            case TransferStep.RESERVE:
                return await self._reserve(state)
            case TransferStep.DISPATCH:
                return await self._dispatch(state)
            case TransferStep.BOOK:
                bookings, booked = steps.book(state)
                for booking in bookings:
                    await self._inventory.execute(booking)
                return booked
            case TransferStep.RELEASE | None:
                await self._release(state)
                return steps.released(state)
            case _:
                assert_never(state.step)

    async def _reserve(self, transfer: Transfer) -> TransferEvent:
        for line in transfer.lines:
            try:
                await self._inventory.execute(steps.reserve(transfer, line))
            except RejectionError as why:
                return steps.refused(transfer, await self.shortages(transfer, line, why))
        return events.TransferReservedEvent(transfer.transfer_id)

    async def _dispatch(self, transfer: Transfer) -> TransferEvent:
        """Take every line off the books of the source that can be, and release the hold of one that can't."""
        refused: list[LineRefusal] = []
        for line in transfer.lines:
            try:
                await self._inventory.execute(steps.dispatch(transfer, line))
            except RejectionError as why:
                refused.append(LineRefusal(line.line, why.code))
                with suppress(ReservationNotFoundError, ReservationAlreadyCommittedError):
                    await self._inventory.execute(steps.release(transfer, line))
        return steps.dispatched(transfer, tuple(refused))

    async def _release(self, transfer: Transfer) -> None:
        for command in steps.releases(transfer):
            with suppress(ReservationNotFoundError):
                await self._inventory.execute(command)


class Transfers:
    """The transfers of one inventory service, each a process with a stream of its own.

    Every call records the command, takes the steps that follow from it, and returns the transfer after them. Every call is idempotent.
    A call that is killed half way is completed by :meth:`advance`, as a :class:`~inventory_es.processes.ProcessRunner` does. Every call
    may raise what the writes of the service raise, and:

    - ``ProcessNotFoundError``: nothing was drafted under this id.
    - ``ProcessStateError``: the transfer's state does not allow the call.
    - ``ProcessIdReusedError``: the transfer, receipt, return or loss id was used for something else.

    Args:
        inventory: the open service; the caller closes it.
    """

    def __init__(self, inventory: InventoryService) -> None:
        self._handler = TransferHandler(inventory)

    async def draft(self, transfer_id: str | UUID, goods: Goods, *, source: str | UUID, destination: str | UUID) -> Transfer:
        """Hold these goods at the source for good, or none of them.

        Args:
            transfer_id: 1 to 64 characters; never used again.
            goods: the goods. Items of one product become one line.
            source: the store that has them.
            destination: the store that they are for.

        Returns:
            The transfer: ``RESERVED``, or ``REJECTED`` with the shortage of every line that could not be had.
        """
        return await self.execute(
            commands.DraftTransfer(transfer_id=transfer_id, source_store_id=source, destination_store_id=destination, lines=goods)
        )

    async def dispatch(self, transfer_id: str | UUID, *, expected_at: datetime | None = None) -> Transfer:
        """Let the goods leave the source. From then on they belong to the transfer.

        Args:
            transfer_id: of a reserved transfer.
            expected_at: time when they should arrive, in UTC; ``None`` where nobody knows.

        Returns:
            The transfer: ``DISPATCHED``. Lines whose units a count has removed do not leave; ``refused`` lists them.
        """
        return await self.execute(commands.DispatchTransfer(transfer_id=transfer_id, expected_at=expected_at))

    async def receive(self, transfer_id: str | UUID, receipt_id: str | UUID, goods: Goods | None = None) -> Transfer:
        """Receive these goods at the destination, or everything that is still in transit.

        Returns:
            The transfer: ``DISPATCHED`` while something is in transit, then ``CLOSED``.

        Raises:
            QuantityExceedsProcessError: more than is in transit.
        """
        return await self.execute(commands.ReceiveTransfer(transfer_id=transfer_id, receipt_id=receipt_id, lines=goods))

    async def take_back(self, transfer_id: str | UUID, return_id: str | UUID, goods: Goods | None = None) -> Transfer:
        """Take these goods back at the source, or everything that is still in transit; see :meth:`receive`."""
        return await self.execute(commands.ReturnTransfer(transfer_id=transfer_id, return_id=return_id, lines=goods))

    async def write_off(self, transfer_id: str | UUID, loss_id: str | UUID, goods: Goods | None = None) -> Transfer:
        """Write these goods off, or everything that is still in transit; see :meth:`receive`."""
        return await self.execute(commands.WriteOffTransfer(transfer_id=transfer_id, loss_id=loss_id, lines=goods))

    async def cancel(self, transfer_id: str | UUID) -> Transfer:
        """Release everything at the source.

        Returns:
            The transfer: ``CANCELLED``, or as it was where it holds nothing.

        Raises:
            ProcessStateError: the goods have left. Use :meth:`take_back` or :meth:`write_off`.
        """
        return await self.execute(commands.CancelTransfer(transfer_id=transfer_id))

    async def transfer(self, transfer_id: str | UUID) -> Transfer:
        """Return the transfer from its stream; ``NEW`` where nothing was drafted."""
        return (await self._handler.load(process_id("transfer_id", transfer_id))).state

    async def advance(self, transfer_id: str) -> Transfer:
        """Take the steps that are due."""

        async def work(session: TransferSession) -> Transfer:
            if session.state.status is TransferStatus.NEW:
                raise ProcessNotFoundError(process=session.stream)
            return (await self._handler.take_steps(session)).state

        transfer = await self._handler.attempt(process_id("transfer_id", transfer_id), work)
        await self._handler.give_back(transfer)
        return transfer

    async def execute(self, command: TransferCommand) -> Transfer:
        """Execute a command once the steps before it are taken, and take every step that follows."""
        check_command(command, TransferCommand)
        was_overtaken = False

        async def work(session: TransferSession) -> Transfer:
            nonlocal was_overtaken
            if was_overtaken:
                await self._handler.give_back(session.state)
            was_overtaken = True
            session = await self._handler.take_steps(session)
            self._handler.decide(session, command)
            return (await self._handler.take_steps(session)).state

        return await self._handler.attempt(command.transfer_id, work)

    @property
    def name(self) -> str:
        """Name of the runner's checkpoint."""
        return "transfer_runner"

    @property
    def watched(self) -> EventFilter:
        """The events of transfers, and reservations where these are made one by one."""
        return _OF_TRANSFERS if self._handler.is_atomic else _WITH_RESERVATIONS

    def touch(self, recorded: RecordedEvent) -> Touch | None:
        """Return the transfer of an event, or of a reservation, whose maker may have been too late and killed since."""
        transfer_id = self._handler.process_of(recorded)
        return None if transfer_id is None else Touch(transfer_id, is_over=recorded.event_type == events.TransferClosedEvent.__name__)

    async def look(self, transfer_id: str) -> None:
        """Take the steps that are due. No transfer is looked at again, since time alone moves none."""
        try:
            await self.advance(transfer_id)
        except ProcessNotFoundError:
            return
