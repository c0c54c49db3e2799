"""Any concurrent program: commands and baskets on few inventories, through several services over one log, with faults and cancellations.

The witness of :mod:`tests.property.serial_order` must explain every outcome.
"""

import random
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from inventory_es.application.results import Reservation
from inventory_es.domain.commands import (
    AddStock,
    Command,
    ExpireReservations,
    ReserveStock,
)
from inventory_es.domain.errors import CommandIdReusedError, ReservationIdTakenError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports.errors import AppendOutcomeUnknownError, StoreUnavailableError
from inventory_es.ports.toolkit.waiting import STATE_LOCK, run_to_end
from inventory_es.testing.faults import Faults, faulty_event_store
from tests.integration.command_side import (
    SHELF,
    Heap,
    PlainStore,
    WatchedStore,
    history,
    open_lanes,
    outcome_of,
    quick,
    seconds,
    turns,
)
from tests.integration.test_lanes_of_threads import together
from tests.property.serial_order import LINES, SHELVES, Sent, Witness, a_command, witness_of

_STEPS = st.one_of(LINES.filter(lambda lines: len(lines) == 1), LINES, st.sampled_from((1.0, 30.0)), st.just("look"))


class _World:
    """A player of one program, which keeps what happened."""

    def __init__(self, seed: int, *, rate: float, lanes: bool, poor: bool) -> None:
        self.heap = Heap()
        self.chance = random.Random(seed)
        self.faults = Faults.by_seed(seed, rate=rate, operations=("append", "append_group", "read_stream", "find_events"), turns=2)
        self.streams: dict[Any, Any] = {}
        self.poor = poor
        self.settings = quick(lanes=lanes, max_attempts=6, expiry_chunk=2, max_batch=3)
        self.times = [self.heap.clock.now()]
        self.interrupted_in = 0
        self.sent: list[Sent] = []
        self.looks: list[tuple[int, int, int, int, int]] = []

    def store(self) -> Any:
        under: Any = PlainStore(self.streams, multi_stream=True) if self.poor else self.heap.store().store
        store = WatchedStore(under, group_commit=not self.poor)
        store.before = store.after = self._wander
        return store if self.poor else faulty_event_store(store, self.faults)

    def versions(self) -> dict[InventoryId, int]:
        if self.poor:
            return {shelf: len(self.streams.get(shelf.stream, ())) for shelf in SHELVES}
        return {shelf: self.heap.log.version_of(shelf.stream) for shelf in SHELVES}

    async def _wander(self, _operation: str) -> None:
        await turns(self.chance.randrange(3))
        if self.interrupted_in:
            self.interrupted_in -= 1
            if not self.interrupted_in:
                raise KeyboardInterrupt

    async def task(self, service: Any, steps: list[Any], scope: AbstractContextManager[object]) -> None:
        with scope:
            for step in steps:
                if isinstance(step, float):
                    with STATE_LOCK:
                        self.times.append(self.heap.clock.now() + seconds(step))
                        self.heap.clock.advance(seconds(step))
                elif step == "look":
                    await self.look(service)
                else:
                    await self.send(service, tuple(a_command(*one) for one in step))

    async def look(self, service: Any) -> None:
        before = self.versions()[SHELF]
        level = await outcome_of(service.stock(SHELF.product_id, SHELF.store_id))
        if not isinstance(level, StoreUnavailableError):
            self.looks.append((before, level.version, self.versions()[SHELF], level.on_hand, level.reserved))

    async def send(self, service: Any, commands: tuple[Command, ...]) -> None:
        is_basket = len({(one.inventory_id, one.command_id) for one in commands}) == len(commands) > 1
        with STATE_LOCK:
            before, first = self.versions(), len(self.times) - 1
        outcome: Any = None
        try:
            if is_basket:
                outcome = await outcome_of(service.execute_all(commands))
            else:
                outcome = await outcome_of(service.execute(commands[0]))
        finally:
            told = commands if is_basket else commands[:1]
            self.sent.append(Sent(told, is_basket, outcome, before, self.versions(), tuple(self.times[first:])))

    async def play(self, tasks: list[list[Any]], cancelled: int | None) -> None:
        services = [self.heap.open(self.store(), settings=self.settings) for _ in range(2)]
        for service in services:
            await service.__aenter__()
        for shelf in SHELVES:
            await self.send(_Calm(services[0], self.faults), (AddStock(inventory_id=shelf, command_id="opening", quantity=4),))
        async with anyio.create_task_group() as group:
            scopes = [anyio.CancelScope() for _ in tasks]
            for number, steps in enumerate(tasks):
                group.start_soon(self.task, services[number % 2], steps, scopes[number])
            if cancelled is not None:
                await turns(cancelled)
                scopes[0].cancel()
        self.faults.stop()
        assert [open_lanes(service) for service in services] == [0, 0]
        await self.check(services[1])

    def play_in_threads(self, tasks: list[list[Any]], interrupted: int | None) -> None:
        """Play as :meth:`play`, in a thread for each task. An interruption ends the thread that meets it in the store."""
        services = [self.heap.open(self.store(), settings=self.settings) for _ in range(2)]
        for service in services:
            run_to_end(service.__aenter__())
        for shelf in SHELVES:
            run_to_end(self.send(_Calm(services[0], self.faults), (AddStock(inventory_id=shelf, command_id="opening", quantity=4),)))
        self.interrupted_in = interrupted or 0

        def work(number: int) -> None:
            with suppress(KeyboardInterrupt):
                run_to_end(self.task(services[number % 2], tasks[number], nullcontext()))

        switching = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            together(len(tasks), work)
        finally:
            sys.setswitchinterval(switching)
        event("interrupted" if interrupted and not self.interrupted_in else "not interrupted")
        self.interrupted_in = 0
        self.faults.stop()
        assert [open_lanes(service) for service in services] == [0, 0]
        run_to_end(self.check(services[1]))

    async def check(self, service: Any) -> None:
        witness = await witness_of(service, SHELVES)
        for sent in self.sent:
            witness.check(sent)
        for before, version, after, on_hand, reserved in self.looks:
            assert before <= version <= after
            assert (on_hand, reserved) == (witness.states[SHELF][version].units_on_hand, witness.states[SHELF][version].units_reserved)
        await self.redeliver(service, witness)

    async def redeliver(self, service: Any, witness: "Witness") -> None:
        """Check P21 and P22: commands sent again, or misused, long after, with no due reservations left to close, change nothing."""
        self.heap.clock.advance(seconds(10_000))
        for shelf in SHELVES:
            await service.execute(ExpireReservations(inventory_id=shelf, command_id="the last sweep", limit=500))
        before = self.versions()
        accepted = [one for sent in self.sent for one in witness.accepted(sent)]
        for command, version in accepted:
            again = await service.execute(command)
            assert (again.replayed, again.version) == (True, version)
            if isinstance(command, AddStock | ReserveStock):
                misused = await outcome_of(service.execute(attrs.evolve(command, quantity=command.quantity + 1)))
                assert isinstance(misused, CommandIdReusedError | ReservationIdTakenError)
        assert self.versions() == before


class _Calm:
    """A service without faults."""

    def __init__(self, service: Any, faults: Faults) -> None:
        self._service, self._faults = service, faults

    async def execute(self, command: Command) -> Any:
        choose, self._faults._choose = self._faults._choose, lambda _operation, _number: None
        try:
            return await self._service.execute(command)
        finally:
            self._faults._choose = choose


_TASKS = st.lists(st.lists(_STEPS, min_size=3, max_size=6), min_size=3, max_size=5)


@pytest.mark.parametrize("lanes, poor", [(True, False), (False, False), (True, True), (False, True)])
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(tasks=_TASKS, seed=st.integers(0, 2**16), rate=st.sampled_from((0.0, 0.1, 0.3)), cancelled=st.none() | st.integers(0, 60))
def test_every_outcome_is_that_of_some_serial_order(
    lanes: bool, poor: bool, tasks: list[list[Any]], seed: int, rate: float, cancelled: int | None
) -> None:
    world = _World(seed, rate=rate, lanes=lanes, poor=poor)
    anyio.run(world.play, tasks, cancelled, backend="asyncio" if seed % 4 else "trio")


@pytest.mark.parametrize("lanes, poor", [(True, False), (False, False), (True, True), (False, True)])
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(tasks=_TASKS, seed=st.integers(0, 2**16), rate=st.sampled_from((0.0, 0.1, 0.3)), interrupted=st.none() | st.integers(1, 40))
def test_every_outcome_of_threads_is_that_of_some_serial_order(
    lanes: bool, poor: bool, tasks: list[list[Any]], seed: int, rate: float, interrupted: int | None
) -> None:
    _World(seed, rate=rate, lanes=lanes, poor=poor).play_in_threads(tasks, interrupted)


@pytest.mark.parametrize("lanes", [True, False])
@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), racers=st.integers(1, 12), units=st.integers(0, 8), rate=st.sampled_from((0.0, 0.2)))
def test_p28_exactly_as_many_win_as_there_are_units(lanes: bool, seed: int, racers: int, units: int, rate: float) -> None:
    async def case() -> None:
        world = _World(seed, rate=rate, lanes=lanes, poor=False)
        world.settings = quick(lanes=lanes, max_attempts=100)
        services = [world.heap.open(world.store(), settings=world.settings) for _ in range(3)]
        for service in services:
            await service.__aenter__()
        if units:
            await world.send(_Calm(services[0], world.faults), (AddStock(inventory_id=SHELF, command_id="opening", quantity=units),))
        outcomes: list[Any] = []

        async def race(number: int) -> None:
            command = ReserveStock(inventory_id=SHELF, reservation_id=f"R{number}", quantity=1, ttl=None)
            outcome: Any = AppendOutcomeUnknownError(store="test", reason="not sent yet")
            while isinstance(outcome, StoreUnavailableError | AppendOutcomeUnknownError):
                outcome = await outcome_of(services[number % 3].execute(command))
            outcomes.append(outcome)

        async with anyio.create_task_group() as tasks:
            for number in range(racers):
                tasks.start_soon(race, number)
        world.faults.stop()
        won = [one for one in outcomes if isinstance(one, Reservation)]
        assert len(won) == min(racers, units)
        assert {getattr(one, "code", None) for one in outcomes if one not in won} <= {"insufficient_stock"}
        assert len(await history(services[0])) == len(won) + bool(units)

    anyio.run(case, backend="asyncio" if seed % 4 else "trio")
