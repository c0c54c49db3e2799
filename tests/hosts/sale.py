"""A sale over HTTP: ``python -m tests.hosts.sale --buyers 1000 [--through gateway]``.

More buyers than there are units meet two workers of the shop service, or two replicas behind nginx, on each kind of store. Exactly the
units are sold, and every other buyer is told that nothing is left. Buyers are plain sockets, since a client library is slower than the
server.
"""

import argparse
import itertools
import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx

from tests.hosts.django_server import WORKERS, django_server
from tests.hosts.shop_server import shop_server
from tests.servers.nginx import WIDE, gateway
from tests.servers.postgresql import database

STORES = ("file", "sqlite", "postgresql")
SHELF = "/products/espresso-1kg/stores/berlin"
API_KEY = "a" * 64
"""The key of the buyers, which the gateway asks for."""
_AT_ONCE = 200
"""Connections at once: the others wait for one, as they do behind a proxy."""


@contextmanager
def open_store(kind: str, folder: Path) -> Iterator[str]:
    """Give the URL of an empty store, on a server of its own where it needs one."""
    if kind == "postgresql":
        with database() as url:
            yield url
    else:
        yield f"{kind}:{folder / 'stock'}"


async def buy(url: str, buyer: int | str, answers: Counter[tuple[int, str]], limit: anyio.CapacityLimiter, api_key: str = "") -> None:
    """Reserve a unit over a connection of its own, and count the answer."""
    body = b'{"quantity":1}'
    head = (
        f"POST {SHELF}/reservations HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nIdempotency-Key: buyer-{buyer}\r\n"
        f"X-Api-Key: {api_key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    async with limit:
        received = await exchange(url, head.encode() + body)
    said = json.loads(body_of(received))
    answers[int(received.split(b" ")[1]), said.get("code", said.get("state"))] += 1


def body_of(received: bytes) -> bytes:
    """Return the body of an answer.

    Raises:
        BrokenAnswerError: the server ended before the answer did.
    """
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    if length is None or len(body) < int(length[1]):
        raise BrokenAnswerError(received)
    return body


class BrokenAnswerError(Exception):
    """An answer that broke off. Its buyer knows nothing, and sends the same request again."""


async def exchange(url: str, request: bytes) -> bytes:
    """Send a request over a connection of its own, and return what comes until its end."""
    received = b""
    async with await anyio.connect_tcp("127.0.0.1", urlsplit(url).port or 0) as stream:
        await stream.send(request)
        try:
            while True:
                received += await stream.receive()
        except anyio.EndOfStream:
            return received


def sell(url: str, units: int, buyers: int, api_key: str = "") -> Counter[tuple[int, str]]:
    """Put units on the shelf, send all buyers at once, and return how often each answer came."""
    headers = {"Idempotency-Key": "delivery-1", "X-Api-Key": api_key}
    stocked = httpx.post(f"{url}{SHELF}/receipts", json={"quantity": units}, headers=headers)
    assert stocked.status_code == 200, stocked.text
    answers: Counter[tuple[int, str]] = Counter()

    async def rush() -> None:
        limit = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as tasks:
            for buyer in range(buyers):
                tasks.start_soon(buy, url, buyer, answers, limit, api_key)

    anyio.run(rush)
    return answers


def expected(units: int, buyers: int) -> dict[tuple[int, str], int]:
    """Return the only answers that may come."""
    return {(201, "OPEN"): units, (409, "insufficient_stock"): buyers - units}


@contextmanager
def behind_gateway(folder: Path, store: str) -> Iterator[str]:
    """Run nginx before two replicas of the service on a store, and give its URL."""
    environment = {"SHOP_STORE": store, "SHOP_GATEWAY": "yes"}
    with ExitStack() as servers:
        urls = [servers.enter_context(shop_server(folder, "api", environment=environment)) for _ in range(2)]
        ports = [urlsplit(url).port or 0 for url in urls]
        yield servers.enter_context(gateway(folder, ports, {API_KEY: "shop read sell stock"}, WIDE)).url


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.sale")
    parser.add_argument("--buyers", type=int, default=1_000)
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--host", choices=["fastapi", "django"], default="fastapi")
    parser.add_argument("--through", choices=["gateway"], help="two replicas of the FastAPI service behind nginx")
    given = parser.parse_args()
    workers: Mapping[str, Sequence[str]] = {"": ()} if given.host == "fastapi" else WORKERS
    for (worker, options), kind in itertools.product(workers.items(), STORES):
        if worker.startswith("greenlets") and kind == "postgresql":
            continue  # its driver is not promised under gevent
        with tempfile.TemporaryDirectory() as made, open_store(kind, Path(made)) as store, ExitStack() as servers:
            environment = {"SHOP_STORE": store}
            if given.through == "gateway":
                url = servers.enter_context(behind_gateway(Path(made), store))
            elif given.host == "fastapi":
                url = servers.enter_context(shop_server(Path(made), "api", "--workers", "2", environment=environment))
            else:
                url, _ = servers.enter_context(django_server(Path(made), "--workers", "2", *options, environment=environment))
            begun = time.perf_counter()
            answers = sell(url, given.units, given.buyers, API_KEY)
            seconds = time.perf_counter() - begun
            level = httpx.get(f"{url}{SHELF}", headers={"X-Api-Key": API_KEY}).json()
            print(
                f"{worker or given.through or given.host} {kind}: {dict(answers)} in {seconds:.1f} s, {level['available']} available",
                flush=True,
            )
            assert answers == expected(given.units, given.buyers)
            assert (level["reserved"], level["available"]) == (given.units, 0)


if __name__ == "__main__":
    main()
