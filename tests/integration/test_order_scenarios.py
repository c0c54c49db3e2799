"""S8 of the domain's law, number by number: an order over three products of which one is short, in every way that it can go."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from inventory_es import InventoryService
from inventory_es.domain.processes.lines import LineShortage
from inventory_es.processes import Orders, OrderStatus
from tests.integration.command_side import Heap, figures, opened
from tests.integration.orders_side import ITEMS, TTL, A, B, C, PowerCutError, balances, dying, told

SHORT = (LineShortage(3, "C", "S3", 4, 3, "insufficient_stock"),)


@pytest.fixture
def heap() -> Heap:
    return Heap()


def run(backend: str, case: Callable[[], Awaitable[None]]) -> None:
    anyio.run(case, backend=backend)


async def stocked(service: InventoryService) -> None:
    for inventory, units in ((A, 5), (B, 1), (C, 3)):
        await service.add_stock(inventory.product_id, inventory.store_id, units)


def test_step_by_step_it_is_refused_and_given_back_newest_first(heap: Heap, backend: str) -> None:
    async def case() -> None:
        service = heap.open(heap.store(multi_stream=False))
        async with opened(service):
            await stocked(service)
            seen: list[list[tuple[int, int]]] = []

            async def look(operation: str) -> None:
                if operation == "append":
                    seen.append(await balances(heap_view))

            heap_view = heap.open()
            async with opened(heap_view):
                service.store.after = look
                order = await Orders(service).reserve("O1", ITEMS, ttl=TTL)
            assert seen[1:3] == [[(5, 2), (1, 0), (3, 0)], [(5, 2), (1, 1), (3, 0)]]
            assert (order.status, order.shortages) == (OrderStatus.REJECTED, SHORT)
            assert order.shortages[0].units == 1
            assert await balances(service) == [(5, 0), (1, 0), (3, 0)]
            assert await told(heap) == [
                ("OrderPlacedEvent", 1),
                ("reserved", "A"),
                ("reserved", "B"),
                ("OrderWithdrawnEvent", 2),
                ("released COMPENSATION", "B"),
                ("released COMPENSATION", "A"),
                ("OrderReleasedEvent", 3),
            ]

    run(backend, case)


def test_killed_after_b_and_started_again_at_300(heap: Heap, backend: str) -> None:
    async def case() -> None:
        first = heap.open(dying(heap, 6, multi_stream=False))
        async with opened(first):
            await stocked(first)
            with pytest.raises(PowerCutError):
                await Orders(first).reserve("O1", ITEMS, ttl=TTL)
        heap.clock.advance(timedelta(seconds=300))
        second = heap.open(heap.store(multi_stream=False))
        async with opened(second):
            assert await balances(second) == [(5, 2), (1, 1), (3, 0)]
            order = await Orders(second).advance("O1")
            assert (order.status, order.shortages) == (OrderStatus.REJECTED, SHORT)
            assert await balances(second) == [(5, 0), (1, 0), (3, 0)]
            assert [kind for kind, _ in await told(heap)].count("reserved") == 2

    run(backend, case)


def test_killed_after_b_and_never_started_again(heap: Heap, backend: str) -> None:
    async def case() -> None:
        first = heap.open(dying(heap, 6, multi_stream=False))
        async with opened(first):
            await stocked(first)
            with pytest.raises(PowerCutError):
                await Orders(first).reserve("O1", ITEMS, ttl=TTL)
        second = heap.open()
        async with opened(second):
            heap.clock.advance(timedelta(seconds=899))
            for one in (A, B):
                await second.expire(one.product_id, one.store_id)
            assert await balances(second) == [(5, 2), (1, 1), (3, 0)]
            heap.clock.advance(timedelta(seconds=1))
            for one in (A, B):
                await second.expire(one.product_id, one.store_id)
            assert await balances(second) == [(5, 0), (1, 0), (3, 0)]

    run(backend, case)


def test_at_once_no_version_moves(heap: Heap, backend: str) -> None:
    async def case() -> None:
        service = heap.open()
        async with opened(service):
            await stocked(service)
            order = await Orders(service).reserve("O1", ITEMS, ttl=TTL)
            assert (order.status, order.shortages) == (OrderStatus.REJECTED, SHORT)
            assert [await figures(service, one) for one in (A, B, C)] == [(5, 0, 1), (1, 0, 1), (3, 0, 1)]
            assert await told(heap) == [("OrderPlacedEvent", 1), ("OrderWithdrawnEvent", 2), ("OrderReleasedEvent", 3)]

    run(backend, case)


@pytest.mark.parametrize("multi_stream", [True, False])
def test_the_same_events_either_way(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        store = heap.store(multi_stream=multi_stream)
        service = heap.open(store)
        async with opened(service):
            await stocked(service)
            await service.add_stock("C", "S3", 1)
            orders = Orders(service)
            before = store.count("append")
            order = await orders.reserve("O1", ITEMS, ttl=TTL)
            assert store.count("append") - before == (1 if multi_stream else 5)
            assert (order.status, order.expires_at) == (OrderStatus.HELD, heap.clock.now() + TTL)
            assert await balances(service) == [(5, 2), (1, 1), (4, 4)]
            order = await orders.authorise_payment("O1", "P1")
            assert (order.status, order.generations) == (OrderStatus.FIRM, (1, 1, 1))
            order = await orders.ship("O1", "X1", [("A", "S1", 1), ("C", "S3", 4)])
            assert order.status is OrderStatus.FIRM
            assert await balances(service) == [(4, 1), (1, 1), (0, 0)]
            order = await orders.ship("O1", "X2")
            assert order.status is OrderStatus.DONE
            assert await balances(service) == [(3, 0), (0, 0), (0, 0)]
            before = store.count("append")
            again: list[Any] = [
                await orders.reserve("O1", ITEMS, ttl=TTL),
                await orders.authorise_payment("O1", "P1"),
                await orders.ship("O1", "X2"),
                await orders.ship("O1", "X1", [("C", "S3", 4), ("A", "S1", 1)]),
                await orders.advance("O1"),
                await orders.order("O1"),
            ]
            assert again == [order] * 6
            assert store.count("append") == before
            assert sorted(await told(heap)) == sorted(
                [
                    *((kind, at) for at, kind in enumerate(_NAMES, 1)),
                    *(("reserved", product) for product in "ABC"),
                    *(("committed", product) for product in "AABC"),
                ]
            )

    run(backend, case)


_NAMES = [
    "OrderPlacedEvent",
    "OrderHeldEvent",
    "OrderPaymentAuthorisedEvent",
    "OrderConfirmedEvent",
    "OrderShippedEvent",
    "OrderShipmentCommittedEvent",
    "OrderShippedEvent",
    "OrderShipmentCommittedEvent",
    "OrderCompletedEvent",
]
