"""The queries without ``await``."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar

from inventory_es.application.projections import LowStockRow, MovementRow, ReservationRow, StockRow
from inventory_es.application.queries.projection_reader import Cursor, QueryPage
from inventory_es.application.queries.stock_queries import StockQueries as _Async
from inventory_es.application.results import HistoryEntry
from inventory_es.application.service import InventoryService
from inventory_es.domain.identifiers import Id
from inventory_es.sync.engine import Engine

P = ParamSpec("P")
T = TypeVar("T")


class StockQueries:
    """Eventual reads, for any number of threads. See :class:`inventory_es.application.queries.stock_queries.StockQueries`.

    Args:
        running: gives the open engine.
    """

    def __init__(self, running: Callable[[], Engine]) -> None:
        self._running = running

    def stock(self, product_id: Id, store_id: Id, *, wait_for_position: int = 0) -> StockRow | None:
        """Return the balance of one inventory; ``None`` where nothing has happened yet."""
        return self._ask(_Async.stock, product_id, store_id, wait_for_position=wait_for_position)

    def product_inventory(
        self, product_id: Id, *, after: Cursor | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[StockRow]:
        """Return the balances of a product, by store."""
        return self._ask(_Async.product_inventory, product_id, after=after, limit=limit, wait_for_position=wait_for_position)

    def store_inventory(
        self, store_id: Id, *, after: Cursor | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[StockRow]:
        """Return the balances in a store, by product."""
        return self._ask(_Async.store_inventory, store_id, after=after, limit=limit, wait_for_position=wait_for_position)

    def low_stock(
        self, *, store_id: Id | None = None, after: Cursor | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[LowStockRow]:
        """Return the inventories that are low now, everywhere or in one store, by product."""
        return self._ask(_Async.low_stock, store_id=store_id, after=after, limit=limit, wait_for_position=wait_for_position)

    def ledger(
        self,
        product_id: Id,
        store_id: Id,
        *,
        newest_first: bool = False,
        after: Cursor | None = None,
        limit: int = 100,
        wait_for_position: int = 0,
    ) -> QueryPage[MovementRow]:
        """Return the movements of one inventory with the running balance."""
        return self._ask(
            _Async.ledger,
            product_id,
            store_id,
            newest_first=newest_first,
            after=after,
            limit=limit,
            wait_for_position=wait_for_position,
        )

    def open_reservations(
        self, *, store_id: Id | None = None, after: Cursor | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[ReservationRow]:
        """Return the reservations that still hold units, everywhere or in one store, oldest first."""
        return self._ask(_Async.open_reservations, store_id=store_id, after=after, limit=limit, wait_for_position=wait_for_position)

    def history(
        self,
        product_id: Id,
        store_id: Id,
        *,
        newest_first: bool = False,
        after: Cursor | None = None,
        limit: int = 100,
        wait_for_position: int = 0,
    ) -> QueryPage[HistoryEntry]:
        """Return the decoded events of one inventory with their metadata. They are read from the stream, and so never behind it."""
        return self._ask(
            _Async.history,
            product_id,
            store_id,
            newest_first=newest_first,
            after=after,
            limit=limit,
            wait_for_position=wait_for_position,
        )

    def as_of(
        self,
        product_id: Id,
        store_id: Id,
        *,
        time: datetime | None = None,
        version: int | None = None,
        wait_for_position: int = 0,
    ) -> StockRow | None:
        """Return the balance at an instant of the past, or right after a version: give one of the two."""
        return self._ask(_Async.as_of, product_id, store_id, time=time, version=version, wait_for_position=wait_for_position)

    def prepare(self) -> None:
        """Create missing tables. Otherwise each is created at its first query."""
        self._ask(_Async.prepare)

    def _ask(self, method: Callable[Concatenate[_Async, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        async def ask(service: InventoryService) -> T:
            return await method(service.queries, *args, **kwargs)

        return self._running().call(ask)
