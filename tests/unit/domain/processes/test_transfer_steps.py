"""The steps of a transfer: commands at once and the events that end them. Pure, without a store."""

from typing import Any

import pytest

from inventory_es.domain.processes.lines import LineMovement, LineRefusal
from inventory_es.domain.processes.transfer import steps
from inventory_es.domain.processes.transfer.events import Movement
from inventory_es.processes import (
    TransferBookedEvent,
    TransferDispatchCommittedEvent,
    TransferReceivedEvent,
    TransferReleasedEvent,
    TransferReservedEvent,
    TransferStatus,
    TransferWithdrawnEvent,
)
from tests.unit.domain.processes.test_transfers import BOOKED, DUE, GONE, LINES, SHORT, SIX, STORIES, T0, TID, after, told

A, B = LINES


def test_a_step_at_once_is_a_command_per_line_and_the_event_that_ends_it() -> None:
    draft, leaving, arriving = told("draft"), told("leaving"), told("arriving")
    assert steps.plan(draft, T0) == ([steps.reserve(draft, A), steps.reserve(draft, B)], TransferReservedEvent(TID))
    assert steps.plan(leaving, T0) == ([steps.dispatch(leaving, A), steps.dispatch(leaving, B)], GONE)
    arrival = arriving.open_arrival
    assert arrival is not None
    assert steps.plan(arriving, T0) == (list(steps.bookings(arriving, arrival)), TransferBookedEvent(TID, Movement.RECEIPT, "R1"))


@pytest.mark.parametrize("story, ends_as", [("refused", TransferStatus.REJECTED), ("cancelling", TransferStatus.CANCELLED)])
def test_released_at_once_it_ends_as_it_was_withdrawn(story: str, ends_as: TransferStatus) -> None:
    transfer = told(story)
    assert steps.plan(transfer, T0) == (list(steps.releases(transfer)), TransferReleasedEvent(TID, ends_as))


@pytest.mark.parametrize("story", ["new", "rejected", "reserved", "under way", "arrived in part", "closed", "cancelled"])
def test_no_step_is_planned_where_none_is_due(story: str) -> None:
    assert steps.plan(told(story), T0) is None


def test_a_transfer_that_can_not_be_reserved_is_withdrawn() -> None:
    assert steps.refused(told("draft"), SHORT) == TransferWithdrawnEvent(TID, TransferStatus.REJECTED, SHORT)


@pytest.mark.parametrize("stays, leaves", [((), LINES), ((LineRefusal(1, "x"),), (B,)), ((LineRefusal(2, "x"),), (A,))])
def test_lines_that_were_refused_do_not_leave(stays: tuple[LineRefusal, ...], leaves: Any) -> None:
    assert steps.dispatched(told("leaving"), stays) == TransferDispatchCommittedEvent(TID, "S1", "S2", DUE, leaves, stays)


def test_a_booked_arrival_stays_booked_when_the_next_one_is() -> None:
    second = TransferReceivedEvent(TID, "R2", (LineMovement(2, 1, 0),))
    transfer = after(*STORIES["under way"], SIX, BOOKED, second, TransferBookedEvent(TID, Movement.RECEIPT, "R2"))
    assert [one.is_booked for one in transfer.arrivals] == [True, True]
