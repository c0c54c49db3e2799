"""Several processes that want one shelf: who loses race after race decides again in a turn of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.application.commands.group_commit import QUIET_TURNS
from inventory_es.domain.commands import AddStock
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import ConcurrencyError, StoreUnavailableError
from tests.integration.command_side import OTHER, SHELF, Gate, Heap, P, S, WatchedStore, figures, nothing, opened, outcome_of, quick


class TurnStore(WatchedStore):
    """Gives turns, and lists them."""

    @asynccontextmanager
    async def turn(self, *_: StreamId) -> AsyncIterator[None]:
        self.calls.append(("turn", None))
        await self.before("turn")
        try:
            yield
        finally:
            self.calls.append(("left", None))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


def turn_store(heap: Heap) -> TurnStore:
    return TurnStore(MemoryEventStore(heap.log))


def _add(name: str) -> AddStock:
    return AddStock(inventory_id=SHELF, command_id=name, quantity=1)


@pytest.mark.parametrize("lanes", [True, False])
def test_who_lost_three_races_decides_again_in_a_turn(backend: str, lanes: bool) -> None:
    async def case() -> None:
        heap = Heap()
        store = turn_store(heap)
        a, b = heap.open(store, settings=quick(lanes=lanes)), heap.open()
        async with opened(a, b):
            await a.add_stock(P, S, 1)

            async def intrude(operation: str) -> None:
                if operation == "append" and store.names.count("append") <= 3:
                    await b.add_stock(P, S, 1)

            store.before = intrude
            for _ in range(2):
                store.calls.clear()
                await a.add_stock(P, S, 1)
                assert store.names == [*["append", "read_stream"] * 2, "append", "turn", "read_stream", "append", "left"]
            store.before = nothing
            store.calls.clear()
            await a.add_stock(P, S, 1)
            assert store.names == ["append"]
            assert await figures(a) == (10, 0, 10)

    anyio.run(case, backend=backend)


def test_the_last_attempt_has_a_turn_and_may_be_lost_as_any_other(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = turn_store(heap)
        a, b = heap.open(store, settings=quick(max_attempts=2)), heap.open()
        async with opened(a, b):
            await a.add_stock(P, S, 1)

            async def intrude(operation: str) -> None:
                if operation == "append":
                    await b.add_stock(P, S, 1)

            store.before = intrude
            store.calls.clear()
            with pytest.raises(ConcurrencyError):
                await a.execute(_add("late"))
            assert store.names == ["append", "turn", "read_stream", "find_events", "append", "left"]
            store.before = nothing
            assert (await a.execute(_add("late"))).version == 4

    anyio.run(case, backend=backend)


def test_who_may_not_try_again_takes_no_turn(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = turn_store(heap)
        a, b = heap.open(store, settings=quick(max_attempts=1)), heap.open()
        async with opened(a, b):
            await a.add_stock(P, S, 1)
            await b.add_stock(P, S, 1)
            with pytest.raises(ConcurrencyError):
                await a.add_stock(P, S, 1)
            assert "turn" not in store.names

    anyio.run(case, backend=backend)


def test_a_basket_takes_turns_too_and_reads_in_them(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = turn_store(heap)
        a, b = heap.open(store), heap.open()
        other = AddStock(inventory_id=OTHER, command_id="other", quantity=1)
        async with opened(a, b):
            await a.execute_all([_add("one"), attrs.evolve(other, command_id="two")])

            async def intrude(operation: str) -> None:
                if operation == "turn" or (operation == "append" and store.names.count("append") <= 3):
                    await b.add_stock(P, S, 1)

            store.before = intrude
            store.calls.clear()
            await a.execute_all([_add("three"), other])
            assert [name for name in store.names if name not in {"read_stream", "find_events"}] == ["append"] * 3 + [
                "turn",
                "append",
                "left",
            ]
            assert "read_stream" in store.names[store.names.index("turn") : store.names.index("left")]
            assert await figures(a) == (6, 0, 6)
            assert await figures(a, OTHER) == (2, 0, 2)

    anyio.run(case, backend=backend)


def test_a_store_that_is_away_is_no_reason_for_a_turn(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = turn_store(heap)
        a, b = heap.open(store, settings=quick(max_attempts=2)), heap.open()
        async with opened(a, b):
            await a.add_stock(P, S, 1)
            await b.add_stock(P, S, 1)

            async def fail(operation: str) -> None:
                if operation == "append" and store.names.count("append") == 2:
                    raise StoreUnavailableError(store="test", reason="it is away")

            store.before = fail
            store.calls.clear()
            assert isinstance(await outcome_of(a.add_stock(P, S, 1)), StoreUnavailableError)
            assert store.names == ["append", "turn", "read_stream", "append", "left"]
            store.before = nothing
            store.calls.clear()
            await a.add_stock(P, S, 1)
            assert store.names == ["append"]

    anyio.run(case, backend=backend)


def test_who_is_cancelled_while_waiting_for_a_turn_serves_the_others_first(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = turn_store(heap)
        a, b = heap.open(store, settings=quick(max_attempts=2)), heap.open()
        async with opened(a, b):
            await a.add_stock(P, S, 1)
            await b.add_stock(P, S, 1)
            store.before = gate = Gate("turn")
            outcomes: list[Any] = []
            leader = anyio.CancelScope()

            async def lead() -> None:
                with leader:
                    await a.execute(_add("leads"))

            async def follow() -> None:
                outcomes.append(await outcome_of(a.execute(_add("follows"))))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lead)
                await gate.reached.wait()
                tasks.start_soon(follow)
                leader.cancel()
                gate.opened.set()
            assert outcomes[0].version == 4
            assert (await a.execute(_add("leads"))).replayed
            assert store.names.count("turn") == store.names.count("left") > 0

    anyio.run(case, backend=backend)


def test_a_task_that_is_cancelled_the_hard_way_leaves_its_turn() -> None:
    async def case() -> None:
        heap = Heap()
        store = turn_store(heap)
        a, b = heap.open(store, settings=quick(max_attempts=2)), heap.open()
        async with opened(a, b):
            await a.add_stock(P, S, 1)
            await b.add_stock(P, S, 1)
            store.before = gate = Gate("append", 2)
            task = asyncio.ensure_future(a.execute(_add("one")))
            await gate.reached.wait()
            task.cancel()
            gate.opened.set()
            await asyncio.wait([task])
            assert store.names.count("turn") == store.names.count("left") == 1
            assert (await a.execute(_add("one"))).version == 3

    asyncio.run(case())


class StreamTurnStore(TurnStore):
    """Gives turns over streams, and lists those."""

    @asynccontextmanager
    async def turn(self, *streams: StreamId) -> AsyncIterator[None]:
        self.calls.append(("over", [stream.text for stream in streams]))
        async with super().turn():
            yield


def stream_turn_store(heap: Heap) -> StreamTurnStore:
    return StreamTurnStore(MemoryEventStore(heap.log), turns_by_stream=True)


@pytest.mark.parametrize("lanes", [True, False])
def test_who_lost_one_race_takes_turns_over_the_stream_until_nobody_contests_it(backend: str, lanes: bool) -> None:
    async def case() -> None:
        heap = Heap()
        store = stream_turn_store(heap)
        a, b = heap.open(store, settings=quick(lanes=lanes)), heap.open()
        in_turn = ["over", "turn", "read_stream", "append", "left"]
        async with opened(a, b):
            await a.add_stock(P, S, 1)
            await b.add_stock(P, S, 1)
            store.calls.clear()
            await a.add_stock(P, S, 1)
            assert store.names == ["append", *in_turn]
            assert ("over", [SHELF.stream.text]) in store.calls
            for _ in range(QUIET_TURNS - 1):
                store.calls.clear()
                await a.add_stock(P, S, 1)
                assert store.names == in_turn
            await b.add_stock(P, S, 1)
            for _ in range(QUIET_TURNS + 1):
                store.calls.clear()
                await a.add_stock(P, S, 1)
                assert store.names == in_turn
            store.calls.clear()
            await a.add_stock(P, S, 1)
            assert store.names == ["append"]
            assert (await figures(a))[0] == 3 + 1 + (QUIET_TURNS - 1) + (QUIET_TURNS + 1) + 1

    anyio.run(case, backend=backend)


def test_a_question_takes_no_turn(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = stream_turn_store(heap)
        a, b = heap.open(store), heap.open()
        async with opened(a, b):
            await a.add_stock(P, S, 1)
            await b.add_stock(P, S, 1)
            await a.add_stock(P, S, 1)
            store.calls.clear()
            assert await figures(a) == (3, 0, 3)
            assert store.names == ["read_stream"]

    anyio.run(case, backend=backend)


def test_a_basket_takes_a_turn_over_all_its_streams(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = stream_turn_store(heap)
        a, b = heap.open(store), heap.open()
        other = AddStock(inventory_id=OTHER, command_id="other", quantity=1)
        async with opened(a, b):
            await a.execute_all([_add("one"), attrs.evolve(other, command_id="two")])
            await b.add_stock(P, S, 1)
            store.calls.clear()
            await a.execute_all([_add("three"), other])
            assert [name for name in store.names if name not in {"read_stream", "find_events"}] == [
                "append",
                "over",
                "turn",
                "append",
                "left",
            ]
            assert ("over", sorted([SHELF.stream.text, OTHER.stream.text])) in store.calls
            assert await figures(a) == (3, 0, 3)

    anyio.run(case, backend=backend)
