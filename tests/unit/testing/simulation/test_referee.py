"""The referee on hand-made logs and answers: correct ones pass, and each wrong one is reported under its promise."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs
import pytest

from inventory_es.adapters.memory.event_store import MemoryEventLog
from inventory_es.application.commands.decision import CommandOutcome, accepted
from inventory_es.application.results import CommandResult
from inventory_es.domain.command_identity import EventIds, fingerprint
from inventory_es.domain.commands import AddStock, Command, ConfirmReservation, RecordCount, ReserveStock
from inventory_es.domain.errors import CommandIdReusedError, InsufficientStockError, RejectionError
from inventory_es.domain.events import Event, StockAddedEvent, StockReservedEvent
from inventory_es.domain.reasons import AddReason, Purpose
from inventory_es.ports import EventMetadata, NewEvent, StreamWrite
from inventory_es.testing.domain import SHELF, START
from inventory_es.testing.simulation import Answer
from inventory_es.testing.simulation.breach import BreachError
from inventory_es.testing.simulation.clients import Observation
from inventory_es.testing.simulation.referee import StreamReferee, check_misuse, check_orders
from inventory_es.testing.simulation.subject import PlainCodec

CODEC = PlainCodec()
ADD = AddStock(inventory_id=SHELF, command_id="add", quantity=3)
MORE = AddStock(inventory_id=SHELF, command_id="more", quantity=2)
HOLD = ReserveStock(inventory_id=SHELF, reservation_id="R1", quantity=2, ttl=None)
TOO_MANY = ReserveStock(inventory_id=SHELF, reservation_id="R9", quantity=9, ttl=None)
REFUSED = InsufficientStockError(inventory=SHELF.stream, requested=9, available=1, keep_available=0)

ADDED = StockAddedEvent("product", "store", 3, AddReason.RECEIVED, 3, 0)
HELD = StockReservedEvent("product", "store", 2, "R1", Purpose.ORDER, None, None, 3, 2)
ADDED_MORE = StockAddedEvent("product", "store", 2, AddReason.RECEIVED, 5, 2)
WRITTEN: tuple[tuple[Command, Event], ...] = ((ADD, ADDED), (HOLD, HELD), (MORE, ADDED_MORE))


def referee(*written: tuple[Command, Event]) -> StreamReferee:
    log, ids, stream = MemoryEventLog(), EventIds(SHELF.stream), SHELF.stream
    for number, (command, event) in enumerate(written):
        known = log.find(stream, [ids.first_own(command)])
        event_id = ids.own("again", number) if known else ids.first_own(command)
        metadata = CODEC.encode_metadata(EventMetadata(command_id=command.command_id, fingerprint=fingerprint(command)))
        encoded = CODEC.encode(event)
        new = NewEvent(event_id, encoded.event_type, 1, START, encoded.data, metadata)
        log.append([StreamWrite(stream, number, [new])])
    return StreamReferee(SHELF, log, CODEC)


def yes(command: Command, event: Event, version: int) -> Answer:
    outcome = accepted(command, event, at=START, version=version, position=version)
    return answer(command, outcome, since=version - 1, until=version)


def answer(
    command: Command, outcome: CommandOutcome | RejectionError | ValueError, *, since: int, until: int, clock: datetime = START
) -> Answer:
    return Answer(command=command, outcome=outcome, since=since, until=until, clocks=(clock,))


def result(given: Answer) -> CommandResult:
    assert isinstance(given.outcome, CommandResult)
    return given.outcome


ANSWERS = [yes(command, event, number) for number, (command, event) in enumerate(WRITTEN, 1)]
SENT = [command for command, _ in WRITTEN]


def check(*, extra: Sequence[Answer] = (), answers: Sequence[Answer] = ANSWERS, observations: Sequence[Observation] = ()) -> None:
    referee(*WRITTEN).check(SENT, [*answers, *extra], observations)


def observation(version: int, on_hand: int, reserved: int, *, since: int, until: int) -> Observation:
    return Observation(inventory_id=SHELF, version=version, on_hand=on_hand, reserved=reserved, since=since, until=until)


def test_what_is_right_passes() -> None:
    no_op = ConfirmReservation(inventory_id=SHELF, command_id="firm already", reservation_id="R1")
    nothing = CommandResult(
        inventory_id=SHELF, command_id="firm already", changed=False, version=2, position=2, at=START, on_hand=3, reserved=2, replayed=False
    )
    reused = CommandIdReusedError(inventory=SHELF.stream, command_id="add")
    other = attrs.evolve(ADD, quantity=4)
    check(
        extra=[
            answer(TOO_MANY, REFUSED, since=1, until=3),
            answer(no_op, nothing, since=2, until=3),
            answer(other, reused, since=3, until=3),
            answer(ADD, attrs.evolve(result(ANSWERS[0]), replayed=True), since=2, until=3),
        ],
        observations=[observation(0, 0, 0, since=0, until=1), observation(2, 3, 2, since=1, until=2)],
    )


@pytest.mark.parametrize(
    "written, sent, broken",
    [
        (WRITTEN, [HOLD, MORE], "SIM-1.*nobody sent that"),
        ([*WRITTEN, (ADD, StockAddedEvent("product", "store", 3, AddReason.RECEIVED, 8, 2))], SENT, "P21.*accepted twice"),
        ([(ADD, ADDED), (attrs.evolve(HOLD, keep_available=2), HELD)], [ADD, attrs.evolve(HOLD, keep_available=2)], "P29.*to be refused"),
        ([(attrs.evolve(ADD, reason=AddReason.FOUND), ADDED)], [attrs.evolve(ADD, reason=AddReason.FOUND)], "P29.*another state"),
    ],
    ids=["foreign", "twice", "refused", "another"],
)
def test_a_log_that_the_commands_do_not_give(written: Sequence[tuple[Command, Event]], sent: Sequence[Command], broken: str) -> None:
    with pytest.raises(BreachError, match=broken):
        referee(*written).check(sent, [], [])


@pytest.mark.parametrize(
    "answers, broken",
    [
        ([*ANSWERS, ANSWERS[0]], "P21.*newly accepted once"),
        ([*ANSWERS, yes(attrs.evolve(MORE, command_id="lost"), ADDED_MORE, 3)], "SIM-1.*lost"),
        ([answer(MORE, REFUSED, since=0, until=1)], "SIM-1.*told that it is refused"),
        ([attrs.evolve(ANSWERS[2], outcome=attrs.evolve(result(ANSWERS[2]), on_hand=9))], "SIM-1.*another event"),
        ([attrs.evolve(ANSWERS[2], until=2)], "SIM-2.*a version from 3 to 2"),
        ([*ANSWERS, answer(MORE, REFUSED, since=3, until=3)], "P21.*accepted before it was sent"),
        ([answer(TOO_MANY, REFUSED, since=0, until=0)], "SIM-2.*none refuses"),
        ([answer(TOO_MANY, REFUSED, since=3, until=3)], "SIM-2.*none refuses"),
        ([answer(TOO_MANY, REFUSED, since=2, until=2, clock=START - timedelta(seconds=61))], "SIM-2.*none refuses"),
        ([answer(TOO_MANY, ValueError("no"), since=2, until=2)], "SIM-2.*none refuses"),
    ],
    ids=["twice", "lost", "told no", "another", "too late", "not replayed", "too early", "stale", "wrong clock", "another error"],
)
def test_an_answer_that_was_never_true(answers: Sequence[Answer], broken: str) -> None:
    with pytest.raises(BreachError, match=broken):
        check(answers=answers)


def test_a_count_of_a_version_to_come_is_refused() -> None:
    ahead = RecordCount(inventory_id=SHELF, command_id="count", counted=3, observed_version=7)
    with pytest.raises(BreachError, match="none refuses"):
        check(extra=[answer(ahead, ValueError("another reason"), since=3, until=3)])


@pytest.mark.parametrize(
    "seen, broken",
    [(observation(1, 3, 0, since=2, until=3), "true at another time"), (observation(2, 3, 1, since=2, until=3), "never true")],
    ids=["stale", "invented"],
)
def test_an_observation_that_was_never_there(seen: Observation, broken: str) -> None:
    with pytest.raises(BreachError, match=broken):
        check(observations=[seen])


def test_a_torn_order() -> None:
    check_orders([[ADD, HOLD], [TOO_MANY]], {SHELF: referee(*WRITTEN)})
    with pytest.raises(BreachError, match=r"P30.*1 of 2 lines"):
        check_orders([[ADD, TOO_MANY]], {SHELF: referee(*WRITTEN)})


def test_a_misused_id() -> None:
    check_misuse(ADD, REFUSED, 3, 3)
    with pytest.raises(BreachError, match="P22"):
        check_misuse(ADD, REFUSED, 3, 4)
    with pytest.raises(BreachError, match="P22"):
        check_misuse(ADD, ANSWERS[0].outcome, 3, 3)
