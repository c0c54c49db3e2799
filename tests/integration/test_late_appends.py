"""A store that carries out an append after its caller heard that the outcome is unknown: nobody was told "no" before."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest

from inventory_es.domain.commands import CommitStock, ReserveStock
from inventory_es.domain.errors import CommandsRejectedError, ReservationExpiredError
from inventory_es.ports import AppendResult, StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, EventIdCollisionError, StoreUnavailableError
from tests.integration.command_side import OTHER, SHELF, Gate, Heap, P, S, WatchedStore, figures, history, opened, outcome_of, quick

TTL = timedelta(seconds=60)


class LateStore(WatchedStore):
    """Holds an append back, tells its caller that its outcome is unknown, and lets it arrive after some further calls.

    Attributes:
        holds: the next append is held back.
        calls_left: after how many further calls it arrives.
        arrived: what came of it.
    """

    holds = False
    calls_left = 1 << 30
    arrived: AppendResult | Exception | None = None
    _held: Sequence[StreamWrite] = ()

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        if self.holds:
            self.holds, self._held = False, writes
            raise AppendOutcomeUnknownError(store="LateStore", reason="no answer in time")
        return await super().append(writes)

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        if self.holds:
            self.holds, self._held = False, groups[0]
            raise AppendOutcomeUnknownError(store="LateStore", reason="no answer in time")
        return await super().append_group(groups)

    async def _call(self, operation: str, about: Any, call: Any) -> Any:
        answer = await super()._call(operation, about, call)
        self.calls_left -= 1
        if self._held and self.calls_left < 0:
            await self.arrive()
        return answer

    async def arrive(self) -> None:
        writes, self._held = self._held, ()
        if writes:
            try:
                self.arrived = await self.store.append(writes)
            except (ConcurrencyError, EventIdCollisionError) as problem:
                self.arrived = problem


class Clocks:
    """Seconds of a service, which go on where it sleeps."""

    def __init__(self, store: LateStore, arrives_at: float) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._store, self._arrives_at = store, arrives_at

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if seconds:
            self.slept.append(seconds)
        self.now += seconds
        if self.now >= self._arrives_at:
            await self._store.arrive()
        await anyio.lowlevel.checkpoint()


def _commit(name: str = "C1") -> CommitStock:
    return CommitStock(inventory_id=SHELF, command_id=name, reservation_id="R1", quantity=2)


async def _expiring(heap: Heap, service: Any, store: LateStore) -> None:
    """A reservation whose commit gets held back, and which is due when it is decided again."""
    await service.add_stock(P, S, 5)
    await service.execute(ReserveStock(inventory_id=SHELF, reservation_id="R1", quantity=2, ttl=TTL))
    store.holds = True

    async def age(operation: str) -> None:
        if operation == "find_events":
            heap.clock.advance(TTL)
            store.before = _nothing

    store.before = age


async def _nothing(_operation: str) -> None: ...


@asynccontextmanager
async def _opened(heap: Heap, store: LateStore, clocks: Clocks, **settings: Any) -> AsyncIterator[Any]:
    service = heap.open(store, settings=quick(**settings))
    async with opened(service):
        repository = service._opening.engine.handler._repository
        object.__setattr__(repository, "sleep", clocks.sleep)
        repository.unsettled._monotonic = clocks.monotonic
        yield service


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("arrives", [True, False])
def test_a_refusal_waits_until_the_append_is_settled(backend: str, lanes: bool, arrives: bool) -> None:
    async def case() -> None:
        heap = Heap()
        store = LateStore(heap.store(settles_within=5.0))
        clocks = Clocks(store, 4.0 if arrives else 1e9)
        async with _opened(heap, store, clocks, lanes=lanes) as service:
            await _expiring(heap, service, store)
            outcome = await outcome_of(service.execute(_commit()))
            if arrives:
                assert (outcome.replayed, outcome.version) == (True, 3)
                assert await figures(service) == (3, 0, 3)
            else:
                assert isinstance(outcome, ReservationExpiredError)
                assert [entry.version for entry in await history(service)] == [1, 2]
            assert sum(clocks.slept) == pytest.approx(5.0)

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("settles_within", [None, 30.0])
def test_what_is_not_settled_in_time_stays_unknown(backend: str, settles_within: float | None) -> None:
    async def case() -> None:
        heap = Heap()
        store = LateStore(heap.store(settles_within=settles_within))
        clocks = Clocks(store, 1e9)
        async with _opened(heap, store, clocks) as service:
            await _expiring(heap, service, store)
            for _ in range(2):
                with pytest.raises(AppendOutcomeUnknownError) as unknown:
                    await service.execute(_commit())
                assert unknown.value.command == _commit()
                assert unknown.value.retry_after == settles_within
                assert not clocks.slept
            await store.arrive()
            found = await service.execute(_commit())
            assert (found.replayed, found.version) == (True, 3)

    anyio.run(case, backend=backend)


def test_once_the_time_has_passed_the_refusal_is_told(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = LateStore(heap.store(settles_within=30.0))
        clocks = Clocks(store, 1e9)
        async with _opened(heap, store, clocks) as service:
            await _expiring(heap, service, store)
            with pytest.raises(AppendOutcomeUnknownError):
                await service.execute(_commit())
            clocks.now += 30.0
            with pytest.raises(ReservationExpiredError):
                await service.execute(_commit())
            assert not service._opening.engine.handler._repository.unsettled.appends

    anyio.run(case, backend=backend)


def test_once_its_stream_has_moved_an_append_takes_effect_no_more(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = LateStore(heap.store(settles_within=None))
        clocks = Clocks(store, 1e9)
        async with _opened(heap, store, clocks) as service:
            await _expiring(heap, service, store)
            with pytest.raises(AppendOutcomeUnknownError):
                await service.execute(_commit())
            await service.add_stock(P, S, 1)
            with pytest.raises(ReservationExpiredError):
                await service.execute(_commit())
            await store.arrive()
            assert isinstance(store.arrived, ConcurrencyError)
            assert not service._opening.engine.handler._repository.unsettled.appends

    anyio.run(case, backend=backend)


def test_a_store_that_is_away_after_an_unknown_outcome_leaves_it_unknown(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = LateStore(heap.store(settles_within=5.0))
        clocks = Clocks(store, 1e9)
        async with _opened(heap, store, clocks) as service:
            await _expiring(heap, service, store)

            async def away(operation: str) -> None:
                if operation == "read_stream":
                    raise StoreUnavailableError(store="LateStore", reason="away")

            store.before = away
            with pytest.raises(AppendOutcomeUnknownError) as unknown:
                await service.execute(_commit())
            assert unknown.value.retry_after == 5.0
            store.before = _nothing
            heap.clock.advance(TTL)
            clocks._arrives_at = 3.0
            found = await service.execute(_commit())
            assert found.replayed

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("settles_within", [None, 5.0])
@pytest.mark.parametrize("arrives", [True, False])
def test_a_basket_is_not_refused_before_its_append_is_settled(backend: str, settles_within: float | None, arrives: bool) -> None:
    async def case() -> None:
        heap = Heap()
        store = LateStore(heap.store(settles_within=settles_within))
        clocks = Clocks(store, 4.0 if arrives else 1e9)
        basket = [_commit(), ReserveStock(inventory_id=OTHER, reservation_id="R2", quantity=1, ttl=None)]
        async with _opened(heap, store, clocks) as service:
            await service.add_stock(OTHER.product_id, OTHER.store_id, 5)
            await _expiring(heap, service, store)
            outcome = await outcome_of(service.execute_all(basket))
            if settles_within is None:
                assert isinstance(outcome, AppendOutcomeUnknownError)
                assert isinstance(await outcome_of(service.execute(basket[0])), AppendOutcomeUnknownError)
                await service.add_stock(OTHER.product_id, OTHER.store_id, 1)
                assert isinstance(await outcome_of(service.execute_all(basket)), CommandsRejectedError)
                assert isinstance(await outcome_of(service.execute(basket[0])), ReservationExpiredError)
            elif arrives:
                assert [one.replayed for one in outcome] == [True, True]
            else:
                assert isinstance(outcome, CommandsRejectedError)
                assert outcome.indexes == (0,)

    anyio.run(case, backend=backend)


def test_an_interrupted_append_is_not_refused_before_it_is_settled() -> None:
    """Asyncio's own cancellation interrupts the task that carries an append, whatever shields it has."""
    import asyncio

    async def case() -> None:
        heap = Heap()
        store = LateStore(heap.store(settles_within=5.0))
        clocks = Clocks(store, 2.0)
        async with _opened(heap, store, clocks) as service:
            await service.add_stock(P, S, 5)
            await service.execute(ReserveStock(inventory_id=SHELF, reservation_id="R1", quantity=2, ttl=TTL))
            reached = asyncio.Event()

            async def hang(writes: Sequence[StreamWrite]) -> AppendResult:
                store._held = writes
                del store.append
                reached.set()
                await asyncio.sleep(3600)
                raise AssertionError

            store.append = hang  # type: ignore[method-assign]
            task = asyncio.create_task(service.execute(_commit()))
            await reached.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            heap.clock.advance(TTL)
            found = await service.execute(_commit())
            assert found.replayed

    asyncio.run(case())


@pytest.mark.parametrize("arrives", [True, False])
def test_a_group_is_settled_for_each_of_its_lanes(backend: str, arrives: bool) -> None:
    async def case() -> None:
        heap = Heap()
        store = LateStore(heap.store(), settles_within=5.0, group_commit=True)
        clocks = Clocks(store, 4.0 if arrives else 1e9)
        async with _opened(heap, store, clocks) as service:
            await _expiring(heap, service, store)
            outcome = await outcome_of(service.execute(_commit()))
            assert isinstance(outcome, ReservationExpiredError) is not arrives
            assert sum(clocks.slept) == pytest.approx(5.0)

    anyio.run(case, backend=backend)


def test_what_is_accepted_beside_it_settles_it_at_once(backend: str) -> None:
    """An append at the version that the late one expects takes its place: one of the two is refused by the store."""

    async def case() -> None:
        heap = Heap()
        store = LateStore(heap.store(settles_within=None))
        clocks = Clocks(store, 1e9)
        async with _opened(heap, store, clocks) as service:
            await service.add_stock(P, S, 5)
            await service.execute(ReserveStock(inventory_id=SHELF, reservation_id="R1", quantity=2, ttl=TTL))
            gate = Gate("find_events")
            store.holds = True
            store.before = gate
            outcomes: dict[str, Any] = {}

            async def send(name: str, command: Any) -> None:
                outcomes[name] = await outcome_of(service.execute(command))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(send, "both", _commit())
                tasks.start_soon(send, "other", ReserveStock(inventory_id=SHELF, reservation_id="R2", quantity=1, ttl=None))
                await gate.reached.wait()
                heap.clock.advance(TTL)
                gate.opened.set()
            assert outcomes["other"].version
            if isinstance(outcomes["both"], AppendOutcomeUnknownError):  # they were not served together
                outcomes["both"] = await outcome_of(service.execute(_commit()))
            assert isinstance(outcomes["both"], ReservationExpiredError)
            await store.arrive()
            assert isinstance(store.arrived, ConcurrencyError | EventIdCollisionError)

    anyio.run(case, backend=backend)
