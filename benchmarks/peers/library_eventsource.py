"""The job in ``eventsource-py``, as its documentation shows it: an aggregate, a repository, a retry on a conflict.

The SQLite store commits each save with ``synchronous=FULL``, SQLite's default, in write-ahead mode: as durable as ours. Callers are tasks
on asyncio. Repositories keep nothing between commands, and tracing is off. ``--lock`` adds a lock of the host per product, so that tasks
of one process never conflict.
"""

import argparse
import asyncio
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from eventsource import (
    AggregateRepository,
    AggregateRoot,
    DomainEvent,
    FeedReadOptions,
    OptimisticLockError,
    SQLiteEventStore,
    register_event,
)
from pydantic import BaseModel

from benchmarks.engine.store_url import SERVER, schema_of
from benchmarks.measure import Measure, of_calls
from benchmarks.peers.shop import MOST_CALLERS, Contender, GaveUpError, SoldOutError

TTL = timedelta(minutes=5)


@register_event
class Added(DomainEvent):
    aggregate_type: str = "Stock"
    product_id: str
    store_id: str
    quantity: int


@register_event
class Reserved(DomainEvent):
    aggregate_type: str = "Stock"
    reservation_id: str
    quantity: int
    expires_at: datetime


@register_event
class Committed(DomainEvent):
    aggregate_type: str = "Stock"
    reservation_id: str
    quantity: int


class StockState(BaseModel):
    product_id: str = ""
    store_id: str = ""
    on_hand: int = 0
    reserved: int = 0
    holds: dict[str, int] = {}


class Stock(AggregateRoot[StockState]):
    aggregate_type = "Stock"

    def add(self, product_id: str, quantity: int) -> None:
        self._emit(Added, product_id=product_id, store_id="main", quantity=quantity)

    def reserve(self, reservation_id: str, quantity: int, expires_at: datetime) -> None:
        if self.state is None or self.state.on_hand - self.state.reserved < quantity:
            raise SoldOutError
        self._emit(Reserved, reservation_id=reservation_id, quantity=quantity, expires_at=expires_at)

    def commit(self, reservation_id: str) -> None:
        holds = {} if self.state is None else self.state.holds
        self._emit(Committed, reservation_id=reservation_id, quantity=holds[reservation_id])

    def _get_initial_state(self) -> StockState:
        return StockState(holds={})

    def _apply(self, event: DomainEvent) -> None:
        self._state: StockState
        state = self._state = self._state or self._get_initial_state()
        match event:
            case Added():
                state.product_id, state.store_id = event.product_id, event.store_id
                state.on_hand += event.quantity
            case Reserved():
                state.reserved += event.quantity
                state.holds[event.reservation_id] = event.quantity
            case Committed():
                del state.holds[event.reservation_id]
                state.reserved -= event.quantity
                state.on_hand -= event.quantity
            case _:
                raise TypeError(event)

    def _emit(self, kind: type[DomainEvent], **facts: object) -> None:
        self.apply_event(kind(aggregate_id=self.aggregate_id, aggregate_version=self.get_next_version(), **facts))


class EventsourceShop:
    def __init__(self, loop: asyncio.Runner, store: Any, lock: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._loop = loop
        self._store = store
        self._stocks: AggregateRepository[Stock] = AggregateRepository(store, Stock, enable_tracing=False)
        self._locks = defaultdict[str, AbstractAsyncContextManager[Any]](lock)
        self.deadline = 0.0

    def open_stock(self, product_id: str, units: int, *, reservations: int = 0) -> None:
        stock = self._stocks.create_new(_id_of(product_id))
        stock.add(product_id, units)
        for _ in range(reservations):
            stock.reserve(str(uuid4()), 1, datetime.now(UTC) + TTL)
        self._loop.run(self._stocks.save(stock))

    async def reserve(self, product_id: str) -> str:
        reservation_id = str(uuid4())
        await self._change(product_id, lambda stock: stock.reserve(reservation_id, 1, datetime.now(UTC) + TTL))
        return reservation_id

    async def reserve_and_commit(self, product_id: str) -> None:
        reservation_id = await self.reserve(product_id)
        await self._change(product_id, lambda stock: stock.commit(reservation_id))

    def run_callers(self, callers: int, calls: int, call: Callable[[int], Any], *, patience: float) -> tuple[Measure, int]:
        return self._loop.run(self._crowd(callers, calls, call, patience))

    def write(self, product_id: str, events: int) -> None:
        self._loop.run(self._write(product_id, events))

    def fold(self, product_id: str) -> int:
        return self._loop.run(self._stocks.load(_id_of(product_id))).version

    def products_of_the_feed(self) -> list[str]:
        return self._loop.run(self._products())

    async def _crowd(self, callers: int, calls: int, call: Callable[[int], Any], patience: float) -> tuple[Measure, int]:
        numbers = count()
        waits: list[float] = []
        refused: list[int] = []
        started = time.perf_counter()
        self.deadline = started + patience

        async def caller() -> None:
            while (number := next(numbers)) < calls and (before := time.perf_counter()) < self.deadline:
                try:
                    await call(number)
                except SoldOutError:
                    refused.append(number)
                except GaveUpError:
                    return
                waits.append(time.perf_counter() - before)

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(caller())
        return of_calls(waits, time.perf_counter() - started), len(waits) - len(refused)

    async def _change(self, product_id: str, change: Callable[[Stock], None]) -> None:
        async with self._locks[product_id]:
            pause = 0.001
            while True:
                stock = await self._stocks.load(_id_of(product_id))
                change(stock)
                try:
                    await self._stocks.save(stock)
                except OptimisticLockError:
                    if time.perf_counter() > self.deadline:
                        raise GaveUpError from None
                    await asyncio.sleep(random.random() * pause)
                    pause = min(pause * 2, 0.1)
                else:
                    return

    async def _write(self, product_id: str, events: int) -> None:
        stock = self._stocks.create_new(_id_of(product_id))
        for at in range(1, events + 1):
            stock.add(product_id, 1)
            if at % 1_000 == 0 or at == events:
                await self._stocks.save(stock)

    async def _products(self) -> list[str]:
        products: list[str] = []
        position, has_more = None, True
        while has_more:
            has_more = False
            async for envelope in self._store.read_all(position, FeedReadOptions(limit=2_000)):
                products.append(envelope.event.product_id)
                position, has_more = envelope.position, True
        return products


def _id_of(product_id: str) -> UUID:
    return uuid5(NAMESPACE_URL, f"/main/{product_id}")


async def on_postgresql(folder: Path) -> Any:
    """Open a store in a schema of its own, with as many connections as there are callers."""
    from eventsource.adapters.postgresql.store import PostgreSQLEventStore  # noqa: PLC0415  # not in the environment of SQLite
    from sqlalchemy import text  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    url, schema = os.environ[SERVER].replace("postgresql:", "postgresql+asyncpg:"), schema_of(folder)
    settings = {"server_settings": {"search_path": schema}}
    engine = create_async_engine(url, connect_args=settings, pool_size=MOST_CALLERS)
    async with engine.begin() as connection:
        await connection.execute(text(f"CREATE SCHEMA {schema}"))
    return PostgreSQLEventStore(engine, create_schema=True, owns_engine=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lock", action="store_true")
    parser.add_argument("--postgresql", action="store_true")
    options = parser.parse_args()

    @contextmanager
    def open_shop(folder: Path) -> Iterator[EventsourceShop]:
        with asyncio.Runner() as loop:
            opening = on_postgresql(folder) if options.postgresql else SQLiteEventStore(str(folder / "stock.db")).__aenter__()
            store: Any = loop.run(opening)
            try:
                yield EventsourceShop(loop, store, asyncio.Lock if options.lock else nullcontext)
            finally:
                loop.run(store.close())

    Contender(open_shop).serve()


if __name__ == "__main__":
    main()
