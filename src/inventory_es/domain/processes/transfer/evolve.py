"""How each event moves a transfer."""

from datetime import datetime
from typing import assert_never

import attrs

from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.processes.lines import LineMovement
from inventory_es.domain.processes.transfer.events import (
    TransferBookedEvent,
    TransferClosedEvent,
    TransferDispatchCommittedEvent,
    TransferDispatchedEvent,
    TransferDraftedEvent,
    TransferEvent,
    TransferLostEvent,
    TransferReceivedEvent,
    TransferReleasedEvent,
    TransferReservedEvent,
    TransferReturnedEvent,
    TransferWithdrawnEvent,
)
from inventory_es.domain.processes.transfer.status import Movement, TransferStatus
from inventory_es.domain.processes.transfer.transfer import Arrival, Transfer
from inventory_es.domain.processes.transfer.transitions import TRANSITIONS


def evolve(transfer: Transfer, event: TransferEvent, at: datetime) -> Transfer:
    """The transfer after ``event``, which happened at ``at``.

    Raises:
        CorruptStreamError: it can't follow, or its figures don't.
    """
    moved = attrs.evolve(transfer, status=_next_status(transfer, event), version=transfer.version + 1, last_time=at)
    match event:
        case TransferDraftedEvent():
            return attrs.evolve(
                moved,
                source_store_id=event.source_store_id,
                destination_store_id=event.destination_store_id,
                lines=event.lines,
                drafted_at=at,
            )
        case TransferReservedEvent() | TransferClosedEvent():
            return moved
        case TransferDispatchedEvent():
            return attrs.evolve(moved, leaves=True, expected_at=event.expected_at)
        case TransferDispatchCommittedEvent():
            units = {one.line: one.quantity for one in event.lines}
            return attrs.evolve(moved, dispatched_at=at, in_transit=units, refused=event.refused)
        case TransferReceivedEvent():
            return _arrived(moved, Movement.RECEIPT, event.receipt_id, event.lines)
        case TransferReturnedEvent():
            return _arrived(moved, Movement.RETURN, event.return_id, event.lines)
        case TransferLostEvent():
            return _arrived(moved, Movement.LOSS, event.loss_id, event.lines)
        case TransferBookedEvent():
            return attrs.evolve(moved, arrivals=tuple(_booked(one, event) for one in transfer.arrivals))
        case TransferWithdrawnEvent():
            return attrs.evolve(moved, withdrawn=event.ends_as, shortages=event.shortages)
        case TransferReleasedEvent():
            return attrs.evolve(moved, withdrawn=None)
        case _:
            assert_never(event)


def _arrived(moved: Transfer, movement: Movement, movement_id: str, lines: tuple[LineMovement, ...]) -> Transfer:
    left = dict(moved.in_transit)
    for one in lines:
        under_way = left.pop(one.line, 0)
        if under_way - one.quantity != one.in_transit:
            problem = f"line {one.line} had {under_way} units in transit, which {one.quantity} less do not make {one.in_transit}"
            raise CorruptStreamError(stream=moved.stream, version=moved.version, problem=problem)
        if one.in_transit:
            left[one.line] = one.in_transit
    arrival = Arrival(movement, movement_id, lines, is_booked=movement is Movement.LOSS)
    return attrs.evolve(moved, in_transit=left, arrivals=(*moved.arrivals, arrival))


def _booked(arrival: Arrival, event: TransferBookedEvent) -> Arrival:
    is_meant = (arrival.movement, arrival.movement_id) == (event.movement, event.movement_id)
    return attrs.evolve(arrival, is_booked=True) if is_meant else arrival


def _next_status(transfer: Transfer, event: TransferEvent) -> TransferStatus:
    leads_to = TRANSITIONS.get((transfer.status, type(event)), ())
    ends_as = event.ends_as if isinstance(event, TransferReleasedEvent) else None
    for status in leads_to:
        if ends_as is None or status is ends_as:
            return status
    problem = f"{type(event).__name__} can't follow while the transfer is {transfer.status}"
    raise CorruptStreamError(stream=transfer.stream, version=transfer.version + 1, problem=problem)
