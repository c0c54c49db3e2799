"""The properties that need the commands: each plays a program, often twice, and compares."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from types import MappingProxyType
from typing import Any

import attrs

from inventory_es.domain.commands import Command, ExpireReservations, RecordCount, ReserveStock
from inventory_es.domain.errors import InventoryError, RejectionError
from inventory_es.domain.events import Event, StockReleasedEvent
from inventory_es.domain.inventory import Inventory, Policy
from inventory_es.domain.reasons import ReleaseReason
from inventory_es.testing.domain.agreement import SENTENCE, disagreements
from inventory_es.testing.domain.formatting import describe
from inventory_es.testing.domain.history import PropertyError
from inventory_es.testing.domain.probe import PROBE, behaviour
from inventory_es.testing.domain.program import Call, Program, Record, other_payload, play
from inventory_es.testing.domain.purity import ask_twice
from inventory_es.testing.domain.reference_handler import Answer

__tracebackhide__ = True
"""For pytest: a failure shows the line of the test that asked, not ours."""

LATER = timedelta(days=40)
_SHIFTS = (timedelta(days=-400), timedelta(microseconds=1), timedelta(days=10_000))


@attrs.frozen
class ProgramProperty:
    """A property that holds for every program.

    Attributes:
        id: the id in the list of properties (``P23``).
        sentence: the property in one sentence.
        problems: yields what is wrong with the record of a program, played under the host's policies; nothing if the property holds.
    """

    id: str
    sentence: str
    problems: Callable[[Record, Sequence[Policy]], Iterator[str]] = attrs.field(repr=False)


def check_program(program: Program, *, policies: Sequence[Policy] = (), only: Iterable[str] | None = None) -> Record:
    """Play a program, and check the properties that need its commands.

    Args:
        program: the program.
        policies: the host's rules, which must be pure.
        only: ids of the properties to check; all by default.

    Returns:
        The record.

    Raises:
        PropertyError: a property does not hold.
    """
    policies = ask_twice(policies)
    try:
        record = play(program, policies=policies)
    except PropertyError:
        raise
    except Exception as error:
        problem = next(disagreements(program, policies), None)
        if problem is None:
            raise
        raise _broken(PROGRAM_PROPERTIES["P34"], problem, program) from error
    for one in PROGRAM_PROPERTIES.values() if only is None else [PROGRAM_PROPERTIES[property_id] for property_id in only]:
        problem = next(one.problems(record, policies), None)
        if problem is not None:
            raise _broken(one, problem, program)
    return record


def _broken(one: ProgramProperty, problem: str, program: Program) -> PropertyError:
    return PropertyError(f"{one.id}  {one.sentence}\n  problem   {problem}\n  program\n{program}", frozenset({one.id}))


def _agrees_with_the_model(record: Record, policies: Sequence[Policy]) -> Iterator[str]:
    return disagreements(record.program, policies)


def _refused_changes_nothing(record: Record, _policies: Sequence[Policy]) -> Iterator[str]:
    for answer in record.answers:
        if (answer.error is not None or not answer.appended) and answer.before != answer.after:
            yield f"{describe(answer.command)} changed {answer.before} to {answer.after}"


def _keeps_available(record: Record, policies: Sequence[Policy]) -> Iterator[str]:
    for answer in record.answers:
        command, after = answer.command, answer.after
        if isinstance(command, ReserveStock) and answer.appended and after.on_hand - after.reserved < command.keep_available:
            yield f"{describe(command)} left {after.on_hand - after.reserved}"
        inventory = Inventory.from_snapshot(after)
        available = int(inventory.available_at(answer.at))
        if available and not policies:
            all_of_it = ReserveStock(inventory_id=after.inventory_id, reservation_id=PROBE, quantity=available, ttl=None)
            try:
                inventory.decide(all_of_it, at=answer.at)
            except RejectionError as error:
                yield f"{available} available at {answer.at}, yet: {describe(error)}"


def _repeats_change_nothing(record: Record, _policies: Sequence[Policy]) -> Iterator[str]:
    handler = record.handler.fork()
    before = handler.inventory.snapshot()
    for later in (timedelta(0), timedelta(seconds=600), LATER):
        for answer in [answer for answer in record.answers if answer.appended]:
            again = handler.execute(answer.command, at=answer.at + later)
            if not again.replayed and again.error is None:
                yield f"{describe(answer.command)} was not replayed"
            elif again.error is None and again.recorded != answer.recorded:
                yield f"{describe(answer.command)} was replayed as {again.recorded}"
    if handler.inventory.snapshot() != before:
        yield f"{before} became {handler.inventory.snapshot()}"


def _an_id_names_one_command(record: Record, _policies: Sequence[Policy]) -> Iterator[str]:
    handler = record.handler.fork()
    before = handler.inventory.snapshot()
    for answer in [answer for answer in record.answers if answer.appended]:
        misused = handler.execute(other_payload(answer.command), at=max(answer.at, handler.inventory.last_time or answer.at))
        if misused.error is None:
            yield f"{describe(misused.command)} was accepted under an id that names {describe(answer.command)}"
    if handler.inventory.snapshot() != before:
        yield f"{before} became {handler.inventory.snapshot()}"


def _sweeps_change_no_outcome(record: Record, policies: Sequence[Policy]) -> Iterator[str]:
    kept = [call for call in record.program.calls if not isinstance(call.command, RecordCount | ExpireReservations)]
    times = list(accumulate((call.at for call in kept), max))
    calls = [Call(call.command, at) for call, at in zip(kept, times, strict=True)]
    never = play(_only(record.program, calls), policies=policies)
    chance = random.Random(len(calls))
    for plan in (lambda: (500, None), lambda: (None, 500), lambda: (chance.choice((None, 1, 2, 500)), chance.choice((None, 1, 500)))):
        swept = play(_only(record.program, _with_sweeps(calls, plan)), policies=policies)
        answers = [answer for answer in swept.answers if not isinstance(answer.command, ExpireReservations)]
        for plain, other in zip(never.answers, answers, strict=True):
            if (plain.error, plain.replayed) != (other.error, other.replayed) or _own(plain.events) != _own(other.events):
                yield f"{describe(plain.command)}: {_describe_answer(plain)}, with sweeps {_describe_answer(other)}"
            elif plain.appended and _balance(plain) != _balance(other):
                yield f"{describe(plain.command)}: {_balance(plain)}, with sweeps {_balance(other)}"


def _only_time_shifts(record: Record, policies: Sequence[Policy]) -> Iterator[str]:
    if policies:
        return
    for shift in _SHIFTS:
        moved = play(_shifted_program(record.program, shift))
        for plain, other in zip(record.answers, moved.answers, strict=True):
            expected = [_shifted(event, shift) for event in plain.events]
            error = None if plain.error is None else _shifted_error(plain.error, shift)
            if list(other.events) != expected or other.error != error or other.at != plain.at + shift:
                yield f"{describe(plain.command)}, {shift} later: {_describe_answer(plain)} became {_describe_answer(other)}"


def _decide_is_pure(record: Record, policies: Sequence[Policy]) -> Iterator[str]:
    for answer in record.answers:
        inventory = Inventory.from_snapshot(answer.before)
        figure = record.handler.observed_on_hand(answer.command)
        outcomes = [_decided(inventory, answer.command, answer.at, figure, policies) for _ in range(2)]
        if outcomes[0] != outcomes[1]:
            yield f"{describe(answer.command)} was decided {outcomes[0]}, then {outcomes[1]}"
        if inventory.snapshot() != answer.before:
            yield f"{describe(answer.command)} changed {answer.before} to {inventory.snapshot()}"
    if record.answers:
        asked = record.handler.fork().inventory
        at = max(answer.at for answer in record.answers)
        if behaviour(asked, at) != behaviour(asked, at) or asked != record.handler.inventory:
            yield "a state that was asked once answers otherwise the second time"


def _folds_from_any_snapshot(record: Record, _policies: Sequence[Policy]) -> Iterator[str]:
    whole = Inventory.replay(record.program.inventory_id, record.history)
    if whole != record.handler.inventory:
        yield f"the history folds to {whole.snapshot()}, the handler has {record.handler.inventory.snapshot()}"
    front = Inventory(record.program.inventory_id)
    for cut in range(len(record.history) + 1):
        if cut:
            front.apply(record.history[cut - 1])
        resumed = Inventory.from_snapshot(front.snapshot())
        for recorded in record.history[cut:]:
            resumed.apply(recorded)
        if resumed != whole:
            yield f"cut after {cut} events: {resumed.snapshot()} instead of {whole.snapshot()}"


def _decided(
    inventory: Inventory, command: Command, at: datetime, figure: int | None, policies: Sequence[Policy]
) -> tuple[Event, ...] | RejectionError:
    try:
        return inventory.decide(command, at=at, observed_on_hand=figure, policies=policies)
    except RejectionError as error:
        return error


def _only(program: Program, calls: Iterable[Call]) -> Program:
    return Program(inventory_id=program.inventory_id, steps=tuple(calls))


def _with_sweeps(calls: Sequence[Call], plan: Callable[[], tuple[int | None, int | None]]) -> Iterator[Call]:
    for number, call in enumerate(calls):
        before, after = plan()
        if before is not None:
            yield _sweep(call, f"before {number}", before)
        yield call
        if after is not None:
            yield _sweep(call, f"after {number}", after)


def _sweep(call: Call, name: str, limit: int) -> Call:
    command = ExpireReservations(inventory_id=call.command.inventory_id, command_id=f"{PROBE}: sweep {name}", limit=limit)
    return Call(command, call.at)


def _own(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if not (isinstance(event, StockReleasedEvent) and event.reason is ReleaseReason.EXPIRED)]


def _balance(answer: Answer) -> tuple[int, int]:
    return answer.after.on_hand, answer.after.reserved


def _describe_answer(answer: Answer) -> str:
    if answer.error is not None:
        return describe(answer.error)
    return " ".join(describe(event) for event in answer.events) or "nothing"


def _shifted_program(program: Program, shift: timedelta) -> Program:
    return attrs.evolve(
        program,
        setup=tuple(_shifted_call(call, shift) for call in program.setup),
        steps=tuple(_shifted_call(call, shift) for call in program.steps),
        parallel=tuple(_shifted_call(call, shift) for call in program.parallel),
    )


def _shifted_call(call: Call, shift: timedelta) -> Call:
    return Call(_shifted(call.command, shift), call.at + shift)


def _shifted(thing: Any, shift: timedelta) -> Any:
    kind: type[Any] = type(thing)
    times = {field.name: getattr(thing, field.name) for field in attrs.fields(kind)}
    return attrs.evolve(thing, **{name: value + shift for name, value in times.items() if isinstance(value, datetime)})


def _shifted_error(error: InventoryError, shift: timedelta) -> InventoryError:
    facts = {name: value + shift if isinstance(value, datetime) else value for name, value in error.facts().items()}
    return type(error)(**facts)


_ALL = (
    ProgramProperty("P14", "A refused command, a no-op and a replay leave the state identical.", _refused_changes_nothing),
    ProgramProperty(
        "P20", "A reserve leaves what it was told to keep, and what is said to be available can be reserved.", _keeps_available
    ),
    ProgramProperty("P21", "Accepted commands that are sent again, however late, change nothing.", _repeats_change_nothing),
    ProgramProperty("P22", "Another payload under a used id never changes state.", _an_id_names_one_command),
    ProgramProperty("P23", "Sweeps in between change no outcome and no balance.", _sweeps_change_no_outcome),
    ProgramProperty("P24", "Shifting all instants shifts timestamps and nothing else.", _only_time_shifts),
    ProgramProperty("P25", "Deciding is pure.", _decide_is_pure),
    ProgramProperty("P26", "Folding on from a snapshot, taken anywhere, gives the same state.", _folds_from_any_snapshot),
    ProgramProperty("P34", SENTENCE, _agrees_with_the_model),
)

PROGRAM_PROPERTIES: Mapping[str, ProgramProperty] = MappingProxyType({one.id: one for one in _ALL})
"""The properties that need the commands, by id. ``HISTORY_PROPERTIES`` has those that a log alone shows."""
