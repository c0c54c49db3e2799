"""Any concurrent program: commands and baskets on few inventories, through several services over one log, with faults and cancellations.

Some serial order must explain every outcome, and it must respect the order of calls that did not overlap. The log fixes the order of the
accepted commands. Each of them must be decided as the domain decides it on the state before it. A refusal or a no-op must be what the
domain decides on some state between the call and its answer.
"""

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from inventory_es.application.results import CommandResult, Reservation
from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.commands import (
    AddStock,
    AdjustStock,
    Command,
    CommitStock,
    ConfirmReservation,
    ExpireReservations,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)
from inventory_es.domain.errors import CommandIdReusedError, CommandsRejectedError, RejectionError, ReservationIdTakenError
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import AdjustReason, Remainder, Shortfall
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError
from inventory_es.ports.toolkit.waiting import STATE_LOCK, run_to_end
from inventory_es.testing.faults import Faults, faulty_event_store
from tests.integration.command_side import (
    OTHER,
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

SHELVES = (SHELF, OTHER)
KINDS = 10
_SMALL = st.integers(0, 3)
_COMMANDS = st.tuples(st.integers(0, KINDS - 1), st.integers(0, 4), _SMALL, st.booleans())
_LINES = st.lists(_COMMANDS, min_size=1, max_size=3)
_STEPS = st.one_of(_LINES.filter(lambda lines: len(lines) == 1), _LINES, st.sampled_from((1.0, 30.0)), st.just("look"))


@attrs.frozen
class Sent:
    """A command or a basket, its outcome, and the states and times in between.

    Attributes:
        commands: one command, or the lines of a basket.
        is_basket: True if the commands were sent together.
        outcome: the outcome of all commands; ``None`` if the caller was cancelled.
        before: versions of the streams when the commands were sent.
        after: versions of the streams when the answer came.
        times: times of the clock in between.
    """

    commands: tuple[Command, ...]
    is_basket: bool
    outcome: Any
    before: dict[InventoryId, int]
    after: dict[InventoryId, int]
    times: tuple[datetime, ...]


def _command(kind: int, name: int, units: int, other: bool) -> Command:
    """Draw a command with few ids and few quantities, so that commands meet. An id may have another payload elsewhere in the program."""
    shelf, held = SHELVES[other], f"R{name}"
    named: dict[str, Any] = {"inventory_id": shelf, "command_id": f"c{kind}/{name}"}
    match kind:
        case 0 | 1 | 2:
            return ReserveStock(inventory_id=shelf, reservation_id=held, quantity=units % 2 + 1, ttl=(None, seconds(30))[kind % 2])
        case 3:
            return AddStock(**named, quantity=units + 1)
        case 4:
            return CommitStock(**named, reservation_id=held, quantity=1, remainder=(Remainder.KEEP, Remainder.RELEASE)[units % 2])
        case 5:
            return ReleaseStock(**named, reservation_id=held)
        case 6:
            return ConfirmReservation(**named, reservation_id=held)
        case 7:
            return AdjustStock(**named, delta=-units - 1, reason=AdjustReason.LOSS, shortfall=(Shortfall.BUMP, Shortfall.REJECT)[units % 2])
        case 8:
            return RecordCount(**named, counted=units, observed_version=name, shortfall=Shortfall.BUMP)
        case _:
            return ExpireReservations(**named, limit=units + 1)


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
                    await self.send(service, tuple(_command(*one) for one in step))

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
        logs = {shelf: await history(service, shelf) for shelf in SHELVES}
        states = {shelf: list(_states(shelf, logs[shelf])) for shelf in SHELVES}
        witness = _Witness(logs, states, await self._owners(service))
        for sent in self.sent:
            witness.check(sent)
        for before, version, after, on_hand, reserved in self.looks:
            assert before <= version <= after
            assert (on_hand, reserved) == (states[SHELF][version].units_on_hand, states[SHELF][version].units_reserved)
        await self.redeliver(service, witness)

    async def _owners(self, service: Any) -> dict[InventoryId, dict[int, Any]]:
        return {shelf: {entry.version: entry async for entry in service.history(shelf.product_id, shelf.store_id)} for shelf in SHELVES}

    async def redeliver(self, service: Any, witness: "_Witness") -> None:
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


def _states(shelf: InventoryId, log: list[Recorded]) -> Iterator[Inventory]:
    inventory = Inventory(shelf)
    yield Inventory.from_snapshot(inventory.snapshot())
    for recorded in log:
        inventory.apply(recorded)
        yield Inventory.from_snapshot(inventory.snapshot())


@attrs.define
class _Witness:
    logs: dict[InventoryId, list[Recorded]]
    states: dict[InventoryId, list[Inventory]]
    stored: dict[InventoryId, dict[int, Any]]
    _accepted: set[UUID] = attrs.field(factory=set)

    def check(self, sent: Sent) -> None:
        outcome = sent.outcome
        event(type(outcome).__name__ + (" of a basket" if sent.is_basket else ""))
        if outcome is None or isinstance(outcome, AppendOutcomeUnknownError):
            return
        if isinstance(outcome, CommandsRejectedError):
            self._whole_basket_refused(sent, outcome)
        elif sent.is_basket and type(outcome) is ValueError:
            assert any(isinstance(one, RecordCount) for one in sent.commands), outcome
        elif isinstance(outcome, Exception):
            self._refused(sent, sent.commands[0], outcome)
        else:
            for command, one in zip(sent.commands, outcome if sent.is_basket else [outcome], strict=True):
                self._told(sent, command, one)

    def accepted(self, sent: Sent) -> Iterator[tuple[Command, int]]:
        outcomes = sent.outcome if isinstance(sent.outcome, list) else [sent.outcome]
        for command, one in zip(sent.commands, outcomes, strict=False):
            if isinstance(one, Reservation) or (isinstance(one, CommandResult) and one.changed):
                yield command, one.version

    def _told(self, sent: Sent, command: Command, told: CommandResult | Reservation) -> None:
        shelf = command.inventory_id
        if isinstance(told, CommandResult) and not told.changed:
            assert sent.before[shelf] <= told.version or sent.is_basket
            assert any(self._is_no_op(command, version, at) for version in self._span(sent, shelf) for at in sent.times)
            return
        first = EventIds(shelf.stream).first_own(command)
        mine = [entry.version for entry in self.stored[shelf].values() if entry.metadata.command_id == command.command_id]
        own = next(version for version, entry in self.stored[shelf].items() if entry.event_id == str(first))
        start = own
        while start - 1 in mine and self.stored[shelf][start - 1].event_id != str(first):
            start -= 1
        assert told.version <= sent.after[shelf]
        assert told.replayed or told.version > sent.before[shelf]
        assert told.replayed or first not in self._accepted
        if not told.replayed:
            self._accepted.add(first)
        events = [recorded.event for recorded in self.logs[shelf][start - 1 : told.version]]
        assert list(self._decide(command, start - 1, self.logs[shelf][own - 1].recorded_at)) == events

    def _refused(self, sent: Sent, command: Command, error: Exception) -> None:
        shelf = command.inventory_id
        if isinstance(error, ConcurrencyError | StoreUnavailableError):
            return
        assert isinstance(error, RejectionError | ValueError), error
        if isinstance(error, CommandIdReusedError | ReservationIdTakenError):
            assert str(EventIds(shelf.stream).first_own(command)) in {entry.event_id for entry in self.stored[shelf].values()}
            return
        assert any(self._is_refusal(command, version, at, error) for version in self._span(sent, shelf) for at in sent.times), error

    def _whole_basket_refused(self, sent: Sent, error: CommandsRejectedError) -> None:
        """Check the first refused line per inventory. No refused line is before it, so it met some state plus the lines before."""
        assert list(error.indexes) == sorted(set(error.indexes))
        assert set(error.indexes) <= set(range(len(sent.commands)))
        for index, why in zip(error.indexes, error.rejections, strict=True):
            if not any(one.inventory_id == sent.commands[index].inventory_id for one in sent.commands[:index]):
                self._refused(sent, sent.commands[index], why)

    def _span(self, sent: Sent, shelf: InventoryId) -> range:
        return range(sent.before[shelf], sent.after[shelf] + 1)

    def _decide(self, command: Command, version: int, at: datetime) -> Any:
        observed = None
        state = self.states[command.inventory_id][version]
        if isinstance(command, RecordCount) and command.observed_version <= version:
            observed = self.states[command.inventory_id][command.observed_version].units_on_hand
        return state.decide(command, at=max(at, state.last_time or at), observed_on_hand=observed)

    def _is_no_op(self, command: Command, version: int, at: datetime) -> bool:
        try:
            return not self._decide(command, version, at)
        except (RejectionError, ValueError):
            return False

    def _is_refusal(self, command: Command, version: int, at: datetime, error: Exception) -> bool:
        try:
            self._decide(command, version, at)
        except (RejectionError, ValueError) as mine:
            return type(mine) is type(error) and (not isinstance(mine, RejectionError) or mine == error)
        return False


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
