"""The pure part of a transfer: what each command does in each state, and which steps follow."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from inventory_es.commands import AddReason, AddStock, CommitReason, CommitStock, Purpose, ReleaseReason, ReleaseStock, ReserveStock
from inventory_es.domain.processes.lines import MOST_LINES, LineMovement, LineRefusal, LineShortage, TransferLine
from inventory_es.domain.processes.transfer import steps
from inventory_es.domain.processes.transfer.decisions import decide
from inventory_es.domain.processes.transfer.events import Movement
from inventory_es.domain.processes.transfer.steps import closed
from inventory_es.domain.processes.transfer.transfer import TRANSITIONS, Arrival, TransferStep, evolve
from inventory_es.errors import (
    CorruptStreamError,
    InvalidIdentifierError,
    InvalidQuantityError,
    ProcessIdReusedError,
    ProcessNotFoundError,
    ProcessStateError,
    QuantityExceedsProcessError,
)
from inventory_es.processes import (
    CancelTransfer,
    DispatchTransfer,
    DraftTransfer,
    ReceiveTransfer,
    ReturnTransfer,
    Transfer,
    TransferBookedEvent,
    TransferClosedEvent,
    TransferCommand,
    TransferDispatchCommittedEvent,
    TransferDispatchedEvent,
    TransferDraftedEvent,
    TransferEvent,
    TransferItem,
    TransferLostEvent,
    TransferReceivedEvent,
    TransferReleasedEvent,
    TransferReservedEvent,
    TransferReturnedEvent,
    TransferStatus,
    TransferWithdrawnEvent,
    WriteOffTransfer,
)

TID = "T1"
T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
DUE = T0 + timedelta(days=1)
S = TransferStatus
TOO_MANY = tuple(TransferItem(str(number), 1) for number in range(MOST_LINES + 1))
ITEMS = (TransferItem("B", 1), TransferItem("A", 8))
LINES = (TransferLine("A", 8, 1), TransferLine("B", 1, 2))
SHORT = (LineShortage(1, "A", "S1", 8, 3, "insufficient_stock"),)

DRAFTED = TransferDraftedEvent(TID, "S1", "S2", LINES)
RESERVED = TransferReservedEvent(TID)
LEAVES = TransferDispatchedEvent(TID, DUE)
GONE = TransferDispatchCommittedEvent(TID, "S1", "S2", DUE, LINES, ())
SIX = TransferReceivedEvent(TID, "R1", (LineMovement(1, 6, 2),))
BOOKED = TransferBookedEvent(TID, Movement.RECEIPT, "R1")
REFUSED = TransferWithdrawnEvent(TID, S.REJECTED, SHORT)
CLOSED = TransferClosedEvent(TID)

DRAFT = DraftTransfer(transfer_id=TID, source_store_id="S1", destination_store_id="S2", lines=ITEMS)
DISPATCH = DispatchTransfer(transfer_id=TID, expected_at=DUE)
RECEIVE = ReceiveTransfer(transfer_id=TID, receipt_id="R2")
RETURN = ReturnTransfer(transfer_id=TID, return_id="B1")
LOSE = WriteOffTransfer(transfer_id=TID, loss_id="L1")
CANCEL = CancelTransfer(transfer_id=TID)

STORIES: dict[str, tuple[TransferEvent, ...]] = {
    "new": (),
    "draft": (DRAFTED,),
    "refused": (DRAFTED, REFUSED),
    "rejected": (DRAFTED, REFUSED, TransferReleasedEvent(TID, S.REJECTED)),
    "reserved": (DRAFTED, RESERVED),
    "leaving": (DRAFTED, RESERVED, LEAVES),
    "under way": (DRAFTED, RESERVED, LEAVES, GONE),
    "arriving": (DRAFTED, RESERVED, LEAVES, GONE, SIX),
    "arrived in part": (DRAFTED, RESERVED, LEAVES, GONE, SIX, BOOKED),
    "closed": (
        *(DRAFTED, RESERVED, LEAVES, GONE, SIX, BOOKED),
        *(TransferLostEvent(TID, "L1", (LineMovement(1, 2, 0), LineMovement(2, 1, 0))), CLOSED),
    ),
    "cancelling": (DRAFTED, RESERVED, TransferWithdrawnEvent(TID, S.CANCELLED, ())),
    "cancelled": (DRAFTED, RESERVED, TransferWithdrawnEvent(TID, S.CANCELLED, ()), TransferReleasedEvent(TID, S.CANCELLED)),
}


def after(*events: TransferEvent) -> Transfer:
    transfer = Transfer(TID)
    for event in events:
        transfer = evolve(transfer, event, T0)
    return transfer


def told(name: str) -> Transfer:
    return after(*STORIES[name])


def outcome(transfer: Transfer, command: TransferCommand) -> Any:
    try:
        return decide(transfer, command, T0)
    except ProcessStateError as refusal:
        return type(refusal)


NO: Any = ProcessStateError
ALL = (LineMovement(1, 8, 0), LineMovement(2, 1, 0))
REST = (LineMovement(1, 2, 0), LineMovement(2, 1, 0))
TAKEN_BACK = (TransferWithdrawnEvent(TID, S.CANCELLED, ()),)


def arrives(lines: tuple[LineMovement, ...]) -> Any:
    return (TransferReceivedEvent(TID, "R2", lines),), (TransferReturnedEvent(TID, "B1", lines),)


@pytest.mark.parametrize(
    "story, dispatch, receive, back, lose, cancel",
    [
        ("draft", NO, NO, NO, NO, TAKEN_BACK),
        ("refused", NO, NO, NO, NO, ()),
        ("rejected", NO, NO, NO, NO, ()),
        ("reserved", (LEAVES,), NO, NO, NO, TAKEN_BACK),
        ("leaving", (), NO, NO, NO, NO),
        ("under way", (), *arrives(ALL), (TransferLostEvent(TID, "L1", ALL), CLOSED), NO),
        ("arriving", (), *arrives(REST), (TransferLostEvent(TID, "L1", REST),), NO),
        ("arrived in part", (), *arrives(REST), (TransferLostEvent(TID, "L1", REST), CLOSED), NO),
        ("closed", (), NO, NO, (), NO),
        ("cancelling", NO, NO, NO, NO, ()),
        ("cancelled", NO, NO, NO, NO, ()),
    ],
)
def test_every_command_in_every_state(story: str, dispatch: Any, receive: Any, back: Any, lose: Any, cancel: Any) -> None:
    transfer = told(story)
    found = [outcome(transfer, one) for one in (DISPATCH, RECEIVE, RETURN, LOSE, CANCEL)]
    assert found == [dispatch, receive, back, lose, cancel]
    assert decide(transfer, DRAFT, T0) == ()


@pytest.mark.parametrize("command", [DISPATCH, RECEIVE, RETURN, LOSE, CANCEL])
def test_nothing_can_be_asked_of_a_transfer_that_was_never_drafted(command: TransferCommand) -> None:
    with pytest.raises(ProcessNotFoundError, match="transfer-T1 was never begun"):
        decide(told("new"), command, T0)


@pytest.mark.parametrize("story", STORIES)
def test_every_event_leads_where_the_table_says_and_nothing_else_may_follow(story: str) -> None:
    transfer = told(story)
    candidates: list[TransferEvent] = [
        *(DRAFTED, RESERVED, LEAVES, GONE, BOOKED, CLOSED, REFUSED),
        *(TransferReceivedEvent(TID, "R9", ()), TransferReturnedEvent(TID, "B9", ()), TransferLostEvent(TID, "L9", ())),
        *(TransferReleasedEvent(TID, one) for one in S),
    ]
    assert {type(one) for one in candidates} == set(get_args(TransferEvent))
    for event in candidates:
        leads_to = TRANSITIONS.get((transfer.status, type(event)), ())
        ends_as = event.ends_as if isinstance(event, TransferReleasedEvent) else None
        if ends_as in leads_to if ends_as is not None else leads_to:
            moved = evolve(transfer, event, T0)
            assert moved.status is (ends_as or leads_to[0])
            assert (moved.version, moved.last_time) == (transfer.version + 1, T0)
        else:
            with pytest.raises(CorruptStreamError, match=f"{type(event).__name__} can't follow while the transfer is {transfer.status}"):
                evolve(transfer, event, T0)


def test_every_state_of_the_table_has_a_story() -> None:
    assert {status for status, _ in TRANSITIONS} == {told(name).status for name in STORIES} - {S.CLOSED, S.CANCELLED, S.REJECTED}


@pytest.mark.parametrize(
    "story, step",
    [
        ("new", None),
        ("draft", TransferStep.RESERVE),
        ("refused", TransferStep.RELEASE),
        ("rejected", None),
        ("reserved", None),
        ("leaving", TransferStep.DISPATCH),
        ("under way", None),
        ("arriving", TransferStep.BOOK),
        ("arrived in part", None),
        ("closed", None),
        ("cancelling", TransferStep.RELEASE),
        ("cancelled", None),
    ],
)
def test_what_is_to_be_done_next(story: str, step: TransferStep | None) -> None:
    assert told(story).step is step


def test_every_unit_is_accounted_for() -> None:
    part = told("arrived in part")
    assert (part.in_transit, part.units_in_transit, part.expected_at, part.dispatched_at) == ({1: 2, 2: 1}, 3, DUE, T0)
    over = told("closed")
    assert [over.units(one) for one in Movement] == [6, 0, 3]
    assert over.units_in_transit == 0


@pytest.mark.parametrize("lines", [(LineMovement(1, 6, 3),), (LineMovement(1, 9, 0),), (LineMovement(3, 1, 0),)])
def test_figures_that_do_not_follow_are_a_corrupt_stream(lines: tuple[LineMovement, ...]) -> None:
    with pytest.raises(CorruptStreamError, match="units in transit"):
        after(*STORIES["under way"], TransferReceivedEvent(TID, "R1", lines))


@pytest.mark.parametrize(
    "other",
    [
        DraftTransfer(transfer_id=TID, source_store_id="S1", destination_store_id="S2", lines=ITEMS[:1]),
        DraftTransfer(transfer_id=TID, source_store_id="S3", destination_store_id="S2", lines=ITEMS),
        DraftTransfer(transfer_id=TID, source_store_id="S1", destination_store_id="S3", lines=ITEMS),
    ],
)
def test_a_transfer_id_is_used_once(other: DraftTransfer) -> None:
    with pytest.raises(ProcessIdReusedError, match="'T1' was used before"):
        decide(told("reserved"), other, T0)


def test_goods_leave_once() -> None:
    with pytest.raises(ProcessIdReusedError, match="'dispatch' was used before"):
        decide(told("under way"), DispatchTransfer(transfer_id=TID), T0)


def test_the_order_of_the_items_is_of_no_account_and_those_of_one_product_are_one_line() -> None:
    items = (TransferItem("A", 3), TransferItem("B", 1), TransferItem("A", 5))
    for mixed in itertools.permutations(items):
        assert DraftTransfer(transfer_id=TID, source_store_id="S1", destination_store_id="S2", lines=mixed) == DRAFT
    assert decide(Transfer(TID), DRAFT, T0) == (DRAFTED,)


def test_the_same_receipt_again_changes_nothing_and_another_under_its_id_is_refused() -> None:
    again = ReceiveTransfer(transfer_id=TID, receipt_id="R1", lines=(TransferItem("A", 6),))
    for story in ("arriving", "arrived in part", "closed"):
        assert decide(told(story), again, T0) == ()
        assert decide(told(story), ReceiveTransfer(transfer_id=TID, receipt_id="R1"), T0) == ()
        for lines in ((TransferItem("A", 5),), (TransferItem("B", 6),), (TransferItem("A", 6), TransferItem("B", 1))):
            with pytest.raises(ProcessIdReusedError, match="'R1' was used before"):
                decide(told(story), ReceiveTransfer(transfer_id=TID, receipt_id="R1", lines=lines), T0)


def test_a_return_may_have_the_id_of_a_receipt() -> None:
    back = ReturnTransfer(transfer_id=TID, return_id="R1", lines=(TransferItem("A", 1),))
    assert decide(told("arrived in part"), back, T0) == (TransferReturnedEvent(TID, "R1", (LineMovement(1, 1, 1),)),)


@pytest.mark.parametrize(
    "item, remaining", [(TransferItem("A", 3), 2), (TransferItem("B", 2), 1), (TransferItem("C", 1), 0)], ids=["more", "other", "none"]
)
@pytest.mark.parametrize("kind", ["receive", "return", "lose"])
def test_no_more_arrives_than_is_under_way(kind: str, item: TransferItem, remaining: int) -> None:
    commands: dict[str, TransferCommand] = {
        "receive": ReceiveTransfer(transfer_id=TID, receipt_id="X", lines=(item,)),
        "return": ReturnTransfer(transfer_id=TID, return_id="X", lines=(item,)),
        "lose": WriteOffTransfer(transfer_id=TID, loss_id="X", lines=(item,)),
    }
    with pytest.raises(QuantityExceedsProcessError) as refusal:
        decide(told("arrived in part"), commands[kind], T0)
    assert (refusal.value.requested, refusal.value.remaining) == (item.quantity, remaining)
    assert str(refusal.value.inventory) == f"inventory-{item.product_id}-S1"


def test_nothing_more_can_arrive_behind_a_receipt_of_everything() -> None:
    whole = after(*STORIES["under way"], TransferReceivedEvent(TID, "R1", ALL))
    assert whole.step is TransferStep.BOOK
    assert closed(whole) == ()
    with pytest.raises(ProcessStateError, match="DISPATCHED, which leaves no room for ReceiveTransfer"):
        decide(whole, RECEIVE, T0)
    assert closed(evolve(whole, BOOKED, T0)) == (CLOSED,)


def test_what_is_leaving_can_not_be_cancelled() -> None:
    with pytest.raises(ProcessStateError, match="leaving, which leaves no room for CancelTransfer"):
        decide(told("leaving"), CANCEL, T0)


def test_a_transfer_of_which_nothing_could_leave_is_over() -> None:
    nothing = TransferDispatchCommittedEvent(TID, "S1", "S2", None, (), (LineRefusal(1, "x"), LineRefusal(2, "x")))
    transfer = after(*STORIES["leaving"], nothing)
    assert transfer.refused == nothing.refused
    assert closed(transfer) == (CLOSED,)


def test_commands_of_each_step() -> None:
    a, b = LINES
    transfer = told("draft")
    source, destination = transfer.source(a), transfer.destination(a)
    assert (str(source.stream), str(destination.stream)) == ("inventory-A-S1", "inventory-A-S2")
    reference = "transfer-T1"
    assert steps.reserve(transfer, a) == ReserveStock(
        inventory_id=source, reservation_id="T1:1", quantity=8, ttl=None, purpose=Purpose.TRANSFER, reference=reference
    )
    assert steps.dispatch(transfer, a) == CommitStock(
        inventory_id=source,
        command_id="T1:1:dispatch",
        reservation_id="T1:1",
        quantity=8,
        reason=CommitReason.TRANSFER_OUT,
        reference=reference,
    )
    arrival = told("arriving").open_arrival
    assert arrival == Arrival(Movement.RECEIPT, "R1", SIX.lines, is_booked=False)
    assert list(steps.bookings(transfer, arrival)) == [
        AddStock(inventory_id=destination, command_id="T1:1:receive:R1", quantity=6, reason=AddReason.TRANSFER_IN, reference=reference)
    ]
    back = Arrival(Movement.RETURN, "a:b", (LineMovement(2, 1, 0),), is_booked=False)
    assert list(steps.bookings(transfer, back)) == [
        AddStock(
            inventory_id=transfer.source(b),
            command_id="T1:2:return:a%3ab",
            quantity=1,
            reason=AddReason.TRANSFER_RETURN,
            reference=reference,
        )
    ]


@pytest.mark.parametrize(
    "story, why, reason",
    [
        ("refused", "compensate", ReleaseReason.COMPENSATION),
        ("rejected", "compensate", ReleaseReason.COMPENSATION),
        ("cancelling", "cancel", ReleaseReason.CANCELLED),
        ("cancelled", "cancel", ReleaseReason.CANCELLED),
    ],
)
def test_everything_is_given_back_newest_first_under_the_same_ids_as_before(story: str, why: str, reason: ReleaseReason) -> None:
    transfer = told(story)
    assert list(steps.releases(transfer)) == [
        ReleaseStock(
            inventory_id=transfer.source(line),
            command_id=f"T1:{line.line}:{why}",
            reservation_id=f"T1:{line.line}",
            reason=reason,
            reference="transfer-T1",
        )
        for line in reversed(LINES)
    ]


@pytest.mark.parametrize(
    "wrong, error",
    [
        pytest.param(lambda: _draft(transfer_id="x" * 65), InvalidIdentifierError, id="long transfer"),
        pytest.param(lambda: _draft(transfer_id=""), InvalidIdentifierError, id="empty transfer"),
        pytest.param(lambda: _draft(source_store_id="\n"), InvalidIdentifierError, id="control character"),
        pytest.param(lambda: _draft(destination_store_id="S1"), InvalidIdentifierError, id="nowhere to go"),
        pytest.param(lambda: _draft(lines=()), InvalidQuantityError, id="no lines"),
        pytest.param(lambda: _draft(lines=TOO_MANY), InvalidQuantityError, id="too many lines"),
        pytest.param(lambda: ReceiveTransfer(transfer_id=TID, receipt_id="x" * 41), InvalidIdentifierError, id="long receipt"),
        pytest.param(lambda: ReceiveTransfer(transfer_id=TID, receipt_id="X", lines=()), InvalidQuantityError, id="nothing received"),
        pytest.param(lambda: DispatchTransfer(transfer_id=TID, expected_at=T0.replace(tzinfo=None)), ValueError, id="naive command"),
        pytest.param(lambda: TransferDispatchedEvent(TID, T0.replace(tzinfo=None)), ValueError, id="naive event"),
        pytest.param(lambda: TransferItem("A", 0), InvalidQuantityError, id="no units"),
        pytest.param(lambda: TransferItem("", 1), InvalidIdentifierError, id="no product"),
        pytest.param(lambda: TransferLine("A", 1, 0), InvalidQuantityError, id="no line"),
        pytest.param(lambda: LineMovement(1, 1, -1), InvalidQuantityError, id="fewer than none under way"),
    ],
)
def test_nonsense_is_refused_by_name(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        wrong()


def test_every_command_has_a_name_of_its_own_within_its_transfer() -> None:
    same = (ReturnTransfer(transfer_id=TID, return_id="R2"), WriteOffTransfer(transfer_id=TID, loss_id="R2"))
    names = [command.command_id for command in (DRAFT, DISPATCH, RECEIVE, *same, CANCEL)]
    assert names == ["draft", "dispatch", "receive:R2", "return:R2", "lose:R2", "cancel"]


def _draft(**fields: Any) -> DraftTransfer:
    given: dict[str, Any] = {"transfer_id": TID, "source_store_id": "S1", "destination_store_id": "S2", "lines": ITEMS}
    return DraftTransfer(**given | fields)


@pytest.mark.parametrize("kind", [TransferStatus, TransferStep, Movement])
def test_what_is_stored_of_a_state_is_its_name(kind: type[Any]) -> None:
    assert [member.value for member in kind] == [member.name for member in kind]
