"""Programs as data: the operations that a store goes through before and while it crashes."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from random import Random
from types import MappingProxyType

from inventory_es.testing.crash.world import World

Program = tuple[str, ...]
"""Names of operations, in order. Before the first one a process makes the store."""

LARGE = 700
SEGMENT_BYTES = 600
"""How long the segments of a journal should be, so that a large append fills one and a few small ones do too."""


def _append(world: World) -> None:
    world.append([world.new_write("x")])


def _streams(world: World) -> None:
    world.append([world.new_write("y", 2), world.new_write("x")])


def _group(world: World) -> None:
    world.append([world.new_write("x")], [world.new_write("z", 2)], [world.new_write("y")])


def _conflict(world: World) -> None:
    world.conflict([world.new_write("x")], beside=[world.new_write("z")])


def _rotate(world: World) -> None:
    world.append([world.new_write("x", size=LARGE)])
    world.append([world.new_write("y")])


def _tidy(world: World) -> None:
    world.tidy()


def _stop(world: World) -> None:
    world.close()
    world.open()


def _kill(world: World) -> None:
    world.die()
    world.open()


def _power(world: World) -> None:
    world.lose_power()
    world.open()


def _turns(world: World) -> None:
    world.append_from_elsewhere([world.new_write("x")])
    world.append([world.new_write("x")])


OPERATIONS: Mapping[str, Callable[[World], None]] = MappingProxyType({
    "append": _append,
    "streams": _streams,
    "group": _group,
    "conflict": _conflict,
    "rotate": _rotate,
    "tidy": _tidy,
    "stop": _stop,
    "kill": _kill,
    "power": _power,
    "turns": _turns,
})  # fmt: skip
"""What each name does: one event; one append to two streams; three appends in one commit; a refused append beside a good one; appends
that end a segment and begin the next; maintenance; a clean stop and a start; a kill and a start, with recovery; a power cut that
takes all it may, and a start; an append of another process, then one of this."""


def programs(length: int) -> Iterator[Program]:
    """Every program of so many operations."""
    return itertools.product(OPERATIONS, repeat=length)


def random_program(chance: Random, *, shortest: int = 4, longest: int = 9) -> Program:
    """A program of 4 to 9 operations, unless told otherwise."""
    return tuple(chance.choices(tuple(OPERATIONS), k=chance.randint(shortest, longest)))
