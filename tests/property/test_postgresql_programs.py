"""Any program through three processes on one PostgreSQL server: the machine's answers, and outcomes that some serial order explains.

More of them: ``.venv/bin/pytest tests/property/test_postgresql_programs.py --hypothesis-profile=search -o faulthandler_timeout=0``.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from itertools import count
from typing import Any, ClassVar, cast

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from inventory_es.application.results import HistoryEntry
from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import AddStock, Command, ExpireReservations
from inventory_es.domain.identifiers import InventoryId
from inventory_es.testing import ManualClock
from inventory_es.testing.domain.machine import InventoryMachine
from inventory_es.testing.domain.scenarios import START
from inventory_es.testing.simulation.clients import Observation
from inventory_es.wiring import open_inventory
from tests.integration.command_side import seconds
from tests.property.serial_order import LINES, Sent, Witness, a_command, witness_of
from tests.property.service_processes import Node, Processes, Task, play, processes
from tests.servers.postgresql import database

FEW = settings(max_examples=settings().max_examples // 10, stateful_step_count=20, suppress_health_check=list(HealthCheck))
NAMES = count()
"""Each example has products of its own in one store."""


@attrs.frozen
class Shops:
    """The processes, and the URL of the store that they have opened."""

    processes: Processes
    url: str


@pytest.fixture(scope="module")
def shops() -> Iterator[Shops]:
    with database() as url, processes("asyncio", "trio", "asyncio") as running:
        running.open(url)
        yield Shops(running, url)


async def execute(node: Node, at: datetime, command: Command) -> Any:
    node.clock.at = at
    return await node.service.execute(command)


async def entries_of(node: Node, product_id: str, store_id: str) -> list[HistoryEntry]:
    return [one async for one in node.service.history(product_id, store_id)]


class Spread:
    """A service whose calls go to the processes in turns."""

    def __init__(self, shops: Processes, clock: ManualClock) -> None:
        self._shops, self._clock = shops, clock
        self._turns = count()

    async def execute(self, command: Command) -> Any:
        return self._shops.one(next(self._turns) % len(self._shops), execute, self._clock.now(), command)

    async def history(self, product_id: str, store_id: str) -> AsyncIterator[HistoryEntry]:
        for entry in self._shops.one(next(self._turns) % len(self._shops), entries_of, product_id, store_id):
            yield entry


def test_processes_in_turns_answer_like_the_reference(shops: Shops) -> None:
    opened: list[InventoryId] = []

    class Machine(InventoryMachine):
        inventory_id: ClassVar[InventoryId]

        def __init__(self) -> None:
            type(self).inventory_id = InventoryId(f"machine-{next(NAMES)}", "main")
            super().__init__()

        @asynccontextmanager
        async def _spread(self, clock: ManualClock) -> AsyncIterator[InventoryService]:
            opened.append(self.inventory_id)
            yield cast(InventoryService, Spread(shops.processes, clock))

        def open_service(self, clock: ManualClock) -> AbstractAsyncContextManager[InventoryService]:
            return self._spread(clock)

    run_state_machine_as_test(Machine, settings=FEW)  # raises where an answer differs
    assert len(set(opened)) >= FEW.max_examples


_STEPS = st.one_of(LINES.filter(lambda lines: len(lines) == 1), LINES, st.just("look"))
_TASKS = st.lists(st.lists(_STEPS, min_size=1, max_size=4), min_size=3, max_size=6)
_ROUNDS = st.lists(st.tuples(st.sampled_from((0.0, 1.0, 30.0)), _TASKS), min_size=1, max_size=3)


@settings(FEW)
@given(rounds=_ROUNDS, skews=st.tuples(*[st.sampled_from((0.0, 1.0, 30.0))] * 3))
def test_every_outcome_is_that_of_some_serial_order(shops: Shops, rounds: list[Any], skews: tuple[float, ...]) -> None:
    name = f"program-{next(NAMES)}"
    shelves = (InventoryId(name, "one"), InventoryId(name, "other"))
    now = START
    opening: Task = [(AddStock(inventory_id=shelf, command_id="opening", quantity=4),) for shelf in shelves]
    sent, seen = shops.processes.one(0, play, now, [opening])
    for pause, tasks in rounds:
        now += seconds(pause)
        works: list[list[Task]] = [[] for _ in skews]
        for number, steps in enumerate(tasks):
            works[number % len(works)].append([shelves[0] if one == "look" else _commands(one, shelves) for one in steps])
        told = shops.processes.at_once(play, *[(now + seconds(skew), work) for skew, work in zip(skews, works, strict=True)])
        for also_sent, also_seen in told:
            sent += also_sent
            seen += also_seen
    witness = anyio.run(explain, shops.url, shelves, sent, seen)
    send_again(shops.processes, now + seconds(10_000), shelves, [one for each in sent for one in witness.accepted(each)])


def _commands(lines: list[tuple[int, int, int, bool]], shelves: Sequence[InventoryId]) -> tuple[Command, ...]:
    return tuple(a_command(*one, shelves) for one in lines)


async def explain(url: str, shelves: Sequence[InventoryId], sent: Sequence[Sent], seen: Sequence[Observation]) -> Witness:
    """Check every outcome, and everything that was seen, against what is stored."""
    async with open_inventory(url) as service:
        witness = await witness_of(service, shelves)
    for one in sent:
        witness.check(one)
    for look in seen:
        state = witness.states[look.inventory_id][look.version]
        assert look.since <= look.version <= look.until
        assert (look.on_hand, look.reserved) == (state.units_on_hand, state.units_reserved)
    return witness


def send_again(shops: Processes, at: datetime, shelves: Sequence[InventoryId], accepted: Sequence[tuple[Command, int]]) -> None:
    """Check that accepted commands, sent again long after to any process, change nothing once no reservation is due."""
    last: Task = [(ExpireReservations(inventory_id=shelf, command_id="the last sweep", limit=500),) for shelf in shelves]
    shops.one(0, play, at, [last])
    again: list[Task] = [[(command,) for command, _ in accepted[number :: len(shops)]] for number in range(len(shops))]
    for number, (sent, _) in enumerate(shops.at_once(play, *[(at, [task]) for task in again])):
        for one, (_, version) in zip(sent, accepted[number :: len(shops)], strict=True):
            assert (one.outcome.replayed, one.outcome.version) == (True, version)
            assert one.before == one.after
