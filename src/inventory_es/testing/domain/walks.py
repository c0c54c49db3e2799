"""Strategies that know where they are: commands for a state, histories made by running the decider, whole programs.

They walk towards the corners: equal instants, a time of expiry and one microsecond either side of it, all that remains and one
more, clocks that stand still or run backwards, counts below what is promised, commands sent twice, ids used twice.

hypothesis draws a few numbers for each step, and a generator reads its choices off them. So drawing is quick, and shrinking takes
whole steps away and turns the others into the first choice, which is the plain one.
"""

from collections.abc import Sequence
from datetime import datetime

from hypothesis import strategies as st

from inventory_es.domain.commands import Command
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory, Policy
from inventory_es.testing.domain.command_generator import OPENINGS, RUSHES, Choices, next_command, next_time, walk
from inventory_es.testing.domain.program import Call, Program
from inventory_es.testing.domain.purity import ask_twice
from inventory_es.testing.domain.reference_handler import ReferenceHandler
from inventory_es.testing.domain.scenarios import SHELF
from inventory_es.testing.faults import FaultKind

_NUMBERS = st.integers(0, 2**24 - 1)
_FAULTS: tuple[FaultKind, ...] = ("fail_before", "fail_after")
_STEPS = st.tuples(_NUMBERS, _NUMBERS, _NUMBERS)


def times_for(inventory: Inventory, clock: datetime) -> st.SearchStrategy[datetime]:
    """What the clock says next: the same again, a little later, right around a time of expiry, long after, or earlier.

    Args:
        inventory: whose open reservations have times of expiry.
        clock: what it says now.
    """
    return _NUMBERS.map(lambda number: next_time(Choices(number), inventory, clock))


def commands_for(inventory: Inventory, at: datetime, *, name: str, earlier: Sequence[Command] = ()) -> st.SearchStrategy[Command]:
    """Commands that make sense in a state, and those right beyond the edge of it.

    Args:
        inventory: the state.
        at: when they will be sent.
        name: unique among the commands to this inventory: ids are made of it.
        earlier: commands that were sent before, to be sent again, or misused under their id.
    """

    def command(kind: int, fields: int) -> Command:
        return next_command(Choices(kind), Choices(fields), inventory, at, name=name, earlier=earlier)

    return st.builds(command, _NUMBERS, _NUMBERS)


def programs(
    *,
    inventory_id: InventoryId = SHELF,
    max_steps: int = 30,
    max_parallel: int = 0,
    policies: Sequence[Policy] = (),
) -> st.SearchStrategy[Program]:
    """Whole programs: a setup, steps that follow from the state that they meet, calls at once, failing appends, a seed.

    Args:
        inventory_id: to which inventory.
        max_steps: the most steps, 1 or more.
        max_parallel: the most calls at once, 0 or more.
        policies: the host's rules, under which the steps are drawn. An impure one is found, also across examples.
    """
    return _programs(inventory_id, max_steps, max_parallel, ask_twice(policies))


@st.composite
def _programs(draw: st.DrawFn, inventory_id: InventoryId, max_steps: int, max_parallel: int, policies: Sequence[Policy]) -> Program:
    opening, rush = draw(st.sampled_from(OPENINGS)), draw(st.sampled_from(RUSHES))
    fewest = draw(st.sampled_from((1, max_steps // 2 + 1)))
    setup, steps, handler = walk(
        draw(st.lists(_STEPS, min_size=fewest, max_size=max_steps)),
        opening=opening,
        rush=rush,
        inventory_id=inventory_id,
        policies=policies,
    )
    clock = steps[-1].at
    if not max_parallel:
        return Program(inventory_id=inventory_id, setup=setup, steps=tuple(steps))
    at_once = [
        Call(next_command(Choices(kind), Choices(fields), handler.inventory, clock, name=f"p{number}"), clock)
        for number, (_, kind, fields) in enumerate(draw(st.lists(_STEPS, max_size=max_parallel)))
    ]
    faults = st.dictionaries(st.integers(1, 2 * max_parallel), st.sampled_from(_FAULTS), max_size=3)
    return Program(
        inventory_id=inventory_id,
        setup=setup,
        steps=tuple(steps),
        parallel=tuple(at_once),
        faults=tuple(sorted(draw(faults).items())),
        seed=draw(_NUMBERS),
    )


def histories(*, inventory_id: InventoryId = SHELF, max_steps: int = 30) -> st.SearchStrategy[tuple[Recorded, ...]]:
    """Valid histories of one inventory, made by running the decider on programs.

    Args:
        inventory_id: of which inventory.
        max_steps: the most commands behind it.
    """
    return programs(inventory_id=inventory_id, max_steps=max_steps).map(_history)


def _history(program: Program) -> tuple[Recorded, ...]:
    handler = ReferenceHandler(program.inventory_id)
    for call in program.calls:
        handler.execute(call.command, at=call.at)
    return tuple(handler.history)
