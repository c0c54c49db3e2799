"""Programs: calls to one inventory as data, and their play without a store.

A program is drawn once, and can be played many times: with sweeps in between, an hour later, over another store. It gives the same record
each time, because it brings its own times and its own seed.
"""

import random
from collections.abc import Callable, Sequence
from datetime import datetime

import attrs

from inventory_es.domain.commands import AddStock, Command, ReserveStock
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Policy
from inventory_es.domain.quantity import MAX_QUANTITY
from inventory_es.testing.domain.formatting import describe, describe_value
from inventory_es.testing.domain.reference_handler import Answer, ReferenceHandler
from inventory_es.testing.faults import FaultKind


@attrs.frozen
class Call:
    """One command at one time of the clock.

    Attributes:
        command: the command.
        at: the time of the clock, which may stand still or run backwards from call to call.
    """

    command: Command
    at: datetime

    def __str__(self) -> str:
        return f"{describe(self.command)} at {describe_value(self.at)}"


@attrs.frozen(kw_only=True)
class Program:
    """Calls to one inventory.

    Attributes:
        inventory_id: the inventory.
        setup: calls that bring the inventory into an interesting state, one after the other.
        steps: calls one after the other.
        parallel: calls at the same time, after the steps. Each caller loads, decides and appends, and starts again if another was faster.
        faults: the appends of the parallel part that fail, counted from 1, and how: before or after they are written. In the form of
            ``Faults.by_plan({"append": dict(program.faults)})``.
        seed: decides the order of the parallel callers.
    """

    inventory_id: InventoryId
    setup: tuple[Call, ...] = ()
    steps: tuple[Call, ...] = ()
    parallel: tuple[Call, ...] = ()
    faults: tuple[tuple[int, FaultKind], ...] = ()
    seed: int = 0

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that go one after the other: the setup and the steps."""
        return self.setup + self.steps

    def __str__(self) -> str:
        lines = [str(call) for call in self.calls] + [f"at once: {call}" for call in self.parallel]
        lines += [f"append {number} of those: {kind}" for number, kind in self.faults]
        return "\n".join([*lines, f"seed {self.seed}"])


@attrs.frozen
class Record:
    """The record of a program that was played.

    Attributes:
        program: the program.
        answers: one per call, in order; then those of the parallel calls, in the order in which they were settled.
        history: every event.
        handler: the handler that played the program, to go on from there.
    """

    program: Program
    answers: tuple[Answer, ...]
    history: tuple[Recorded, ...]
    handler: ReferenceHandler = attrs.field(eq=False, repr=False)


def play(program: Program, *, policies: Sequence[Policy] = ()) -> Record:
    """Play a program on a new reference handler.

    Args:
        program: the program.
        policies: the host's rules.
    """
    handler = ReferenceHandler(program.inventory_id, policies=policies)
    for call in program.calls:
        handler.execute(call.command, at=call.at)
    chance = random.Random(program.seed)
    race(handler, program.parallel, program.faults, next_turn=chance.randrange)
    return Record(program, tuple(handler.answers), tuple(handler.history), handler)


def race(
    handler: ReferenceHandler, calls: Sequence[Call], faults: Sequence[tuple[int, FaultKind]] = (), *, next_turn: Callable[[int], int]
) -> None:
    """Let callers race on one stream as optimistic writers do, each loading in one turn and appending in a later one.

    Args:
        handler: the stream that all callers share.
        calls: one per caller.
        faults: the appends that fail, counted from 1: ``fail_before`` or ``fail_after``.
        next_turn: chooses one of the ``n`` callers that are not done, 0 to n − 1.
    """
    kinds = dict(faults)
    runners = [_Runner(call) for call in calls]
    appends = 0
    while runners:
        turn = next_turn(len(runners))
        runner = runners[turn]
        if runner.loaded is None:
            runner.loaded = handler.fork()
            continue
        if runner.loaded.inventory.version != handler.inventory.version:
            runner.loaded = None
            continue
        appends += 1
        fault = kinds.get(appends)
        if fault == "fail_before":
            runner.loaded = None
            continue
        answer = handler.execute(runner.call.command, at=runner.call.at)
        if fault == "fail_after" and answer.appended:
            handler.answers.pop()
            runner.loaded = None
            continue
        runners.pop(turn)


def other_payload(command: Command) -> Command:
    """Return another command with the id of ``command``."""
    match command:
        case ReserveStock():
            return attrs.evolve(command, quantity=command.quantity % MAX_QUANTITY + 1)
        case AddStock():
            return attrs.evolve(command, quantity=command.quantity % MAX_QUANTITY + 1)
        case _:
            return AddStock(inventory_id=command.inventory_id, command_id=command.command_id, quantity=7)


@attrs.define
class _Runner:
    call: Call
    loaded: ReferenceHandler | None = None
