"""The job against an ``umadb`` server on this machine: read by tag, fold, append if no event of that tag came after.

The server is part of the package, and runs on a loopback port while its store is open. It syncs each commit: as durable as ours. Callers
are threads with one client. The library has no aggregate, and the fold is a few lines. ``--keep`` keeps each product's folded state
between commands, and reads only later events, under a lock of the host per product.
"""

import argparse
import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partialmethod
from pathlib import Path
from typing import Any
from uuid import uuid4

from umadb import AppendCondition, Client, Event, IntegrityError, Query, QueryItem

from benchmarks.peers.shop import Contender, GaveUpError, SoldOutError, in_threads

TTL = timedelta(minutes=5)


class Stock:
    def __init__(self) -> None:
        self.position = 0
        self.version = 0
        self.on_hand = 0
        self.reserved = 0
        self.holds: dict[str, int] = {}

    def apply(self, event_type: str, facts: dict[str, Any]) -> None:
        self.version += 1
        match event_type:
            case "Added":
                self.on_hand += facts["quantity"]
            case "Reserved":
                self.reserved += facts["quantity"]
                self.holds[facts["reservation_id"]] = facts["quantity"]
            case "Committed":
                quantity = self.holds.pop(facts["reservation_id"])
                self.reserved -= quantity
                self.on_hand -= quantity
            case _:
                raise ValueError(event_type)


class UmadbShop:
    run_callers = partialmethod(in_threads)

    def __init__(self, client: Client, *, keep: bool) -> None:
        self._client = client
        self._kept: dict[str, Stock] | None = {} if keep else None
        self._locks = defaultdict[str, AbstractContextManager[Any]](threading.Lock if keep else nullcontext)
        self.deadline = 0.0

    def open_stock(self, product_id: str, units: int, *, reservations: int = 0) -> None:
        reserved = [_reserved(product_id, str(uuid4())) for _ in range(reservations)]
        self._client.append([_event("Added", product_id, quantity=units), *reserved])

    def reserve(self, product_id: str) -> str:
        reservation_id = str(uuid4())

        def decide(stock: Stock) -> Event:
            if stock.on_hand - stock.reserved < 1:
                raise SoldOutError
            return _reserved(product_id, reservation_id)

        self._change(product_id, decide)
        return reservation_id

    def reserve_and_commit(self, product_id: str) -> None:
        reservation_id = self.reserve(product_id)
        self._change(product_id, lambda _: _event("Committed", product_id, reservation_id=reservation_id))

    def write(self, product_id: str, events: int) -> None:
        for start in range(0, events, 1_000):
            self._client.append([_event("Added", product_id, quantity=1) for _ in range(min(1_000, events - start))])

    def fold(self, product_id: str) -> int:
        return self._read(product_id, Stock()).version

    def products_of_the_feed(self) -> Iterator[str]:
        for found in self._client.read():
            yield json.loads(found.event.data)["product_id"]

    def _read(self, product_id: str, stock: Stock) -> Stock:
        for found in self._client.read(Query([QueryItem(tags=[product_id])]), start=stock.position + 1):
            stock.apply(found.event.event_type, json.loads(found.event.data))
            stock.position = found.position
        return stock

    def _change(self, product_id: str, decide: Callable[[Stock], Event]) -> None:
        query = Query([QueryItem(tags=[product_id])])
        with self._locks[product_id]:
            pause = 0.001
            while True:
                stock = self._read(product_id, Stock() if self._kept is None else self._kept.setdefault(product_id, Stock()))
                try:
                    self._client.append([decide(stock)], AppendCondition(query, stock.position))
                except IntegrityError:
                    if time.perf_counter() > self.deadline:
                        raise GaveUpError from None
                    time.sleep(random.random() * pause)
                    pause = min(pause * 2, 0.1)
                else:
                    return


def _event(event_type: str, product_id: str, **facts: object) -> Event:
    data = json.dumps({"product_id": product_id, "store_id": "main"} | facts, separators=(",", ":")).encode()
    return Event(event_type, data, tags=[product_id], uuid=uuid4())


def _reserved(product_id: str, reservation_id: str) -> Event:
    expires_at = (datetime.now(UTC) + TTL).isoformat()
    return _event("Reserved", product_id, reservation_id=reservation_id, quantity=1, expires_at=expires_at)


@contextmanager
def _server(folder: Path) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = str(Path(sys.executable).with_name("umadb"))
    arguments = [sys.executable, script, "--listen", f"127.0.0.1:{port}", "--db-path", str(folder / "stock.db")]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def _connect(port: int) -> Client:
    """Return a client as soon as the server answers."""
    deadline = time.monotonic() + 20
    while True:
        try:
            client = Client("http://" + f"127.0.0.1:{port}")
            client.head()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return client


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()

    @contextmanager
    def open_shop(folder: Path) -> Iterator[UmadbShop]:
        with _server(folder) as port, _connect(port) as client:
            yield UmadbShop(client, keep=options.keep)

    Contender(open_shop).serve()


if __name__ == "__main__":
    main()
