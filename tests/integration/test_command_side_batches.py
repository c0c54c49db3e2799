"""Requests that meet in a lane: decided together, appended together, each with its own outcome."""

from datetime import datetime
from typing import Any

import anyio
import pytest

from inventory_es.application.context import command_context
from inventory_es.domain.commands import AddStock, Command, RecordCount, ReserveStock
from inventory_es.domain.errors import (
    ClockSkewError,
    InsufficientStockError,
    PolicyRejectedError,
    ReservationIdTakenError,
    ReservationNotFoundError,
)
from inventory_es.domain.inventory import StockView
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, LaneFullError
from tests.integration.command_side import SHELF, Gate, Heap, P, S, behind, figures, history, opened, quick, ref, seconds, turns


async def _behind_an_append(heap: Heap, service: Any, store: Any, *others: Any) -> list[Any]:
    store.before = gate = Gate()
    outcomes = await behind(gate, service.add_stock(P, S, 1), *others)
    return outcomes[1:]


def test_a_batch_is_one_append_and_each_has_its_own_outcome(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store, records = heap.store(), []

        class Watcher:
            def command_finished(self, record: Any) -> None:
                records.append(record)

        service = heap.open(store, observers=[Watcher()])
        async with opened(service):
            await service.add_stock(P, S, 4)
            store.before, before = Gate(), store.count("append")
            outcomes = await behind(
                store.before,
                service.add_stock(P, S, 1),
                service.reserve(P, S, 3, ttl=None, reservation_id="R1"),
                service.stock(P, S),
                service.reserve(P, S, 3, ttl=None, reservation_id="R2"),
                service.reserve(P, S, 2, ttl=None, reservation_id="R3"),
                service.reserve(P, S, 3, ttl=None, reservation_id="R1"),
                service.reserve(P, S, 9, ttl=None, reservation_id="R1"),
            )
            assert store.count("append") - before == 2
            first, level, refused, last, again, taken = outcomes[1:]
            assert (first.version, first.replayed, last.version) == (3, False, 4)
            assert (refused.requested, refused.available) == (3, 2)
            assert (again.version, again.replayed, again.reserved_at) == (3, True, first.reserved_at)
            assert again.position <= first.position
            assert isinstance(taken, ReservationIdTakenError)
            assert (level.version, level.reserved) == (2, 0)
            told = {(one.command_id, one.outcome): (one.batch_size, one.error, one.version) for one in records}
            assert told["R2", "rejected"] == (5, "insufficient_stock", 0)
            assert told["R1", "replayed"] == (5, None, 3)
            assert told["R1", "accepted"] == (5, None, 3)
            assert told["R3", "accepted"] == (5, None, 4)
            await history(service)

    anyio.run(case, backend=backend)


def test_a_question_without_an_answer_is_nobody_elses(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            missing, added, level = await _behind_an_append(
                heap, service, store, service.reservation(ref("nobody")), service.add_stock(P, S, 2), service.stock(P, S)
            )
            assert isinstance(missing, ReservationNotFoundError)
            assert (added.version, added.on_hand) == (2, 3)
            assert level.version in {1, 2}

    anyio.run(case, backend=backend)


def test_a_count_of_the_present_version_behind_another_write(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            added, counted = await _behind_an_append(
                heap, service, store, service.add_stock(P, S, 10), service.record_count(P, S, 0, observed_version=1)
            )
            assert (added.version, added.on_hand) == (2, 11)
            assert (counted.version, counted.on_hand) == (3, 10)
            basket = [
                AddStock(inventory_id=SHELF, command_id="more", quantity=5),
                RecordCount(inventory_id=SHELF, command_id="sheet", counted=12, observed_version=3),
            ]
            more, sheet = await service.execute_all(basket)
            assert (more.version, sheet.version, sheet.on_hand) == (4, 5, 17)
            old = await service.record_count(P, S, 15, observed_version=5, command_id="same")
            assert (old.version, old.on_hand) == (6, 15)
            await service.add_stock(P, S, 1)
            later = await service.record_count(P, S, 14, observed_version=6)
            assert (later.version, later.on_hand) == (8, 15)
            await history(service)

    anyio.run(case, backend=backend)


def test_policies_affect_their_own_command_only(backend: str) -> None:
    code = "not_today"

    def odd(_view: StockView, command: Command, _at: datetime) -> None:
        if isinstance(command, ReserveStock) and command.reservation_id == "odd":
            raise ZeroDivisionError
        if isinstance(command, ReserveStock) and command.reservation_id == "refused":
            raise PolicyRejectedError(code)

    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store, policies=[odd])
        async with opened(service):
            await service.add_stock(P, S, 2)
            good, odd_one, refused, late = await _behind_an_append(
                heap,
                service,
                store,
                service.reserve(P, S, 1, ttl=None, reservation_id="good"),
                service.reserve(P, S, 1, ttl=None, reservation_id="odd"),
                service.reserve(P, S, 1, ttl=None, reservation_id="refused"),
                service.add_stock(P, S, 1),
            )
            assert (good.version, late.version) == (3, 4)
            assert isinstance(odd_one, ZeroDivisionError)
            assert isinstance(refused, PolicyRejectedError)
            assert await figures(service) == (4, 1, 4)

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("limit", ["max_event_bytes", "max_append_bytes"])
def test_an_oversized_command_fails_alone(backend: str, limit: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store(**{limit: 700})
        service = heap.open(store)
        async with opened(service):
            with command_context(actor_id="x" * 100):
                before, big, after = await _behind_an_append(
                    heap,
                    service,
                    store,
                    service.add_stock(P, S, 1),
                    service.add_stock(P, S, 1, reference="y" * 400),
                    service.add_stock(P, S, 1),
                )
            assert isinstance(big, AppendTooLargeError)
            assert big.limit == 700
            assert sorted([before.version, after.version]) == [2, 3]
            assert await figures(service) == (3, 0, 3)

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("limits, appends", [({"max_append_events": 4}, 4), ({"max_append_bytes": 1_500}, 0)])
def test_a_batch_is_split_at_what_the_store_takes(backend: str, limits: dict[str, int], appends: int) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store(**limits)
        service = heap.open(store)
        async with opened(service):
            outcomes = await _behind_an_append(heap, service, store, *[service.add_stock(P, S, 1) for _ in range(11)])
            assert [one.version for one in outcomes] == list(range(2, 13))
            written = [sum(len(write.events) for write in writes) for name, writes in store.calls if name == "append"]
            sizes = [sum(event.size for write in writes for event in write.events) for name, writes in store.calls if name == "append"]
            assert max(written) <= store.capabilities.max_append_events
            assert max(sizes) <= store.capabilities.max_append_bytes
            assert len(written) == appends or (not appends and 2 < len(written) < 12)

    anyio.run(case, backend=backend)


def test_expected_versions_inside_a_batch(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)

        def add(name: str) -> AddStock:
            return AddStock(inventory_id=SHELF, command_id=name, quantity=1)

        async with opened(service):
            holds, broken, holds_again, ahead = await _behind_an_append(
                heap,
                service,
                store,
                service.execute(add("a"), expected_version=1),
                service.execute(add("b"), expected_version=1),
                service.execute(add("c"), expected_version=2),
                service.execute(add("d"), expected_version=9),
            )
            assert (holds.version, holds_again.version) == (2, 3)
            assert isinstance(broken, ConcurrencyError)
            assert (broken.expected, broken.actual) == (1, 2)
            assert isinstance(ahead, ConcurrencyError)
            assert (ahead.expected, ahead.actual) == (9, 3)
            again = await service.execute(add("a"), expected_version=1)
            assert (again.replayed, again.version) == (True, 2)

    anyio.run(case, backend=backend)


def test_due_holds_are_closed_in_chunks_that_stand(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store(max_append_events=400)
        service = heap.open(store)
        async with opened(service):
            await service.add_stock(P, S, 1_000)
            for start in range(0, 1_000, 250):
                names = range(start, start + 250)
                await service.execute_all(
                    [ReserveStock(inventory_id=SHELF, reservation_id=f"R{n}", quantity=1, ttl=seconds(60)) for n in names]
                )
            heap.clock.advance(seconds(60))
            store.calls.clear()
            with pytest.raises(InsufficientStockError) as refused:
                await service.reserve(P, S, 1_001, ttl=None)
            assert refused.value.available == 1_000
            sizes = [len(writes[0].events) for name, writes in store.calls if name == "append"]
            assert sizes == [200, 200, 200, 200]
            assert await figures(service) == (1_000, 200, 1_801)
            taken = await service.reserve(P, S, 1_000, ttl=None)
            assert taken.version == 2_002
            await history(service)

    anyio.run(case, backend=backend)


def test_a_clock_behind_is_each_commands_own_refusal(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        service = heap.open(settings=quick(expiry_chunk=1))
        async with opened(service):
            await service.add_stock(P, S, 5, command_id="first")
            for name in ("R1", "R2"):
                await service.reserve(P, S, 1, ttl=seconds(60), reservation_id=name)
            heap.clock.advance(seconds(60))
            heap.clock.advance(seconds(-59))
            early = await service.add_stock(P, S, 1)
            assert (early.version, early.at) == (4, heap.clock.now())
            heap.clock.advance(seconds(100))
            await service.release(ref("R1"))
            await service.add_stock(P, S, 1)
            last = (await history(service))[-1].recorded_at
            heap.clock.at = last - seconds(60)
            within = await service.add_stock(P, S, 1)
            assert within.at == last
            heap.clock.at = last - seconds(61)
            with pytest.raises(ClockSkewError):
                await service.add_stock(P, S, 1)
            again = await service.add_stock(P, S, 5, command_id="first")
            assert (again.replayed, again.version) == (True, 1)
            assert (await service.reservation(ref("R1"))).status == "EXPIRED"

    anyio.run(case, backend=backend)


def test_a_backlog_under_a_clock_behind_refuses_commands_only(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store, settings=quick(expiry_chunk=1))
        async with opened(service):
            await service.add_stock(P, S, 5, command_id="first")
            for name in ("R1", "R2", "R3"):
                await service.reserve(P, S, 1, ttl=seconds(60), reservation_id=name)
            start = heap.clock.now()
            heap.clock.at = start + seconds(60)
            await service.expire(P, S, limit=1)
            heap.clock.at = start - seconds(1)
            store.before = gate = Gate("read_stream")
            level, skewed, again = await behind(
                gate, service.stock(P, S), service.add_stock(P, S, 1), service.add_stock(P, S, 5, command_id="first")
            )
            assert (level.due, level.version) == (2, 5)
            assert isinstance(skewed, ClockSkewError)
            assert (again.replayed, again.version) == (True, 1)

    anyio.run(case, backend=backend)


def test_a_full_lane_refuses_at_once_and_goes_on(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store, settings=quick(max_waiting=2))
        async with opened(service):
            await service.add_stock(P, S, 9)
            gate = store.before = Gate()
            calls = [service.reserve(P, S, 1, ttl=None, reservation_id=f"R{number}") for number in range(5)]
            basket = service.execute_all([AddStock(inventory_id=SHELF, command_id="late", quantity=1)])
            outcomes = await behind(gate, *calls, basket)
            assert [getattr(one, "version", one) for one in outcomes] == [2, 3, 4, *[LaneFullError(stream=SHELF.stream, waiting=2)] * 3]
            assert outcomes[3].retryable
            assert "2 commands wait for inventory-espresso-berlin already" in str(outcomes[3])
            assert (await service.reserve(P, S, 1, ttl=None, reservation_id="R4")).version == 5
            assert await figures(service) == (9, 4, 5)

    anyio.run(case, backend=backend)


def test_a_long_batch_lets_the_others_of_the_event_loop_run(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            await service.add_stock(P, S, 999)
            gate = Gate()
            ticks: list[int] = [0]

            async def count(operation: str) -> None:
                await gate(operation)
                ticks.append(0)

            async def tick() -> None:
                while True:
                    ticks[-1] += 1
                    await turns(1)

            store.before = count
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(tick)
                await behind(gate, *(service.reserve(P, S, 1, ttl=None) for _ in range(300)))
                tasks.cancel_scope.cancel()
            assert store.count("append") == 3
            assert ticks[1] >= 4, "between the two appends 299 are decided"
            assert await figures(service) == (999, 300, 301)

    anyio.run(case, backend=backend)
