"""``execute_all``: all lines or none, whatever of them is stored already, whoever else writes, whatever fails."""

import random
from typing import Any
from uuid import UUID

import anyio
import pytest

from inventory_es.application.context import command_context
from inventory_es.domain.commands import AddStock, AdjustStock, Command, ExpireReservations, RecordCount, ReleaseStock, ReserveStock
from inventory_es.domain.errors import CommandIdReusedError, CommandsRejectedError, InsufficientStockError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.reasons import AdjustReason
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import NewEvent, StreamWrite
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, UnsupportedCapabilityError
from tests.integration.command_side import (
    OTHER,
    SHELF,
    Heap,
    P,
    PlainStore,
    S,
    figures,
    history,
    open_lanes,
    opened,
    outcome_of,
    quick,
    ref,
    seconds,
    together,
    turns,
)

ORDERS = StreamId("order", "7")


def _add(name: str, quantity: int = 1, inventory: InventoryId = SHELF) -> AddStock:
    return AddStock(inventory_id=inventory, command_id=name, quantity=quantity)


def _take(name: str, quantity: int = 1) -> AdjustStock:
    return AdjustStock(inventory_id=SHELF, command_id=name, delta=-quantity, reason=AdjustReason.DAMAGE)


def _reserve(name: str, quantity: int = 1, inventory: InventoryId = SHELF) -> ReserveStock:
    return ReserveStock(inventory_id=inventory, reservation_id=name, quantity=quantity, ttl=None)


def _note(heap: Heap, number: int = 1) -> StreamWrite:
    return StreamWrite(ORDERS, number - 1, [NewEvent(UUID(int=number), "order_placed", 1, heap.clock.now(), b"{}", b"{}")])


def test_a_reused_id_and_what_falls_short_are_named_together(backend: str) -> None:
    async def case() -> None:
        service = Heap().open()
        async with opened(service):
            await service.execute_all([_add("a", 3)])
            with pytest.raises(CommandsRejectedError) as refused:
                await service.execute_all([_reserve("1", 4), _reserve("2"), _add("a", 4)])
            assert refused.value.indexes == (0, 2)
            assert [type(why) for why in refused.value.rejections] == [InsufficientStockError, CommandIdReusedError]
            assert await figures(service) == (3, 0, 1)

    anyio.run(case, backend=backend)


def test_a_set_may_count_what_it_makes(backend: str) -> None:
    async def case() -> None:
        service = Heap().open()
        async with opened(service):
            count = RecordCount(inventory_id=SHELF, command_id="count", counted=2, observed_version=1)
            await service.execute_all([_add("a", 3), _add("b", 4), count])
            assert await figures(service) == (6, 0, 3)

    anyio.run(case, backend=backend)


def test_every_line_that_falls_short_is_named(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            await service.execute_all([_add("a", 3), _add("a", 1, OTHER)])
            basket = [_reserve("1", 2), _reserve("2", 2), _reserve("3", 5, OTHER), _reserve("4"), _reserve("5", 1, OTHER)]
            appends = store.count("append")
            with pytest.raises(CommandsRejectedError) as refused:
                await service.execute_all(basket, writes=[_note(heap)])
            assert refused.value.indexes == (1, 2)
            short = [why for why in refused.value.rejections if isinstance(why, InsufficientStockError)]
            assert [(why.requested, why.available) for why in short] == [(2, 1), (5, 1)]
            assert store.count("append") == appends
            assert heap.log.version_of(ORDERS) == 0
            assert await figures(service) == (3, 0, 1)
            assert await figures(service, OTHER) == (1, 0, 1)

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("poor", [False, True], ids=["ids for ever", "ids at their versions"])
def test_a_partly_stored_basket(backend: str, poor: bool) -> None:
    """What is stored counts as done, and is not taken from the shelf twice: not even to refuse another line."""

    async def case() -> None:
        heap = Heap()
        store: Any = PlainStore(multi_stream=True) if poor else heap.store()
        service = heap.open(store)
        async with opened(service):
            await service.execute(_add("opening", 5))
            first = await service.execute(_take("1", 3))
            outcomes = await service.execute_all([_take("1", 3), _take("2", 2)])
            assert [(one.version, one.replayed) for one in outcomes] == [(first.version, True), (3, False)]
            assert await figures(service) == (0, 0, 3)
            again = await service.execute_all([_take("2", 2), _add("5", 4, OTHER), _take("1", 3), _reserve("3", 4, OTHER)])
            assert [(one.version, one.replayed) for one in again] == [(3, True), (1, False), (2, True), (2, False)]
            assert await figures(service, OTHER) == (4, 4, 2)
            with pytest.raises(CommandsRejectedError) as refused:
                await service.execute_all([_add("6"), _take("1", 1), _add("5", 4, OTHER)])
            assert refused.value.indexes == (1,)
            assert isinstance(refused.value.rejections[0], CommandIdReusedError)
            assert await figures(service) == (0, 0, 3)
            await history(service)

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("poor", [False, True], ids=["ids for ever", "ids at their versions"])
def test_two_services_send_the_same_basket_at_once(backend: str, poor: bool) -> None:
    async def case() -> None:
        heap, streams = Heap(), {}  # type: ignore[var-annotated]  # what the stores share
        stores: list[Any] = [PlainStore(streams, multi_stream=True) if poor else heap.store() for _ in range(2)]
        a, b = (heap.open(store) for store in stores)
        async with opened(a, b):
            await a.execute_all([_add("opening", 9), _add("opening", 9, OTHER)])
            await b.stock(P, S)
            basket = [_add("x"), _reserve("1", 2), _reserve("2", 3, OTHER), _take("y")]
            one, other = await together(a.execute_all(basket), b.execute_all(basket))
            assert [line.version for line in one] == [line.version for line in other]
            assert sorted([one[0].replayed, other[0].replayed]) == [False, True]
            assert await figures(a) == await figures(b) == (9, 2, 4)
            assert await figures(a, OTHER) == (9, 3, 2)

    anyio.run(case, backend=backend)


def test_lines_with_nothing_to_do(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        a, b = heap.open(store), heap.open()
        async with opened(a, b):
            await a.execute_all([_add("opening", 5), _reserve("R1", 2)])
            await b.release(ref("R1"))
            free = ReleaseStock(inventory_id=SHELF, command_id="free", reservation_id="R1")
            sweep = ExpireReservations(inventory_id=OTHER, command_id="sweep", limit=5)
            nothing = await a.execute_all([free, sweep])
            assert [(one.changed, one.version, one.replayed) for one in nothing] == [(False, 3, False), (False, 0, False)]
            mixed = await a.execute_all([sweep, _add("more", 1), free], writes=[_note(heap)])
            assert [(one.changed, one.version) for one in mixed] == [(False, 0), (True, 4), (False, 4)]
            assert heap.log.version_of(ORDERS) == 1
            assert await figures(a) == (6, 0, 4)

    anyio.run(case, backend=backend)


def test_a_hosts_own_stream_is_written_with_it_and_its_conflict_surfaces(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            basket = [_add("1", 5), _reserve("2", 2)]
            await service.execute_all(basket, writes=[_note(heap)])
            assert (heap.log.version_of(ORDERS), heap.log.head) == (1, 3)
            again = await service.execute_all(basket, writes=[_note(heap)])
            assert [one.replayed for one in again] == [True, True]
            assert heap.log.head == 3
            before = store.count("append")
            moved = StreamWrite(ORDERS, 0, _note(heap, 2).events)
            with pytest.raises(ConcurrencyError) as conflict:
                await service.execute_all([_add("3")], writes=[moved])
            assert conflict.value.stream == ORDERS
            assert store.count("append") - before == 1
            assert await figures(service) == (5, 2, 2)
            await service.execute_all([], writes=[_note(heap, 2)])
            assert heap.log.version_of(ORDERS) == 2
            inventory = StreamWrite(SHELF.stream, 2, _note(heap, 3).events)
            assert isinstance(await outcome_of(service.execute_all([_add("4")], writes=[inventory])), ValueError)

    anyio.run(case, backend=backend)


def test_a_store_without_several_streams(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        service = heap.open(PlainStore())
        async with opened(service):
            outcomes = await service.execute_all([_add("1", 5), _reserve("2", 2)])
            assert [one.version for one in outcomes] == [1, 2]
            with pytest.raises(UnsupportedCapabilityError) as refused:
                await service.execute_all([_add("3"), _add("3", 1, OTHER)])
            assert refused.value.capability == "multi_stream"
            assert isinstance(await outcome_of(service.execute_all([_add("4")], writes=[_note(heap)])), UnsupportedCapabilityError)
            assert await figures(service) == (5, 2, 2)

    anyio.run(case, backend=backend)


def test_an_order_too_large_for_one_append_is_refused_whole(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        service = heap.open(heap.store(max_append_events=3))
        async with opened(service):
            await service.execute(_add("opening", 9))
            error = await outcome_of(service.execute_all([_reserve(f"{number}") for number in range(4)]))
            assert isinstance(error, AppendTooLargeError)
            assert await figures(service) == (9, 0, 1)
            assert len(await service.execute_all([_reserve(f"{number}") for number in range(3)])) == 3

    anyio.run(case, backend=backend)


def test_due_holds_are_closed_and_times_are_the_callers(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        service = heap.open(settings=quick(expiry_chunk=2))
        async with opened(service):
            await service.execute(_add("opening", 9))
            for number in range(6):
                await service.reserve(P, S, 1, ttl=seconds(number + 1), reservation_id=f"R{number}")
            start = heap.clock.now()
            with pytest.raises(CommandsRejectedError):
                await service.execute_all([_reserve("big", 9)], times=[start + seconds(5)])
            assert await figures(service) == (9, 2, 11)
            later = [start + seconds(6), start + seconds(9)]
            one, other = await service.execute_all([_reserve("big", 9), _add("more")], times=later)
            assert (one.version, one.reserved_at, other.at) == (14, *later)
            await history(service)

    anyio.run(case, backend=backend)


def test_the_context_is_the_callers(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        service = heap.open()

        async def call(actor: str) -> None:
            with command_context(actor_id=actor, correlation_id=f"of {actor}"):
                await service.execute(_add(actor))
                await service.execute_all([_add(f"{actor} 1"), _add(f"{actor} 2")])

        async with opened(service):
            async with anyio.create_task_group() as tasks:
                for actor in ("ada", "bob", "cyd"):
                    tasks.start_soon(call, actor)
            entries = [entry async for entry in service.history(P, S)]
            assert len(entries) == 9
            for entry in entries:
                actor = (entry.metadata.command_id or "").split()[0]
                assert (entry.metadata.actor_id, entry.metadata.correlation_id) == (actor, f"of {actor}")

    anyio.run(case, backend=backend)


def test_observers_see_each_line_and_change_nothing(backend: str) -> None:
    async def case() -> None:
        heap, records, appends = Heap(), [], []

        class Watcher:
            def command_finished(self, record: Any) -> None:
                records.append((record.command_id, record.outcome, record.error, record.version))
                raise ZeroDivisionError

            def append_finished(self, record: Any) -> None:
                appends.append((record.groups, record.events, record.error))
                raise ZeroDivisionError

        service = heap.open(observers=[Watcher()])
        async with opened(service):
            await service.execute_all([_add("1", 5), _add("2", 5, OTHER)])
            await outcome_of(service.execute_all([_reserve("3", 6), _reserve("4", 1, OTHER)]))
            free = ReleaseStock(inventory_id=SHELF, command_id="6", reservation_id="R")
            await outcome_of(service.execute(free))
            await service.execute(_add("1", 5))
        assert records == [
            ("1", "accepted", None, 1),
            ("2", "accepted", None, 1),
            ("3", "rejected", "commands_rejected", 0),
            ("4", "rejected", "commands_rejected", 0),
            ("6", "rejected", "reservation_not_found", 0),
            ("1", "replayed", None, 1),
        ]
        assert appends[0] == (1, 2, None)

    anyio.run(case, backend=backend)


def test_overlapping_baskets_and_hot_lanes_never_wait_for_each_other_in_a_ring(backend: str) -> None:
    shelves = [InventoryId(f"p{number}", S) for number in range(5)]

    async def run(seed: int) -> None:
        chance = random.Random(seed)
        heap = Heap()
        store = heap.store(group_commit=seed % 2 == 0)

        async def wander(_operation: str) -> None:
            await turns(chance.randrange(4))

        store.before = store.after = wander
        service, other = heap.open(store), heap.open()
        async with opened(service, other):
            await service.execute_all([_add("opening", 1_000, shelf) for shelf in shelves])
            done = dict.fromkeys(shelves, 0)
            baskets = 0
            hot = True

            async def traffic(number: int) -> None:
                count = 0
                while hot:
                    count += 1
                    await service.execute(_reserve(f"hot {number}/{count}", 1, shelves[0]))
                    done[shelves[0]] += 1

            async def order(number: int, through: Any) -> None:
                nonlocal baskets
                for turn in range(4):
                    lines: list[Command] = [
                        _reserve(f"{number}/{turn}/{place}", 1, shelf)
                        for place, shelf in enumerate(chance.choices(shelves, k=chance.randrange(1, 5)))
                    ]
                    outcome = await outcome_of(through.execute_all(lines))
                    if isinstance(outcome, list):
                        baskets += 1
                        for line in lines:
                            done[line.inventory_id] += 1
                    else:
                        assert isinstance(outcome, ConcurrencyError)

            with anyio.fail_after(30):
                async with anyio.create_task_group() as tasks:
                    for number in range(2):
                        tasks.start_soon(traffic, number)
                    async with anyio.create_task_group() as orders:
                        for number in range(6):
                            orders.start_soon(order, number, other if number == 0 else service)
                    hot = False
            assert baskets >= 18
            for shelf, units in done.items():
                assert await figures(service, shelf) == (1_000, units, units + 1)
                await history(service, shelf)
            assert open_lanes(service) == 0

    async def case() -> None:
        for seed in range(4):
            await run(seed)

    anyio.run(case, backend=backend)
