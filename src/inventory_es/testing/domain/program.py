"""Programs: what is done to one inventory, as data, and how it is played without a store.

A program is drawn once and can be played many times: with sweeps in between, an hour later, over another store. Played twice
it gives the same record, since it brings its own times and its own seed.
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
        command: what is asked.
        at: what the clock says then; it may stand still or run backwards.
    """

    command: Command
    at: datetime

    def __str__(self) -> str:
        return f"{describe(self.command)} at {describe_value(self.at)}"


@attrs.frozen(kw_only=True)
class Program:
    """What is done to one inventory.

    Attributes:
        inventory_id: to which one.
        setup: calls that bring it into an interesting state, one after the other.
        steps: calls one after the other.
        parallel: calls at once, after the steps: each caller loads, decides, appends, and starts again if another one was faster.
        faults: which appends of the parallel part fail, counted from 1, and whether before or after they are written: what
            ``Faults.by_plan({"append": dict(program.faults)})`` takes.
        seed: in what order the parallel callers take their turns.
    """

    inventory_id: InventoryId
    setup: tuple[Call, ...] = ()
    steps: tuple[Call, ...] = ()
    parallel: tuple[Call, ...] = ()
    faults: tuple[tuple[int, FaultKind], ...] = ()
    seed: int = 0

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls one after the other: the setup's and the steps."""
        return self.setup + self.steps

    def __str__(self) -> str:
        told = [str(call) for call in self.calls] + [f"at once: {call}" for call in self.parallel]
        told += [f"append {number} of those: {kind}" for number, kind in self.faults]
        return "\n".join([*told, f"seed {self.seed}"])


@attrs.frozen
class Record:
    """What became of a program.

    Attributes:
        program: what was played.
        answers: one for each call in order, then those of the parallel calls, in the order in which they were settled.
        history: every event.
        handler: where it was played, to go on from there.
    """

    program: Program
    answers: tuple[Answer, ...]
    history: tuple[Recorded, ...]
    handler: ReferenceHandler = attrs.field(eq=False, repr=False)


def play(program: Program, *, policies: Sequence[Policy] = ()) -> Record:
    """Play a program on a handler of its own.

    Args:
        program: what to do.
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
    """Let callers race on one stream as optimistic writers do, with a turn between loading and appending.

    Args:
        handler: the stream that all of them share.
        calls: one for each caller.
        faults: which appends fail, counted from 1: ``fail_before`` or ``fail_after``.
        next_turn: which of ``n`` callers that are not done yet takes the next turn, 0 to n − 1.
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
    """Another command under the id of ``command``."""
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
