"""Another writer on the same data: what is read again, when a caller hears of it, and what is never answered from a stale state."""

from typing import Any

import anyio
import pytest

from inventory_es.domain.commands import AddStock, ConfirmReservation
from inventory_es.domain.errors import CommandIdReusedError, InsufficientStockError
from inventory_es.ports.errors import ConcurrencyError
from tests.integration.command_side import SHELF, Heap, P, S, figures, history, opened, quick, ref, seconds


def _add(name: str, quantity: int = 1) -> AddStock:
    return AddStock(inventory_id=SHELF, command_id=name, quantity=quantity)


@pytest.mark.parametrize("lanes", [True, False])
def test_the_loser_reads_the_tail_only(backend: str, lanes: bool) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        a, b = heap.open(store, settings=quick(lanes=lanes)), heap.open()
        async with opened(a, b):
            for _ in range(20):
                await a.add_stock(P, S, 1)
            await b.add_stock(P, S, 1)
            store.calls.clear()
            assert (await a.add_stock(P, S, 1)).version == 22
            assert [(name, about) for name, about in store.calls if name == "read_stream"] == [("read_stream", 20)]
            assert [name for name, _ in store.calls] == ["append", "read_stream", "append"]
            await history(a)

    anyio.run(case, backend=backend)


def test_attempts_are_bounded(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        a, b = heap.open(store, settings=quick(max_attempts=4)), heap.open()
        async with opened(a, b):
            await a.add_stock(P, S, 1)

            async def intrude(operation: str) -> None:
                if operation == "append":
                    await b.add_stock(P, S, 1)

            store.before = intrude
            store.calls.clear()
            with pytest.raises(ConcurrencyError) as lost:
                await a.execute(_add("late"))
            assert store.count("append") == 4
            assert (lost.value.expected, lost.value.actual) == (4, 5)
            store.before = _still
            assert (await a.execute(_add("late"))).version == 6
            assert len(await history(a)) == 6

    anyio.run(case, backend=backend)


async def _still(_operation: str) -> None: ...


def test_a_question_does_not_fail_with_its_neighbours_conflict(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        a, b = heap.open(store, settings=quick(max_attempts=1)), heap.open()
        async with opened(a, b):
            await a.add_stock(P, S, 1)
            outcomes: list[Any] = []

            async def intrude(operation: str) -> None:
                if operation == "append":
                    await b.add_stock(P, S, 1)

            from tests.integration.command_side import Gate, behind

            store.before = gate = Gate()

            async def then(operation: str) -> None:
                await gate(operation)
                await intrude(operation)

            store.before = then
            outcomes = await behind(gate, a.execute(_add("first")), a.execute(_add("lost")), a.stock(P, S))
            assert isinstance(outcomes[0], ConcurrencyError)
            assert isinstance(outcomes[1], ConcurrencyError)
            assert outcomes[2].version == 3

    anyio.run(case, backend=backend)


def test_an_expected_version_is_no_silent_retry(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        a, b = heap.open(store), heap.open()
        async with opened(a, b):
            await a.execute(_add("one"))
            await b.execute(_add("two"))
            store.calls.clear()
            with pytest.raises(ConcurrencyError) as lost:
                await a.execute(_add("three"), expected_version=1)
            assert (lost.value.expected, lost.value.actual) == (1, 2)
            assert store.count("append") == 1
            assert (await a.execute(_add("three"), expected_version=2)).version == 3
            for service in (a, b):
                for version in (0, 2, 3, 8):
                    again = await service.execute(_add("three"), expected_version=version)
                    assert (again.replayed, again.version) == (True, 3)
            with pytest.raises(CommandIdReusedError):
                await a.execute(_add("three", 4), expected_version=3)
            assert await figures(b) == (3, 0, 3)

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("lanes", [True, False])
def test_no_answer_comes_from_a_stale_state(backend: str, lanes: bool) -> None:
    async def case() -> None:
        heap = Heap()
        a, b = heap.open(settings=quick(lanes=lanes)), heap.open()
        async with opened(a, b):
            await a.add_stock(P, S, 1)
            await a.reserve(P, S, 1, ttl=seconds(60), reservation_id="R1")
            await b.add_stock(P, S, 1)
            assert (await a.reserve(P, S, 1, ttl=None, reservation_id="R2")).version == 4
            await b.release(ref("R2"))
            await b.reserve(P, S, 1, ttl=None, reservation_id="R3")
            with pytest.raises(InsufficientStockError):
                await a.reserve(P, S, 1, ttl=None, reservation_id="R4")
            await a.confirm(ref("R1"))
            await b.commit(ref("R1"))
            stale = await _error(a.execute(ConfirmReservation(inventory_id=SHELF, command_id="c", reservation_id="R1")))
            assert stale == "reservation_already_committed"
            await b.release(ref("R3"))
            nothing = await a.release(ref("R3"))
            assert (nothing.changed, nothing.version) == (False, 9)
            assert await figures(a) == await figures(b) == (1, 0, 9)
            await history(a)

    anyio.run(case, backend=backend)


async def _error(call: Any) -> str | None:
    try:
        await call
    except Exception as error:  # noqa: BLE001  # the case looks at its code
        return getattr(error, "code", type(error).__name__)
    return None


def test_questions_see_what_stands_and_never_what_is_speculated(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        a, b = heap.open(store), heap.open()
        async with opened(a, b):
            await a.add_stock(P, S, 100)
            seen: list[tuple[int, int]] = []
            stored: list[int] = []

            async def write(service: Any, name: str) -> None:
                for number in range(10):
                    await service.reserve(P, S, 1, ttl=None, reservation_id=f"{name}{number}")

            async def look() -> None:
                for _ in range(20):
                    before = heap.log.version_of(SHELF.stream)
                    level = await a.stock(P, S)
                    stored.append(heap.log.version_of(SHELF.stream))
                    assert before <= level.version <= stored[-1]
                    assert level.reserved == level.version - 1
                    seen.append((level.version, level.reserved))

            async with anyio.create_task_group() as tasks:
                for name in ("a", "x"):
                    tasks.start_soon(write, a, name)
                tasks.start_soon(write, b, "b")
                tasks.start_soon(look)
            assert seen == sorted(seen)
            assert len({version for version, _ in seen}) > 3
            assert await figures(b) == (100, 30, 31)

    anyio.run(case, backend=backend)
