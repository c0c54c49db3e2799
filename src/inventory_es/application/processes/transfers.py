"""Transfers between stores: reserved, dispatched, received in parts. No unit appears anywhere before somebody received it."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from inventory_es.application.processes.handler import ProcessHandler, check_command
from inventory_es.application.processes.runner import Touch
from inventory_es.application.processes.session import ProcessDraft
from inventory_es.application.processes.transfer_steps import TransferSteps
from inventory_es.application.service import InventoryService
from inventory_es.application.subscription import EventFilter
from inventory_es.domain.events import StockReservedEvent
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.domain.processes.lines import TransferItem
from inventory_es.domain.processes.rejections import ProcessNotFoundError
from inventory_es.domain.processes.step_ids import process_id, process_of
from inventory_es.domain.processes.transfer.commands import (
    CancelTransfer,
    DispatchTransfer,
    DraftTransfer,
    ReceiveTransfer,
    ReturnTransfer,
    TransferCommand,
    WriteOffTransfer,
)
from inventory_es.domain.processes.transfer.decisions import TRANSFERS
from inventory_es.domain.processes.transfer.events import TRANSFER_CATEGORY, TRANSFER_EVENT_TYPES, TransferClosedEvent, TransferEvent
from inventory_es.domain.processes.transfer.status import TransferStatus
from inventory_es.domain.processes.transfer.transfer import Transfer
from inventory_es.ports import RecordedEvent

Goods = Iterable[TransferItem | tuple[str, int]]
"""What is moved: product and quantity of each."""


class Transfers:
    """The transfers of one inventory service, each a process with a stream of its own.

    Every call records what is asked, does to the inventories what follows from it, and gives the transfer as it stands then. Every
    call may be sent again, for ever: what was done is not done twice. Where it is killed half way, :meth:`advance` goes on,
    which is what a :class:`~inventory_es.processes.ProcessRunner` does. Every call may raise what the writes of the service raise, and:

    - ``ProcessNotFoundError``: nothing was drafted under this id.
    - ``ProcessStateError``: the transfer is past it, or not there yet.
    - ``ProcessIdReusedError``: the transfer, receipt, return or loss id was used for something else.

    Args:
        inventory: open; it stays the caller's to close.
    """

    def __init__(self, inventory: InventoryService) -> None:
        self._codec = inventory.parts.codec
        self._handler = ProcessHandler(TRANSFERS, inventory)
        self._steps = TransferSteps(self._handler, inventory)

    async def draft(self, transfer_id: str | UUID, goods: Goods, *, source: str | UUID, destination: str | UUID) -> Transfer:
        """Hold these goods at the source for good, or none of them.

        Args:
            transfer_id: 1 to 64 characters, used once, for ever.
            goods: what is to be moved. Items of one product become one line.
            source: the store where they are.
            destination: the store where they are wanted.

        Returns:
            The transfer: ``RESERVED``, or ``REJECTED`` with the shortage of every line that could not be had.
        """
        return await self.execute(
            DraftTransfer(transfer_id=transfer_id, source_store_id=source, destination_store_id=destination, lines=goods)
        )

    async def dispatch(self, transfer_id: str | UUID, *, expected_at: datetime | None = None) -> Transfer:
        """The goods leave the source, and belong to the transfer from then on.

        Args:
            transfer_id: of a reserved transfer.
            expected_at: when they should arrive, in UTC; ``None`` where nobody knows.

        Returns:
            The transfer: ``DISPATCHED``. Lines that a count has taken away meanwhile stay, and stand in ``refused``.
        """
        return await self.execute(DispatchTransfer(transfer_id=transfer_id, expected_at=expected_at))

    async def receive(self, transfer_id: str | UUID, receipt_id: str | UUID, goods: Goods | None = None) -> Transfer:
        """Goods arrived at the destination: these, or everything that is still under way.

        Returns:
            The transfer: ``DISPATCHED`` while something is under way, then ``CLOSED``.

        Raises:
            QuantityExceedsProcessError: more than is under way.
        """
        return await self.execute(ReceiveTransfer(transfer_id=transfer_id, receipt_id=receipt_id, lines=goods))

    async def take_back(self, transfer_id: str | UUID, return_id: str | UUID, goods: Goods | None = None) -> Transfer:
        """Goods came back to the source: these, or everything that is still under way; see :meth:`receive`."""
        return await self.execute(ReturnTransfer(transfer_id=transfer_id, return_id=return_id, lines=goods))

    async def write_off(self, transfer_id: str | UUID, loss_id: str | UUID, goods: Goods | None = None) -> Transfer:
        """Goods will arrive nowhere: these, or everything that is still under way; see :meth:`receive`."""
        return await self.execute(WriteOffTransfer(transfer_id=transfer_id, loss_id=loss_id, lines=goods))

    async def cancel(self, transfer_id: str | UUID) -> Transfer:
        """Give everything back at the source.

        Returns:
            The transfer: ``CANCELLED``, or as it was where it holds nothing.

        Raises:
            ProcessStateError: the goods have left: say what became of them, with :meth:`take_back` or :meth:`write_off`.
        """
        return await self.execute(CancelTransfer(transfer_id=transfer_id))

    async def transfer(self, transfer_id: str | UUID) -> Transfer:
        """The transfer as it stands, from its stream; ``NEW`` where nothing was drafted."""
        return (await self._handler.load(process_id("transfer_id", transfer_id))).state

    async def advance(self, transfer_id: str) -> Transfer:
        """Go on where somebody stopped: take the steps that are due."""

        async def work(draft: ProcessDraft[Transfer, TransferEvent]) -> Transfer:
            if draft.state.status is TransferStatus.NEW:
                raise ProcessNotFoundError(process=draft.stream)
            return (await self._steps.take(draft)).state

        transfer = await self._handler.attempt(process_id("transfer_id", transfer_id), work)
        await self._give_back(transfer)
        return transfer

    async def execute(self, command: TransferCommand) -> Transfer:
        """Execute a command that the caller has made, once the steps before it are taken, and take every step that follows."""
        check_command(command, TransferCommand)
        was_overtaken = False

        async def work(draft: ProcessDraft[Transfer, TransferEvent]) -> Transfer:
            nonlocal was_overtaken
            if was_overtaken:
                await self._give_back(draft.state)
            was_overtaken = True
            draft = await self._steps.take(draft)
            self._handler.decide(draft, command)
            return (await self._steps.take(draft)).state

        return await self._handler.attempt(command.transfer_id, work)

    async def _give_back(self, transfer: Transfer) -> None:
        """Where lines are reserved one by one, whoever was overtaken may have reserved for a transfer that had ended."""
        if not self._steps.is_atomic and transfer.status in {TransferStatus.CANCELLED, TransferStatus.REJECTED}:
            await self._steps.give_back(transfer)

    @property
    def name(self) -> str:
        """Of the runner's checkpoint."""
        return "transfer_runner"

    @property
    def watched(self) -> EventFilter:
        """The events of transfers, and the reservations that are made one by one."""
        return _OF_TRANSFERS if self._steps.is_atomic else _OF_TRANSFERS_AND_RESERVATIONS

    def touch(self, recorded: RecordedEvent) -> Touch | None:
        """The transfer of an event, or the one that a reservation was made for: who made it was perhaps too late, and died of it."""
        if recorded.stream.category == TRANSFER_CATEGORY:
            return Touch(recorded.stream.parts[0], is_over=recorded.event_type == TransferClosedEvent.__name__)
        transfer_id = process_of(TRANSFER_CATEGORY, self._codec.decode_metadata(recorded).reference)
        return None if transfer_id is None else Touch(transfer_id, is_over=False)

    async def look(self, transfer_id: str) -> None:
        """Go on where somebody stopped. Time alone moves no transfer."""
        try:
            await self.advance(transfer_id)
        except ProcessNotFoundError:
            return


_EVENT_NAMES = frozenset(kind.__name__ for kind in TRANSFER_EVENT_TYPES)
_OF_TRANSFERS = EventFilter(categories={TRANSFER_CATEGORY}, types=_EVENT_NAMES)
_OF_TRANSFERS_AND_RESERVATIONS = EventFilter(
    categories={TRANSFER_CATEGORY, INVENTORY_CATEGORY}, types=_EVENT_NAMES | {StockReservedEvent.__name__}
)
