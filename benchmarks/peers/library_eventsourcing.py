"""The job in ``eventsourcing``, as its documentation shows it: an aggregate, an application, a retry on a conflict.

The SQLite recorder commits each save with ``synchronous=FULL``, SQLite's default, in write-ahead mode: as durable as ours. A PostgreSQL
server commits by its own settings, and has a connection for each caller. Callers are threads. ``--cache`` turns on the library's aggregate
cache. ``--lock`` also adds a lock of the host per product, so that threads of one process never conflict. That is the best that we found
for a hot product.
"""

import argparse
import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partialmethod
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError

from benchmarks.engine.store_url import SERVER, schema_of
from benchmarks.peers.shop import Contender, GaveUpError, SoldOutError, in_threads

TTL = timedelta(minutes=5)


class Stock(Aggregate):
    @event("Opened")
    def __init__(self, product_id: str, store_id: str) -> None:
        self.product_id = product_id
        self.store_id = store_id
        self.on_hand = 0
        self.reserved = 0
        self.holds: dict[str, int] = {}

    @staticmethod
    def create_id(product_id: str, store_id: str) -> UUID:
        return uuid5(NAMESPACE_URL, f"/{store_id}/{product_id}")

    def reserve(self, reservation_id: str, quantity: int, expires_at: datetime) -> None:
        if self.on_hand - self.reserved < quantity:
            raise SoldOutError
        self.hold(reservation_id, quantity, expires_at)

    @event("Added")
    def add(self, product_id: str, quantity: int) -> None:  # noqa: ARG002  # in the event, for whoever reads the feed
        self.on_hand += quantity

    @event("Reserved")
    def hold(self, reservation_id: str, quantity: int, expires_at: datetime) -> None:  # noqa: ARG002  # in the event
        self.reserved += quantity
        self.holds[reservation_id] = quantity

    @event("Committed")
    def commit(self, reservation_id: str) -> None:
        quantity = self.holds.pop(reservation_id)
        self.reserved -= quantity
        self.on_hand -= quantity


class Stocks(Application[UUID]):
    log_section_size = 2_000


class EventsourcingShop:
    run_callers = partialmethod(in_threads)

    def __init__(self, stocks: Stocks, lock: Callable[[], AbstractContextManager[Any]]) -> None:
        self._stocks = stocks
        self._locks = defaultdict[UUID, AbstractContextManager[Any]](lock)
        self.deadline = 0.0

    def open_stock(self, product_id: str, units: int, *, reservations: int = 0) -> None:
        stock = Stock(product_id, "main")
        stock.add(product_id, units)
        for _ in range(reservations):
            stock.reserve(str(uuid4()), 1, datetime.now(UTC) + TTL)
        self._stocks.save(stock)

    def reserve(self, product_id: str) -> str:
        reservation_id = str(uuid4())
        self._change(product_id, lambda stock: stock.reserve(reservation_id, 1, datetime.now(UTC) + TTL))
        return reservation_id

    def reserve_and_commit(self, product_id: str) -> None:
        reservation_id = self.reserve(product_id)
        self._change(product_id, lambda stock: stock.commit(reservation_id))

    def write(self, product_id: str, events: int) -> None:
        stock = Stock(product_id, "main")
        for at in range(2, events + 1):
            stock.add(product_id, 1)
            if at % 1_000 == 0:
                self._stocks.save(stock)
        self._stocks.save(stock)

    def fold(self, product_id: str) -> int:
        stock: Stock = self._stocks.repository.get(Stock.create_id(product_id, "main"))
        return stock.version

    def products_of_the_feed(self) -> Iterator[str]:
        start = 1
        while notifications := self._stocks.notification_log.select(start, limit=self._stocks.log_section_size):
            for notification in notifications:
                yield self._stocks.mapper.to_domain_event(notification).product_id
            start = notifications[-1].id + 1

    def _change(self, product_id: str, change: Callable[[Stock], None]) -> None:
        stock_id = Stock.create_id(product_id, "main")
        with self._locks[stock_id]:
            pause = 0.001
            while True:
                try:
                    stock: Stock = self._stocks.repository.get(stock_id)
                except RuntimeError:  # the cache copies an aggregate while another thread updates it
                    continue
                change(stock)
                try:
                    self._stocks.save(stock)
                except IntegrityError:
                    if time.perf_counter() > self.deadline:
                        raise GaveUpError from None
                    time.sleep(random.random() * pause)
                    pause = min(pause * 2, 0.1)
                else:
                    return


def on_postgresql(folder: Path) -> dict[str, str]:
    """Return the settings for a schema of its own, with as many connections as there are callers."""
    import psycopg  # noqa: PLC0415  # not in the environment of the other stores

    server, schema = urlsplit(os.environ[SERVER]), schema_of(folder)
    with psycopg.connect(server.geturl(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": server.path.removeprefix("/"),
        "POSTGRES_HOST": str(server.hostname),
        "POSTGRES_PORT": str(server.port),
        "POSTGRES_USER": str(server.username),
        "POSTGRES_PASSWORD": str(server.password or ""),
        "POSTGRES_SCHEMA": schema,
        "POSTGRES_POOL_SIZE": "64",
        "POSTGRES_MAX_WAITING": "0",
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", choices=["memory", "sqlite", "postgresql"])
    parser.add_argument("--cache", action="store_true")
    parser.add_argument("--lock", action="store_true")
    options = parser.parse_args()

    @contextmanager
    def open_shop(folder: Path) -> Iterator[EventsourcingShop]:
        env = {"AGGREGATE_CACHE_MAXSIZE": "2000"} if options.cache else {}
        if options.store == "sqlite":
            env |= {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "stock.db"), "SQLITE_LOCK_TIMEOUT": "30"}
        if options.store == "postgresql":
            env |= on_postgresql(folder)
        with Stocks(env=env) as stocks:
            yield EventsourcingShop(stocks, threading.Lock if options.lock else nullcontext)

    Contender(open_shop).serve()


if __name__ == "__main__":
    main()
