"""A store that fails: outcomes nobody knows, a store that is away, and who hears of it."""

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from inventory_es import InventoryService, open_inventory
from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.domain.commands import AddStock, ReserveStock
from inventory_es.domain.errors import InsufficientStockError, ReservationIdTakenError
from inventory_es.ports import AppendResult, StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError, EventIdCollisionError, StoreUnavailableError
from inventory_es.testing.faults import FaultKind, Faults, faulty_event_store
from tests.integration.command_side import (
    OTHER,
    SHELF,
    Gate,
    Heap,
    P,
    S,
    WatchedStore,
    behind,
    figures,
    history,
    opened,
    outcome_of,
    quick,
    seconds,
)

AWAY = StoreUnavailableError(store="test", reason="away")
UNKNOWN = AppendOutcomeUnknownError(store="test", reason="lost")


def _add(name: str, quantity: int = 1) -> AddStock:
    return AddStock(inventory_id=SHELF, command_id=name, quantity=quantity)


def _reserve(name: str, quantity: int = 1, inventory: Any = SHELF) -> ReserveStock:
    return ReserveStock(inventory_id=inventory, reservation_id=name, quantity=quantity, ttl=None)


class _Failing:
    """Fails the calls of some operations, before or after they are done, until it is mended."""

    def __init__(self, store: WatchedStore, **plan: tuple[str, Exception]) -> None:
        self._store, self._plan = store, plan
        self.mended = False
        store.before, store.after = self._before, self._after

    async def _before(self, operation: str) -> None:
        self._meet("before", operation)

    async def _after(self, operation: str) -> None:
        self._meet("after", operation)

    def _meet(self, when: str, operation: str) -> None:
        place, error = self._plan.get(operation, ("", AWAY))
        if place == when and not self.mended:
            raise error


@pytest.mark.parametrize("kind", ["fail_after", "drop", "duplicate"])
@pytest.mark.parametrize("lanes", [True, False])
def test_an_unknown_outcome_is_found_out_inside(backend: str, kind: FaultKind, lanes: bool) -> None:
    async def case() -> None:
        heap = Heap()
        faults = Faults.by_plan({"append": {2: kind, 4: kind}})
        store = faulty_event_store(heap.store(), faults)
        service = heap.open(store, settings=quick(lanes=lanes))
        async with opened(service):
            await service.add_stock(P, S, 5)
            minted = await service.add_stock(P, S, 5)
            assert (minted.version, minted.replayed, minted.on_hand) == (2, False, 10)
            named = await service.execute(_reserve("R1", 7))
            assert named.version == 3
            assert await figures(service) == (10, 7, 3)
            assert faults.injected
            assert isinstance(await outcome_of(service.execute(_reserve("R1", 6))), ReservationIdTakenError)
            assert (await service.execute(_reserve("R1", 7))).replayed
            assert len(await history(service)) == 3

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("is_stored", [True, False])
def test_unknown_and_then_away_for_a_while(backend: str, is_stored: bool) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            await service.add_stock(P, S, 5)
            left = {"append": 1, "read_stream": 4}

            async def fail(operation: str) -> None:
                if left.get(operation):
                    left[operation] -= 1
                    raise UNKNOWN if operation == "append" else AWAY

            if is_stored:
                store.after = fail
            else:
                store.before = fail
            outcome = await service.reserve(P, S, 5, ttl=None)
            assert (outcome.version, outcome.replayed) == (2, False)
            assert left == {"append": 0, "read_stream": 0}
            assert await figures(service) == (5, 5, 2)

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("is_stored", [True, False])
def test_unknown_for_ever_carries_the_command(backend: str, is_stored: bool) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            await service.add_stock(P, S, 5)
            failing = _Failing(store, append=("after" if is_stored else "before", UNKNOWN), read_stream=("before", AWAY))
            store.calls.clear()
            with pytest.raises(AppendOutcomeUnknownError) as unknown:
                await service.reserve(P, S, 4, ttl=None)
            assert store.count("append") == 1
            assert store.count("read_stream") == quick().max_attempts - 1
            assert isinstance(unknown.value.command, ReserveStock)
            failing.mended = True
            again = await service.execute(unknown.value.command)
            assert (again.version, again.replayed) == (2, is_stored)
            assert again.reservation_id == unknown.value.command.reservation_id
            assert await figures(service) == (5, 4, 2)

    anyio.run(case, backend=backend)


def test_away_is_told_at_once_and_nothing_is_written(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            await service.add_stock(P, S, 5)
            failing = _Failing(store, append=("before", AWAY))
            store.calls.clear()
            with pytest.raises(StoreUnavailableError):
                await service.add_stock(P, S, 1)
            assert store.count("append") == 1
            failing.mended = True
            assert await figures(service) == (5, 0, 1)

    anyio.run(case, backend=backend)


def test_what_stands_is_told_though_the_look_up_of_another_fails(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            gate = Gate()
            failing = _Failing(store, find_events=("before", AWAY))
            fail = store.before

            async def both(operation: str) -> None:
                await gate(operation)
                await fail(operation)

            store.before = both
            first, accepted, level, refused, late = await behind(
                gate,
                service.add_stock(P, S, 2),
                service.execute(_reserve("R1")),
                service.stock(P, S),
                service.execute(_reserve("R2", 5)),
                service.execute(_reserve("R3")),
            )
            assert (first.version, accepted.version, level.version, late.version) == (1, 2, 1, 3)
            assert isinstance(refused, StoreUnavailableError)
            failing.mended = True
            assert isinstance(await outcome_of(service.execute(_reserve("R2", 5))), InsufficientStockError)
            assert await figures(service) == (2, 2, 3)

    anyio.run(case, backend=backend)


def test_a_question_beside_an_unknown_outcome(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store, settings=quick(max_attempts=3))
        async with opened(service):
            gate = Gate()

            async def fail(operation: str) -> None:
                await gate(operation)
                if operation == "append":
                    raise UNKNOWN

            await service.add_stock(P, S, 2)
            store.before = fail
            first, lost, level = await behind(gate, service.add_stock(P, S, 2), service.execute(_reserve("R1")), service.stock(P, S))
            assert isinstance(first, AppendOutcomeUnknownError)
            assert isinstance(lost, AppendOutcomeUnknownError)
            assert lost.command == _reserve("R1")
            assert level.version == 1

    anyio.run(case, backend=backend)


def test_an_unknown_sweep_of_the_handlers_own(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store, settings=quick(expiry_chunk=2))
        async with opened(service):
            await service.add_stock(P, S, 5)
            for name in ("R1", "R2", "R3"):
                await service.reserve(P, S, 1, ttl=seconds(10), reservation_id=name)
            heap.clock.advance(seconds(10))
            failing = _Failing(store, append=("before", UNKNOWN))
            with pytest.raises(AppendOutcomeUnknownError) as unknown:
                await service.add_stock(P, S, 1)
            assert isinstance(unknown.value.command, AddStock)
            failing.mended = True
            store.calls.clear()
            left = [True]

            async def once(operation: str) -> None:
                if operation == "append" and left:
                    left.clear()
                    raise UNKNOWN

            store.after = once
            assert (await service.execute(unknown.value.command)).version == 8
            assert await figures(service) == (6, 0, 8)
            await history(service)

    anyio.run(case, backend=backend)


def test_an_id_that_somebody_else_has_stored(backend: str) -> None:
    """A collision that no look-up explains ends after the bounded attempts, and says what it is."""

    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store, settings=quick(max_attempts=3))
        async with opened(service):
            await service.add_stock(P, S, 5)
            collision = EventIdCollisionError(
                stream=SHELF.stream, event_id=(heap.log.read(SHELF.stream, 0, 1))[0].event_id, problem="is stored"
            )
            _Failing(store, append=("before", collision))
            store.calls.clear()
            assert isinstance(await outcome_of(service.add_stock(P, S, 1)), EventIdCollisionError)
            assert store.count("append") == 3

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("kind", ["fail_after", "drop"])
def test_lanes_that_share_a_commit_find_out_each_for_itself(backend: str, kind: FaultKind) -> None:
    async def case() -> None:
        heap = Heap()
        faults = Faults.by_plan({"append_group": {1: kind}})
        grouping = heap.store(group_commit=True)
        store: Any = faulty_event_store(grouping, faults)
        service = heap.open(store)
        async with opened(service):
            grouping.before = gate = Gate()
            outcomes = await behind(gate, *[service.add_stock(f"product {number}", S, 5) for number in range(6)])
            assert [one.version for one in outcomes] == [1] * 6
            assert not any(one.replayed for one in outcomes)
            assert [one.kind for one in faults.injected] == [kind]
            assert heap.log.head == 6

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("kind", ["fail_after", "drop", "duplicate"])
def test_a_basket_finds_out_too(backend: str, kind: FaultKind) -> None:
    async def case() -> None:
        heap = Heap()
        faults = Faults.by_plan({"append": {3: kind}})
        service = heap.open(faulty_event_store(heap.store(), faults))
        async with opened(service):
            await service.add_stock(P, S, 5)
            await service.add_stock(OTHER.product_id, S, 5)
            basket = [_reserve("o/1", 2), _reserve("o/2", 3, OTHER), _reserve("o/3", 3)]
            outcomes = await service.execute_all(basket)
            assert [one.version for one in outcomes] == [2, 2, 3]
            assert await figures(service) == (5, 5, 3)
            assert await figures(service, OTHER) == (5, 3, 2)
            assert [one.replayed for one in await service.execute_all(basket)] == [True] * 3
            assert faults.injected

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_basket_of_unknown_outcome_can_be_sent_again(backend: str, is_stored: bool) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store, settings=quick(max_attempts=3))
        async with opened(service):
            await service.add_stock(P, S, 5)
            failing = _Failing(
                store, append=("after" if is_stored else "before", UNKNOWN), read_stream=("before", AWAY), find_events=("before", AWAY)
            )
            basket = [_reserve("o/1", 2), _reserve("o/2", 3)]
            with pytest.raises(AppendOutcomeUnknownError):
                await service.execute_all(basket)
            failing.mended = True
            assert [one.replayed for one in await service.execute_all(basket)] == [is_stored] * 2
            assert await figures(service) == (5, 5, 3)

    anyio.run(case, backend=backend)


def test_a_writer_that_is_always_faster_starves_a_basket_into_an_error(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        a, b = heap.open(store, settings=quick(max_attempts=3)), heap.open()
        async with opened(a, b):

            async def intrude(operation: str) -> None:
                if operation == "append":
                    await b.add_stock(P, S, 1)

            store.before = intrude
            error = await outcome_of(a.execute_all([_add("one"), _reserve("two")]))
            assert getattr(error, "code", None) == "concurrency"
            assert store.count("append") == 3
            assert await figures(b) == (3, 0, 3)

    anyio.run(case, backend=backend)


def test_a_store_that_gives_no_outcome_is_told_so_at_once(backend: str) -> None:
    class Silent(MemoryEventStore):
        async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
            return None  # type: ignore[return-value]  # this is the fault

        async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
            return [None for _ in groups]  # type: ignore[misc]  # this is the fault

    async def case() -> None:
        async with open_inventory(Silent()) as service:
            with anyio.fail_after(30), pytest.raises(AssertionError, match="no outcome"):
                await service.add_stock(P, S, 1)
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(_expect_no_outcome, service)

    anyio.run(case, backend=backend)


async def _expect_no_outcome(service: InventoryService) -> None:
    with anyio.fail_after(30), pytest.raises(AssertionError, match="no outcome"):
        await service.add_stock(P, S, 1)
