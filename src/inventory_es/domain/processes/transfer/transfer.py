"""A transfer: its state, the transitions between its statuses, and the fold of its events."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, assert_never

import attrs

from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.processes.decider import next_status
from inventory_es.domain.processes.lines import LineMovement, LineRefusal, LineShortage, TransferLine
from inventory_es.domain.processes.transfer import events
from inventory_es.domain.processes.transfer.events import TRANSFER_CATEGORY, Movement, TransferEvent, TransferStatus
from inventory_es.domain.processes.transfer.events import TransferStatus as S
from inventory_es.domain.stream_id import StreamId


class TransferStep(StrEnum):
    """Steps of a transfer: what it does to the inventories before it can go on."""

    RESERVE = "RESERVE"
    DISPATCH = "DISPATCH"
    BOOK = "BOOK"
    RELEASE = "RELEASE"


@attrs.frozen
class Arrival:
    """Units that were received, returned or lost together.

    Attributes:
        movement: how they ended.
        movement_id: an id of the host.
        lines: the units.
        is_booked: True if they are on the books of their store, or lost.
    """

    movement: Movement
    movement_id: str
    lines: tuple[LineMovement, ...]
    is_booked: bool


@attrs.frozen
class Transfer:
    """The state of a transfer between two stores, folded from its events. Immutable.

    Attributes:
        transfer_id: an id of the host.
        status: its state.
        version: events folded; 0 before the first.
        source_store_id: the store that the goods leave; empty before the first event.
        destination_store_id: the store that they are for; empty before the first event.
        lines: one per product, sorted by product id.
        drafted_at: time of its first event; ``None`` before.
        last_time: time of its last event.
        leaves: True if the goods are leaving, or have left.
        dispatched_at: time when they were off the books of the source; ``None`` before.
        expected_at: time when they should arrive; ``None`` where nobody knows.
        in_transit: units in transit, by line; lines without any are left out.
        arrivals: in their order.
        refused: lines that could not leave.
        withdrawn: the status in which the transfer ends once everything is released; ``None`` while nothing has to be released.
        shortages: reasons of the refusal, by line.
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
        """The step that is due; ``None`` while the transfer waits for its host, or has ended."""
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
        """The first receipt or return that is not booked."""
        return next((one for one in self.arrivals if not one.is_booked), None)

    @property
    def units_in_transit(self) -> int:
        """Units in transit, of all lines."""
        return sum(self.in_transit.values())

    def arrival(self, movement: Movement, movement_id: str) -> Arrival | None:
        """Return the receipt, return or loss of this id."""
        return next((one for one in self.arrivals if (one.movement, one.movement_id) == (movement, movement_id)), None)

    def units(self, movement: Movement) -> int:
        """Return the units of all lines that ended this way."""
        return sum(line.quantity for one in self.arrivals if one.movement is movement for line in one.lines)

    def source(self, line: TransferLine) -> InventoryId:
        """Return the inventory that a line leaves."""
        return InventoryId(line.product_id, self.source_store_id)

    def destination(self, line: TransferLine) -> InventoryId:
        """Return the inventory that a line is for."""
        return InventoryId(line.product_id, self.destination_store_id)


TRANSITIONS: Mapping[tuple[S, type[Any]], tuple[S, ...]] = MappingProxyType(
    {
        (S.NEW, events.TransferDraftedEvent): (S.DRAFT,),
        (S.DRAFT, events.TransferReservedEvent): (S.RESERVED,),
        (S.DRAFT, events.TransferWithdrawnEvent): (S.DRAFT,),
        (S.DRAFT, events.TransferReleasedEvent): (S.REJECTED, S.CANCELLED),
        (S.RESERVED, events.TransferDispatchedEvent): (S.RESERVED,),
        (S.RESERVED, events.TransferDispatchCommittedEvent): (S.DISPATCHED,),
        (S.RESERVED, events.TransferWithdrawnEvent): (S.RESERVED,),
        (S.RESERVED, events.TransferReleasedEvent): (S.CANCELLED,),
        (S.DISPATCHED, events.TransferReceivedEvent): (S.DISPATCHED,),
        (S.DISPATCHED, events.TransferReturnedEvent): (S.DISPATCHED,),
        (S.DISPATCHED, events.TransferLostEvent): (S.DISPATCHED,),
        (S.DISPATCHED, events.TransferBookedEvent): (S.DISPATCHED,),
        (S.DISPATCHED, events.TransferClosedEvent): (S.CLOSED,),
    }
)
"""The statuses that an event may lead to, by status and event. Where there are several, the event names one."""


def evolve(transfer: Transfer, event: TransferEvent, at: datetime) -> Transfer:
    """Return the transfer after ``event``, which happened at ``at``.

    Raises:
        CorruptStreamError: ``event`` can't follow, or its figures don't.
    """
    ends_as = event.ends_as if isinstance(event, events.TransferReleasedEvent) else None
    status = next_status(TRANSITIONS.get((transfer.status, type(event)), ()), transfer, event, ends_as=ends_as)
    moved = attrs.evolve(transfer, status=status, version=transfer.version + 1, last_time=at)
    match event:
        case events.TransferDraftedEvent():
            moved = attrs.evolve(moved, source_store_id=event.source_store_id, destination_store_id=event.destination_store_id)
            return attrs.evolve(moved, lines=event.lines, drafted_at=at)
        case events.TransferReservedEvent() | events.TransferClosedEvent():
            return moved
        case events.TransferDispatchedEvent():
            return attrs.evolve(moved, leaves=True, expected_at=event.expected_at)
        case events.TransferDispatchCommittedEvent():
            units = {one.line: one.quantity for one in event.lines}
            return attrs.evolve(moved, dispatched_at=at, in_transit=units, refused=event.refused)
        case events.TransferReceivedEvent():
            return _arrived(moved, Movement.RECEIPT, event.receipt_id, event.lines)
        case events.TransferReturnedEvent():
            return _arrived(moved, Movement.RETURN, event.return_id, event.lines)
        case events.TransferLostEvent():
            return _arrived(moved, Movement.LOSS, event.loss_id, event.lines)
        case events.TransferBookedEvent():
            booked = (event.movement, event.movement_id)
            arrivals = (
                attrs.evolve(one, is_booked=one.is_booked or (one.movement, one.movement_id) == booked) for one in transfer.arrivals
            )
            return attrs.evolve(moved, arrivals=tuple(arrivals))
        case events.TransferWithdrawnEvent():
            return attrs.evolve(moved, withdrawn=event.ends_as, shortages=event.shortages)
        case events.TransferReleasedEvent():
            return attrs.evolve(moved, withdrawn=None)
        case _:
            assert_never(event)


def _arrived(moved: Transfer, movement: Movement, movement_id: str, lines: tuple[LineMovement, ...]) -> Transfer:
    left = dict(moved.in_transit)
    for one in lines:
        in_transit = left.pop(one.line, 0)
        if in_transit - one.quantity != one.in_transit:
            problem = f"line {one.line} had {in_transit} units in transit, which {one.quantity} less do not make {one.in_transit}"
            raise CorruptStreamError(stream=moved.stream, version=moved.version, problem=problem)
        if one.in_transit:
            left[one.line] = one.in_transit
    arrival = Arrival(movement, movement_id, lines, is_booked=movement is Movement.LOSS)
    return attrs.evolve(moved, in_transit=left, arrivals=(*moved.arrivals, arrival))
