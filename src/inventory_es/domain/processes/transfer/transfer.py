"""The state of a transfer: what is moved, how far it is, and what it has to do next."""

from datetime import datetime

import attrs

from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.processes.lines import LineMovement, LineRefusal, LineShortage, TransferLine
from inventory_es.domain.processes.transfer.events import TRANSFER_CATEGORY
from inventory_es.domain.processes.transfer.status import Movement, TransferStatus, TransferStep
from inventory_es.domain.stream_id import StreamId


@attrs.frozen
class Arrival:
    """Units that ended their way together.

    Attributes:
        movement: how.
        movement_id: the host's.
        lines: which.
        is_booked: whether the books of their store say so too; a loss has none.
    """

    movement: Movement
    movement_id: str
    lines: tuple[LineMovement, ...]
    is_booked: bool


@attrs.frozen
class Transfer:
    """Goods on their way from one store to another, as the events tell it. Immutable; the next event gives the next one.

    Attributes:
        transfer_id: the host's.
        status: where it stands.
        version: events folded; 0 before the first.
        source_store_id: where the goods were; empty before the first event.
        destination_store_id: where they are wanted; likewise.
        lines: one for each product, sorted by product id.
        drafted_at: when it was drafted; ``None`` before.
        last_time: when the last event happened.
        leaves: whether the goods are leaving, or have left.
        dispatched_at: when they were off the books of the source; ``None`` before.
        expected_at: when they should arrive; ``None`` where nobody said.
        in_transit: units under way, by line; lines without any are left out.
        arrivals: in their order.
        refused: lines that could not leave.
        withdrawn: how the transfer ends once everything is given back; ``None`` while nothing is to be given back.
        shortages: why it was refused, by line.
    """

    transfer_id: str
    status: TransferStatus = TransferStatus.NEW
    version: int = 0
    source_store_id: str = ""
    destination_store_id: str = ""
    lines: tuple[TransferLine, ...] = ()
    drafted_at: datetime | None = None
    last_time: datetime | None = None
    leaves: bool = False
    dispatched_at: datetime | None = None
    expected_at: datetime | None = None
    in_transit: dict[int, int] = attrs.field(factory=dict)
    arrivals: tuple[Arrival, ...] = ()
    refused: tuple[LineRefusal, ...] = ()
    withdrawn: TransferStatus | None = None
    shortages: tuple[LineShortage, ...] = ()

    @property
    def stream(self) -> StreamId:
        """The transfer's own stream."""
        return StreamId(TRANSFER_CATEGORY, self.transfer_id)

    @property
    def step(self) -> TransferStep | None:
        """What is to be done to the inventories next; ``None`` while the transfer waits for its host, or has ended."""
        if self.withdrawn is not None:
            return TransferStep.RELEASE
        match self.status:
            case TransferStatus.DRAFT:
                return TransferStep.RESERVE
            case TransferStatus.RESERVED if self.leaves:
                return TransferStep.DISPATCH
            case TransferStatus.DISPATCHED if self.open_arrival is not None:
                return TransferStep.BOOK
            case _:
                return None

    @property
    def open_arrival(self) -> Arrival | None:
        """The first receipt or return that the books don't know yet."""
        return next((one for one in self.arrivals if not one.is_booked), None)

    @property
    def units_in_transit(self) -> int:
        """Units under way, of all lines."""
        return sum(self.in_transit.values())

    def arrival(self, movement: Movement, movement_id: str) -> Arrival | None:
        """The receipt, return or loss of this id."""
        return next((one for one in self.arrivals if (one.movement, one.movement_id) == (movement, movement_id)), None)

    def units(self, movement: Movement) -> int:
        """Units of all lines that ended this way."""
        return sum(line.quantity for one in self.arrivals if one.movement is movement for line in one.lines)

    def source(self, line: TransferLine) -> InventoryId:
        """The inventory that a line leaves."""
        return InventoryId(line.product_id, self.source_store_id)

    def destination(self, line: TransferLine) -> InventoryId:
        """The inventory that a line is for."""
        return InventoryId(line.product_id, self.destination_store_id)
