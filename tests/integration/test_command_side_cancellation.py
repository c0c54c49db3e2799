"""Callers that are cancelled at every await point, by a scope and by asyncio itself: the others are served, the lanes are free."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import pytest

from inventory_es.application.commands.batching import Batcher, Callers, Item
from inventory_es.application.commands.waiting import TaskWaiting
from inventory_es.domain.commands import ReserveStock
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports.errors import AppendOutcomeUnknownError, StoreUnavailableError
from tests.integration.command_side import (
    OTHER,
    SHELF,
    Gate,
    Heap,
    P,
    PlainStore,
    S,
    WatchedStore,
    figures,
    history,
    open_lanes,
    opened,
    outcome_of,
    quick,
    turns,
)

CALLERS = 5


def _reserve(number: int, inventory: Any = SHELF) -> ReserveStock:
    return ReserveStock(inventory_id=inventory, reservation_id=f"R{number}", quantity=1, ttl=None)


class _Cancelling:
    """Cancels one caller when the store is called for the n-th time, before or after the call is done, and lets the others run."""

    def __init__(self, number: int, cancel: Callable[[], object]) -> None:
        self._number = number
        self._cancel = cancel
        self.happened = False

    async def __call__(self, _operation: str) -> None:
        self._number -= 1
        is_it = self._number == 0
        await turns(2)
        if is_it:
            self.happened = True
            self._cancel()
            await turns(3)


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("victim", [0, 1, CALLERS - 1])
def test_one_of_several_callers_is_cancelled_anywhere(backend: str, victim: int, when: str, lanes: bool) -> None:
    async def once(point: int) -> bool:
        heap = Heap()
        store = heap.store()
        service = heap.open(store, settings=quick(lanes=lanes, max_batch=3))
        async with opened(service):
            await service.add_stock(P, S, 3)
            scopes = [anyio.CancelScope() for _ in range(CALLERS)]
            outcomes: dict[int, Any] = {}
            cancelling = _Cancelling(point, scopes[victim].cancel)
            setattr(store, when, cancelling)

            async def call(number: int) -> None:
                with scopes[number]:
                    outcomes[number] = await outcome_of(service.execute(_reserve(number)))

            async with anyio.create_task_group() as tasks:
                for number in range(CALLERS):
                    tasks.start_soon(call, number)
            store.before = store.after = turns_once
            assert open_lanes(service) == 0
            assert outcomes.keys() >= set(range(CALLERS)) - {victim}
            won = {number for number, outcome in outcomes.items() if not isinstance(outcome, Exception)}
            names = {one.event.reservation_id for one in (await history(service))[1:]}  # type: ignore[union-attr]  # reservations only
            assert {f"R{number}" for number in won} <= names <= {f"R{number}" for number in {*won, victim}}
            assert {type(outcome).__name__ for outcome in outcomes.values()} <= {"Reservation", "InsufficientStockError"}
            assert len(names) == 3
            again = await outcome_of(service.execute(_reserve(victim)))
            assert getattr(again, "replayed", False) == (f"R{victim}" in names)
            assert await figures(service) == (3, 3, 4)
        return cancelling.happened

    async def case() -> None:
        point = 1
        while await once(point):
            point += 1
        assert point > 2

    anyio.run(case, backend=backend)


async def turns_once(_operation: str) -> None: ...


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("victim", [0, 1, 2, CALLERS - 1])
@pytest.mark.parametrize("by_scope", [True, False])
def test_one_of_several_lanes_that_share_commits_is_cancelled_anywhere(backend: str, victim: int, when: str, by_scope: bool) -> None:
    """Each caller has a lane of its own, so whoever is cancelled leads a lane, and waits for a commit or carries it."""
    if backend == "trio" and not by_scope:
        return  # trio has no other cancellation

    async def once(point: int) -> bool:
        heap = Heap()
        store = heap.store(group_commit=True)
        service = heap.open(store)
        shelves = [InventoryId(f"p{number}", S) for number in range(CALLERS)]
        async with opened(service):
            for shelf in shelves:
                await service.add_stock(shelf.product_id, S, 1)
            outcomes: dict[int, Any] = {}
            cancels: dict[int, Callable[[], object]] = {}

            async def call(number: int) -> None:
                with anyio.CancelScope() as scope:
                    cancels[number] = scope.cancel if by_scope else asyncio.current_task().cancel  # type: ignore[union-attr]  # there is one
                    try:
                        outcomes[number] = await outcome_of(service.execute(_reserve(number, shelves[number])))
                    except asyncio.CancelledError:
                        if by_scope:
                            raise

            def cancel() -> object:
                return cancels[victim]() if victim in cancels else None

            cancelling = _Cancelling(point, cancel)
            async with anyio.create_task_group() as tasks:
                for number in range(CALLERS):
                    tasks.start_soon(call, number)
                await turns(1)
                setattr(store, when, cancelling)
            store.before = store.after = turns_once
            assert open_lanes(service) == 0
            assert {number for number, outcome in outcomes.items() if not isinstance(outcome, Exception)} >= set(range(CALLERS)) - {victim}
            for number, shelf in enumerate(shelves):
                again = await service.execute(_reserve(number, shelf))
                assert again.replayed or number == victim
                assert await figures(service, shelf) == (1, 1, 2)
            loads = store.calls.count(("read_stream", 0))
            assert loads == CALLERS if by_scope else loads >= CALLERS, "who is cancelled by a scope leaves a state that others go on with"
        return cancelling.happened

    async def case() -> None:
        point = 1
        while await once(point):
            point += 1
        assert point > 1

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("group_commit", [True, False])
def test_asyncio_cancels_a_task_anywhere(victim: int, when: str, group_commit: bool) -> None:
    """asyncio's own cancellation passes every shield: what the leader left unserved, another one serves."""

    async def once(point: int) -> bool:
        heap = Heap()
        store = heap.store(group_commit=group_commit)
        service = heap.open(store)
        async with opened(service):
            await service.add_stock(P, S, CALLERS - 1)
            elsewhere = asyncio.create_task(service.execute(_reserve(0, OTHER)))
            tasks = [asyncio.create_task(outcome_of(service.execute(_reserve(number)))) for number in range(CALLERS)]
            cancelling = _Cancelling(point, tasks[victim].cancel)
            setattr(store, when, cancelling)
            outcomes: list[Any] = await asyncio.gather(*tasks, elsewhere, return_exceptions=True)
            store.before = store.after = turns_once
            assert open_lanes(service) == 0
            assert getattr(outcomes.pop(), "code", None) == "insufficient_stock"
            others = [outcome for number, outcome in enumerate(outcomes) if number != victim]
            assert {type(outcome).__name__ for outcome in others} <= {"Reservation", "InsufficientStockError"}
            names = {one.event.reservation_id for one in (await history(service))[1:]}  # type: ignore[union-attr]  # reservations only
            told = {outcome.reservation_id for outcome in outcomes if hasattr(outcome, "reservation_id")}
            assert told <= names <= {*told, f"R{victim}"}
            assert len(names) == CALLERS - 1
        return cancelling.happened

    async def case() -> None:
        point = 1
        while await once(point):
            point += 1
        assert point > 2

    anyio.run(case, backend="asyncio")


def test_asyncio_cancels_the_one_that_carries_the_commit_of_others() -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store(group_commit=True)
        service = heap.open(store)
        async with opened(service):
            await service.add_stock("first", S, 1)
            held, gate = Gate(), Gate("append_group")

            async def both(operation: str) -> None:
                await held(operation)
                await gate(operation)

            store.before = both
            calls = [asyncio.create_task(outcome_of(service.add_stock(name, S, 1))) for name in ("first", "a", "b", "c")]
            await turns(10)
            held.opened.set()
            await gate.reached.wait()
            calls[1].cancel()
            await turns(3)
            gate.opened.set()
            outcomes: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(outcomes[1], asyncio.CancelledError)
            assert [outcomes[number].version for number in (0, 2, 3)] == [2, 1, 1]
            assert [(await service.stock(name, S)).on_hand for name in ("first", "b", "c")] == [2, 1, 1]

    anyio.run(case, backend="asyncio")


def test_asyncio_cancels_one_whose_followers_then_meet_an_absent_store() -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store, settings=quick(max_attempts=2))
        async with opened(service):
            await service.add_stock(P, S, 3)
            store.after = gate = Gate()
            leader = asyncio.create_task(outcome_of(service.execute(_reserve(0))))
            await gate.reached.wait()
            others = [asyncio.create_task(outcome_of(service.execute(_reserve(number)))) for number in (1, 2)]
            await turns(3)
            store.after = second = Gate()
            gate.opened.set()
            await second.reached.wait()

            async def fail(_operation: str) -> None:
                raise StoreUnavailableError(store="test", reason="away")

            store.before = fail
            others[0].cancel()
            outcomes: list[Any] = await asyncio.gather(leader, *others, return_exceptions=True)
            assert outcomes[0].version == 2
            assert isinstance(outcomes[1], asyncio.CancelledError)
            assert isinstance(outcomes[2], AppendOutcomeUnknownError)
            assert outcomes[2].command == _reserve(2)
            store.before = store.after = turns_once
            assert (await service.execute(_reserve(2))).replayed
            assert (await service.execute(_reserve(1))).replayed

    anyio.run(case, backend="asyncio")


def test_a_basket_is_cancelled_while_it_enters_its_lanes(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store, records = heap.store(), []

        class Watcher:
            def command_finished(self, record: Any) -> None:
                records.append((record.command_id, record.outcome, record.error))

        service = heap.open(store, observers=[Watcher()])
        async with opened(service):
            await service.add_stock(P, S, 5)
            store.before = gate = Gate()
            scope = anyio.CancelScope()

            async def basket() -> None:
                with scope:
                    await service.execute_all([_reserve(1, OTHER), _reserve(2)])

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(service.execute, _reserve(0))
                await gate.reached.wait()
                tasks.start_soon(basket)
                await turns(5)
                assert open_lanes(service) == (2 if OTHER.stream < SHELF.stream else 1)
                tasks.start_soon(service.execute, _reserve(3))
                await turns(5)
                scope.cancel()
                await turns(5)
                assert open_lanes(service) == 1
                gate.opened.set()
            assert open_lanes(service) == 0
            assert await figures(service) == (5, 2, 3)
            assert await figures(service, OTHER) == (0, 0, 0)
            assert ("R1", "failed", "cancelled") in records
            assert ("R2", "failed", "cancelled") in records

    anyio.run(case, backend=backend)


def test_a_lead_that_was_handed_to_a_cancelled_caller_goes_on(backend: str) -> None:
    async def case() -> None:
        batcher: Batcher[Item] = Batcher(Callers(TaskWaiting()))
        first_may_end = anyio.Event()
        scope = anyio.CancelScope()
        first, gone, last = Item(), Item(), Item()

        async def serve(batch: Sequence[Item]) -> None:
            if batch[0] is first:
                await first_may_end.wait()
            for one in batch:
                one.outcome = "served"

        async def submit(item: Item) -> None:
            await batcher.submit(item, serve, 1)

        async def leave() -> None:
            with scope:
                await submit(gone)

        async def submit_first() -> None:
            await submit(first)  # the lead is handed over at its end
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(submit_first)
            await turns(2)
            tasks.start_soon(leave)
            await turns(2)
            tasks.start_soon(submit, last)
            await turns(2)
            first_may_end.set()
        assert last.outcome == "served"
        assert len(batcher.queue) == 0
        again = Item()
        await submit(again)
        assert again.outcome == "served"

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("poor", [False, True], ids=["ids for ever", "ids at their versions"])
def test_a_minted_command_is_not_stored_twice_when_a_leader_was_interrupted(poor: bool) -> None:
    async def case() -> None:
        heap = Heap()
        store = WatchedStore(PlainStore()) if poor else heap.store()
        service = heap.open(store)
        async with opened(service):
            store.before = first = Gate()
            opening = asyncio.create_task(outcome_of(service.add_stock(P, S, 1)))
            await first.reached.wait()
            calls = [asyncio.create_task(outcome_of(service.add_stock(P, S, 10))) for _ in range(3)]
            await turns(3)
            store.after = second = Gate("append", 2)
            first.opened.set()
            await second.reached.wait()
            calls[0].cancel()
            outcomes: list[Any] = await asyncio.gather(opening, *calls, return_exceptions=True)
            assert [getattr(one, "version", None) for one in outcomes] == [1, None, 3, 4]
            assert await figures(service) == (31, 0, 4)

    anyio.run(case, backend="asyncio")


def test_a_leader_that_is_cancelled_still_serves_its_batch(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            await service.add_stock(P, S, 3)
            store.before = gate = Gate()
            scope = anyio.CancelScope()

            async def leave() -> None:
                with scope:
                    await service.execute(_reserve(0))

            before = store.count("append")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(leave)
                await gate.reached.wait()
                tasks.start_soon(service.execute, _reserve(1))
                await turns(3)
                scope.cancel()
                await turns(3)
                gate.opened.set()
            assert store.count("append") - before == 2
            assert await figures(service) == (3, 2, 3)
            assert (await service.execute(_reserve(0))).replayed

    anyio.run(case, backend=backend)
