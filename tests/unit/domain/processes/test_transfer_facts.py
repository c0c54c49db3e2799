"""What a transfer remembers of its events, and what that means for what is asked of it later."""

import pytest

from inventory_es.domain.processes.lines import LineMovement
from inventory_es.domain.processes.transfer.decisions import decide
from inventory_es.domain.processes.transfer.steps import closed
from inventory_es.domain.processes.transfer.transfer import evolve
from inventory_es.errors import CorruptStreamError, ProcessStateError, QuantityExceedsProcessError
from inventory_es.processes import ReceiveTransfer, TransferItem, TransferReceivedEvent, TransferReturnedEvent
from tests.unit.domain.processes.test_transfers import BOOKED, DRAFTED, REFUSED, RETURN, SHORT, SIX, STORIES, T0, TID, after, told


def receive(*items: TransferItem) -> ReceiveTransfer:
    return ReceiveTransfer(transfer_id=TID, receipt_id="X", lines=items)


def test_when_it_began_and_what_was_short() -> None:
    refused = after(DRAFTED, REFUSED)
    assert (refused.drafted_at, refused.shortages) == (T0, SHORT)


def test_the_same_return_again_changes_nothing() -> None:
    back = after(*STORIES["arrived in part"], TransferReturnedEvent(TID, "B1", (LineMovement(1, 1, 1),)))
    assert decide(back, RETURN, T0) == ()


@pytest.mark.parametrize("story", ["draft", "reserved", "arrived in part", "closed"])
def test_only_what_is_under_way_and_has_arrived_is_closed(story: str) -> None:
    assert closed(told(story)) == ()


def test_the_books_know_the_receipt_that_was_booked_and_no_other() -> None:
    other = TransferReceivedEvent(TID, "R2", (LineMovement(2, 1, 0),))
    transfer = after(*STORIES["under way"], SIX, other, BOOKED)
    assert [(one.movement_id, one.is_booked) for one in transfer.arrivals] == [("R1", True), ("R2", False)]


def test_nothing_arrives_of_goods_that_have_not_left() -> None:
    with pytest.raises(ProcessStateError) as refused:
        decide(told("reserved"), receive(TransferItem("A", 1)), T0)
    assert refused.value.status == told("reserved").status.value


def test_of_several_products_that_are_not_on_the_way_one_is_named() -> None:
    with pytest.raises(QuantityExceedsProcessError) as refused:
        decide(told("under way"), receive(TransferItem("C", 1), TransferItem("D", 1)), T0)
    assert str(refused.value.inventory) == "inventory-C-S1"


def test_an_event_that_can_not_follow_is_told_with_its_version() -> None:
    transfer = told("reserved")
    with pytest.raises(CorruptStreamError) as refused:
        evolve(transfer, DRAFTED, T0)
    assert (refused.value.version, refused.value.stream) == (3, transfer.stream)
