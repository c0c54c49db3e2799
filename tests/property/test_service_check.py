"""Whole programs over a service, with parallel calls and failing appends: P28, P29 and every property that a log alone shows."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings

from inventory_es.adapters.file import open_file
from inventory_es.adapters.memory import open_memory
from inventory_es.application.commands.decision import CommandOutcome
from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import AddStock, Command, ReserveStock
from inventory_es.domain.errors import InsufficientStockError
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.domain.history import PropertyError, check_history
from inventory_es.testing.domain.program import Call, Program
from inventory_es.testing.domain.scenarios import SHELF, START
from inventory_es.testing.domain.service_check import check_service
from inventory_es.testing.domain.strategies import programs
from inventory_es.testing.faults import Faults, faulty_event_store
from inventory_es.wiring import open_inventory


@asynccontextmanager
async def over_memory(clock: ManualClock, faults: Faults) -> AsyncIterator[InventoryService]:
    async with open_inventory(faulty_event_store(await open_memory(""), faults), clock=clock) as service:
        yield service


@asynccontextmanager
async def over_files(clock: ManualClock, faults: Faults) -> AsyncIterator[InventoryService]:
    with TemporaryDirectory() as folder:
        store = await open_file(str(Path(folder) / "stock"))
        async with open_inventory(faulty_event_store(store, faults), clock=clock) as service:
            yield service
        await store.aclose()


Open = Callable[[ManualClock, Faults], AbstractAsyncContextManager[InventoryService]]


@pytest.mark.parametrize("open_service, examples", [(over_memory, 60), (over_files, 10)], ids=["memory", "file"])
def test_every_answer_is_one_that_the_reference_gives(open_service: Open, examples: int, backend: str) -> None:
    @settings(max_examples=examples)
    @given(programs(max_steps=12, max_parallel=6))
    def explore(program: Program) -> None:
        history = check_service(program, open_service, backend=backend)
        assert check_history(history) == len(history)

    explore()


def test_sets_of_steps_are_accepted_whole_or_not_at_all(backend: str) -> None:
    @settings(max_examples=20)
    @given(programs(max_steps=15))
    def explore(program: Program) -> None:
        for together in (2, 4):
            assert check_service(program, over_memory, backend=backend, together=together)

    explore()


def race(units: int, racers: int) -> Program:
    calls = [Call(ReserveStock(inventory_id=SHELF, reservation_id=f"R{number}", quantity=1, ttl=None), START) for number in range(racers)]
    setup = (Call(AddStock(inventory_id=SHELF, command_id="add", quantity=units), START),) if units else ()
    return Program(inventory_id=SHELF, setup=setup, parallel=tuple(calls), faults=((1, "fail_after"), (3, "fail_before")))


@pytest.mark.parametrize("units, racers", [(0, 3), (1, 7), (7, 7), (5, 40)])
def test_as_many_win_as_there_are_units(units: int, racers: int, backend: str) -> None:
    history = check_service(race(units, racers), over_memory, backend=backend)
    assert len(history) == min(units, racers) + (1 if units else 0)


class Overselling(InventoryService):
    """A decider that accepts every reserve."""

    async def execute(self, command: Command, *, expected_version: int | None = None) -> CommandOutcome:
        try:
            return await super().execute(command, expected_version=expected_version)
        except InsufficientStockError:
            return await super().execute(AddStock(inventory_id=SHELF, command_id="quietly", quantity=1))


@asynccontextmanager
async def overselling(clock: ManualClock, _faults: Faults) -> AsyncIterator[InventoryService]:
    honest = open_inventory("memory:", clock=clock)
    async with Overselling(honest._opening._open_store, honest.parts, owns_store=True) as service:
        yield service


def test_a_service_that_answers_wrongly_is_found(backend: str) -> None:
    with pytest.raises(PropertyError, match="no serial order of the calls explains that"):
        check_service(race(2, 4), overselling, backend=backend)
    one_after_the_other = Program(inventory_id=SHELF, steps=race(1, 2).calls + race(1, 2).parallel)
    with pytest.raises(PropertyError, match="the reference says InsufficientStockError"):
        check_service(one_after_the_other, overselling, backend=backend)
