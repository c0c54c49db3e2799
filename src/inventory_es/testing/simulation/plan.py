"""A simulation's plan as data: programs, orders over several inventories, and disturbances of the nodes."""

import random
from datetime import datetime, timedelta
from typing import Literal, Self

import attrs

from inventory_es.domain.commands import AddStock, Command, ReserveStock
from inventory_es.domain.identifiers import InventoryId
from inventory_es.testing.domain.command_generator import Choices, next_command, next_time
from inventory_es.testing.domain.program import Call, Program
from inventory_es.testing.domain.reference_handler import ReferenceHandler
from inventory_es.testing.domain.scenarios import START

_NUMBER = 1 << 24
_JUMPS = (5.0, 59.0, 61.0, 900.0, -1.0, -30.0, -59.0, -61.0, -900.0)
_TIMES_TO_LIVE = (timedelta(seconds=60), timedelta(seconds=2), None)


@attrs.frozen(kw_only=True)
class Disturbance:
    """A disturbance of the nodes.

    Attributes:
        turn: turns after the setup.
        kind: ``restart`` of a node, which loses all work in progress; ``jump`` of a node's clock; ``forget``: the cache loses everything.
        node: number of the node, starting at 0.
        seconds: length of a jump; backwards if negative.
    """

    turn: int
    kind: Literal["restart", "jump", "forget"]
    node: int = 0
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Plan:
    """The plan of one simulation.

    Attributes:
        programs: one per inventory. The setup goes first, undisturbed. Each step starts when the one before has its answer. The parallel
            calls follow, all at once. True time never runs backwards; only clocks that jump do. A program's faults hit the appends after
            the setup, counted over all nodes.
        orders: commands that are accepted together or not at all, at most one per inventory. They are sent while the programs run.
        nodes: application nodes over the one store, 1 or more.
        disturbances: disturbances of the nodes.
        heals_at: turns after the setup at which faults stop and clocks are set right.
        fault_rate: share of the calls to the store that fail until then, 0 to 1. Three times that share fails at the bus and the cache.
        late_rate: share of the appends, 0 to 1, that are carried out after their sender heard that the outcome is unknown. They arrive
            within the time that the store declares.
    """

    programs: tuple[Program, ...]
    orders: tuple[tuple[Command, ...], ...] = ()
    nodes: int = 3
    disturbances: tuple[Disturbance, ...] = ()
    heals_at: int = 300
    fault_rate: float = 0.06
    late_rate: float = 0.0

    @classmethod
    def by_seed(cls, seed: int) -> Self:
        """Draw a plan from a seed: one to three inventories, two to four nodes."""
        chance = random.Random(f"plan:{seed}")
        programs = tuple(_draw_program(chance, number) for number in range(chance.choice((1, 2, 2, 3))))
        return cls.around(programs, chance, orders=chance.randrange(4))

    @classmethod
    def of(cls, program: Program, *, seed: int) -> Self:
        """Return a plan for one program, with disturbances drawn from the seed."""
        return cls.around((program,), random.Random(f"plan of one:{seed}"), orders=0)

    @classmethod
    def around(cls, programs: tuple[Program, ...], chance: random.Random, *, orders: int) -> Self:
        """Return a plan for these programs, with orders and disturbances drawn by chance."""
        nodes, heals_at = chance.choice((2, 3, 4)), chance.randrange(60, 360)
        kinds: tuple[Literal["restart", "jump", "forget"], ...] = ("restart", "restart", "jump", "jump", "forget")
        return cls(
            programs=programs,
            orders=tuple(_draw_order(chance, programs, number) for number in range(orders)),
            nodes=nodes,
            disturbances=tuple(
                Disturbance(
                    turn=chance.randrange(heals_at), kind=chance.choice(kinds), node=chance.randrange(nodes), seconds=chance.choice(_JUMPS)
                )
                for _ in range(chance.randrange(7))
            ),
            heals_at=heals_at,
            fault_rate=chance.choice((0.0, 0.03, 0.08, 0.15)),
            late_rate=chance.choice((0.0, 0.0, 0.1, 0.3)),
        )


def _draw_program(chance: random.Random, number: int) -> Program:
    inventory_id = InventoryId(f"product-{number}", "store")
    opening = AddStock(inventory_id=inventory_id, command_id="opening", quantity=chance.choice((20, 5, 1)))
    handler = ReferenceHandler(inventory_id)
    handler.execute(opening, at=START)
    clock = START
    steps: list[Call] = []
    for place in range(chance.randrange(5)):
        clock = next_time(Choices(chance.randrange(_NUMBER)), handler.inventory, clock)
        steps.append(_draw_call(chance, handler, clock, f"{place}", [call.command for call in steps]))
        handler.execute(steps[-1].command, at=clock)
    sent = [call.command for call in steps]
    at_once = [_draw_call(chance, handler, clock, f"p{place}", sent) for place in range(chance.randrange(1, 9))]
    return Program(inventory_id=inventory_id, setup=(Call(opening, START),), steps=tuple(steps), parallel=tuple(at_once))


def _draw_call(chance: random.Random, handler: ReferenceHandler, clock: datetime, name: str, earlier: list[Command]) -> Call:
    kind, fields = Choices(chance.randrange(_NUMBER)), Choices(chance.randrange(_NUMBER))
    return Call(next_command(kind, fields, handler.inventory, clock, name=name, earlier=earlier), clock)


def _draw_order(chance: random.Random, programs: tuple[Program, ...], number: int) -> tuple[Command, ...]:
    chosen = chance.sample(programs, chance.randint(1, len(programs)))
    return tuple(
        ReserveStock(
            inventory_id=one.inventory_id,
            reservation_id=f"order-{number}",
            quantity=chance.choice((1, 1, 2, 5)),
            ttl=chance.choice(_TIMES_TO_LIVE),
        )
        for one in chosen
    )
