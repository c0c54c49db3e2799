"""What cases of orders share: three products, services that die, and a look at everything that must hold."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import attrs

from inventory_es import InventoryId, InventoryService
from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.following.subscription import Pace
from inventory_es.events import StockCommittedEvent, StockReleasedEvent, StockReservedEvent
from inventory_es.processes import Orders, ProcessRunner
from tests.integration.command_side import Heap, WatchedStore, figures, opened

A, B, C = InventoryId("A", "S1"), InventoryId("B", "S2"), InventoryId("C", "S3")
SHELVES = {A: 5, B: 1, C: 4}
ITEMS = [("C", "S3", 4), ("A", "S1", 2), ("B", "S2", 1)]
TTL = timedelta(seconds=900)
CODEC = JsonEventCodec()


class PowerCutError(Exception):
    """The process is gone."""


def dying(heap: Heap, appends: int, **capabilities: Any) -> WatchedStore:
    """A store of a process that dies before its next append but so many."""
    store = heap.store(**capabilities)

    async def die(operation: str) -> None:
        if operation == "append" and store.count("append") > appends:
            raise PowerCutError

    store.before = die
    return store


async def stock_up(service: InventoryService) -> None:
    for shelf, units in SHELVES.items():
        await service.add_stock(shelf.product_id, shelf.store_id, units)


async def balances(service: InventoryService) -> list[tuple[int, int]]:
    """On hand and reserved of the three."""
    return [(await figures(service, one))[:2] for one in SHELVES]


async def told(heap: Heap) -> list[tuple[str, object]]:
    """What the orders did, in the order in which it was stored."""
    found: list[tuple[str, object]] = []
    for recorded in (await MemoryEventStore(heap.log).read_all(after=0, limit=1_000)).events:
        event = CODEC.decode(recorded)
        match event:
            case StockReservedEvent():
                found.append(("reserved", event.product_id))
            case StockCommittedEvent():
                found.append(("committed", event.product_id))
            case StockReleasedEvent():
                found.append((f"released {event.reason}", event.product_id))
            case _ if recorded.stream.category == "order":
                found.append((type(event).__name__, recorded.version))
            case _:
                pass
    return found


@attrs.define
class Shop:
    """One service with its orders, and what drives them.

    Attributes:
        heap: what it shares with others.
        service: open.
        orders: its orders.
        read_model: of its runners.
    """

    heap: Heap
    service: Any
    orders: Orders
    read_model: MemoryReadModel

    def runner(self, **settings: Any) -> ProcessRunner:
        """A runner that helps at once."""
        given: dict[str, Any] = {"owner": "one", "patience": timedelta(0), "pace": Pace(first_pause=0.01, longest_wait=0.05)}
        return ProcessRunner(
            self.orders, feed=MemoryEventStore(self.heap.log), read_model=self.read_model, clock=self.heap.clock, **(given | settings)
        )

    async def pass_time(self, seconds: float) -> None:
        """Time passes, and a runner does what is due then."""
        self.heap.clock.advance(timedelta(seconds=seconds))
        await self.runner().catch_up()


@asynccontextmanager
async def shop(heap: Heap, store: WatchedStore | None = None, **parts: Any) -> AsyncIterator[Shop]:
    """A shop over a store."""
    service = heap.open(store, **parts)
    async with opened(service):
        yield Shop(heap, service, Orders(service), MemoryReadModel())
