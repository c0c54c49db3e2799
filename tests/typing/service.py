"""What a type checker says about the service, and that its synchronous twin says the same. Read by ``test_types.py``, never run."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from inventory_es import (
    CommandResult,
    Explanation,
    HistoryEntry,
    InventoryService,
    RecordedEvent,
    Reservation,
    ReservationRef,
    ReservationState,
    StockLevel,
    StockView,
    open_inventory,
    sync,
)
from inventory_es.adapters.memory import MemoryCache, MemoryEventStore
from inventory_es.adapters.system import SystemClock
from inventory_es.application.following.projection import ProjectionStatus
from inventory_es.application.guards import BreakerState, CircuitBreaker, Retry, guarded
from inventory_es.application.projections import stock_levels
from inventory_es.application.projections.ledger import MovementRow
from inventory_es.application.projections.low_stock import LowStockRow
from inventory_es.application.projections.open_reservations import ReservationRow
from inventory_es.application.projections.stock_levels import StockRow
from inventory_es.application.queries.projection_reader import QueryPage
from inventory_es.commands import Command
from inventory_es.ports import Cache, EventStore

TTL = timedelta(minutes=15)


def nobody_gets_more_than_ten(stock: StockView, command: Command, at: datetime) -> None:
    """A policy."""


def one_argument_short(stock: StockView, command: Command) -> None:
    """No policy."""


def opens() -> None:
    assert_type(open_inventory("memory:"), InventoryService)
    open_inventory(Path("stock"))
    open_inventory(MemoryEventStore())
    open_inventory("memory:", policies=[nobody_gets_more_than_ten])
    open_inventory("memory:", policies=[one_argument_short])  # type: ignore[list-item]
    open_inventory(7)  # type: ignore[arg-type]
    open_inventory("memory:", None)  # type: ignore[call-arg]


async def writes(inventory: InventoryService) -> None:
    assert_type(await inventory.add_stock("espresso-1kg", "berlin", 3), CommandResult)
    hold = await inventory.reserve("espresso-1kg", "berlin", 3, ttl=TTL)
    assert_type(hold, Reservation)
    assert_type(hold.ref, ReservationRef)
    assert_type(hold.expires_at, datetime | None)
    assert_type(await inventory.commit(hold), CommandResult)
    assert_type(await inventory.commit(hold.ref, 2), CommandResult)
    assert_type((await inventory.release(hold)).to_dict(), dict[str, Any])
    await inventory.reserve("espresso-1kg", "berlin", 3)  # type: ignore[call-arg]
    await inventory.reserve("espresso-1kg", "berlin", 3, TTL)  # type: ignore[call-arg]
    assert_type(await inventory.commit("espresso-1kg/berlin/order-1001"), CommandResult)
    await inventory.commit(1001)  # type: ignore[arg-type]
    await inventory.adjust("espresso-1kg", "berlin", -1)  # type: ignore[call-arg]
    inventory.add_stock("espresso-1kg", "berlin", 3)  # type: ignore[unused-coroutine]


async def reads(inventory: InventoryService) -> None:
    assert_type(await inventory.stock("espresso-1kg", "berlin"), StockLevel)
    assert_type(await inventory.reservation(ReservationRef.parse("espresso-1kg/berlin/order-1001")), ReservationState)
    assert_type(await inventory.as_of("espresso-1kg", "berlin", version=3), StockLevel)
    assert_type(await inventory.explain("espresso-1kg", "berlin"), Explanation)
    assert_type(inventory.history("espresso-1kg", "berlin"), AsyncIterator[HistoryEntry])
    assert_type(inventory.feed(after=0), AsyncIterator[RecordedEvent])
    assert_type(inventory.store, EventStore)


async def queries(inventory: InventoryService) -> None:
    asked = inventory.queries
    assert_type(await asked.stock("espresso-1kg", "berlin", wait_for_position=3), StockRow | None)
    assert_type(await asked.product_inventory("espresso-1kg"), QueryPage[StockRow])
    assert_type(await asked.store_inventory("berlin", limit=3), QueryPage[StockRow])
    assert_type(await asked.low_stock(), QueryPage[LowStockRow])
    assert_type(await asked.ledger("espresso-1kg", "berlin"), QueryPage[MovementRow])
    assert_type(await asked.open_reservations(store_id="berlin"), QueryPage[ReservationRow])
    assert_type(await asked.history("espresso-1kg", "berlin"), QueryPage[HistoryEntry])
    assert_type(await asked.as_of("espresso-1kg", "berlin", version=3), StockRow | None)
    assert_type(await inventory.followers.status(), tuple[ProjectionStatus, ...])
    await inventory.followers.run(on_failure="retry")
    await inventory.followers.run()  # type: ignore[call-arg]
    await inventory.followers.run(on_failure="ignore")  # type: ignore[arg-type]
    open_inventory("memory:", read_models="memory:", projections=[stock_levels()], cache=MemoryCache(clock=SystemClock()))
    open_inventory("memory:", read_models=MemoryEventStore())  # type: ignore[arg-type]


def guards(store: EventStore, cache: Cache) -> None:
    assert_type(guarded(store, Retry(), CircuitBreaker("stock")), EventStore)
    assert_type(guarded(cache, CircuitBreaker("cache")), Cache)
    assert_type(CircuitBreaker("stock").state, BreakerState)
    guarded("file:stock", Retry())  # type: ignore[type-var]


def without_await(inventory: sync.InventoryService) -> None:
    assert_type(sync.open_inventory("memory:"), sync.InventoryService)
    assert_type(inventory.add_stock("espresso-1kg", "berlin", 3), CommandResult)
    hold = inventory.reserve("espresso-1kg", "berlin", 3, ttl=TTL)
    assert_type(hold, Reservation)
    assert_type(inventory.commit(hold), CommandResult)
    assert_type(inventory.stock("espresso-1kg", "berlin"), StockLevel)
    assert_type(inventory.history("espresso-1kg", "berlin"), Iterator[HistoryEntry])
    assert_type(inventory.feed(after=0), Iterator[RecordedEvent])
    assert_type(inventory.queries.stock("espresso-1kg", "berlin"), StockRow | None)
    assert_type(inventory.followers.status(), tuple[ProjectionStatus, ...])
    inventory.reserve("espresso-1kg", "berlin", 3)  # type: ignore[call-arg]
    with inventory as same:
        assert_type(same, sync.InventoryService)
