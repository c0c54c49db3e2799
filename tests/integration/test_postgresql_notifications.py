"""The PostgreSQL store with ``notify=on``: processes tell each other of appends, and a look at the feed finds what was not told."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import IO, LiteralString
from uuid import uuid4

import anyio
import pytest
from psycopg import connect, sql

from inventory_es import open_inventory
from inventory_es.adapters.postgresql import feed, open_postgresql_event_store
from inventory_es.adapters.postgresql.event_store import PostgresqlEventStore, PostgresqlStore
from inventory_es.adapters.postgresql.place import parse_place
from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import IncompatibleStoreError
from inventory_es.ports import NewEvent, StreamWrite
from inventory_es.ports.toolkit.waiting import run_to_end
from tests.servers.pgbouncer import PGBOUNCER, pooler
from tests.servers.postgresql import Server, server

LONG = 60.0
"""Seconds. A wait that ends long before was woken."""

_WRITER = """
import sys
from inventory_es import sync
with sync.open_inventory(sys.argv[1]) as inventory:
    for _ in sys.stdin:
        print(inventory.add_stock("tea", "berlin", 1).position, flush=True)
"""
_LISTENERS: LiteralString = (
    "FROM pg_stat_activity WHERE application_name = 'inventory-es' AND (query LIKE 'LISTEN%' OR query LIKE '%NOTIFY%')"
)
_nothing = threading.Event()


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with server() as one:
        yield one


@pytest.fixture
def without_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the feed of an empty store, but after news."""
    monkeypatch.setattr(feed, "_POLLS", (0.005, LONG, LONG))


def url_of(running: Server, schema: str) -> str:
    return f"{running.url}?schema={schema}&notify=on"


@contextmanager
def another_process(url: str) -> Iterator[Callable[[], int]]:
    """Run a process that sells over the store, and yield what lets it append and returns the position."""
    with subprocess.Popen([sys.executable, "-c", _WRITER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests: IO[str] = process.stdin
        answers: IO[str] = process.stdout

        def append() -> int:
            requests.write("\n")
            requests.flush()
            return int(answers.readline())

        yield append


def append(store: PostgresqlStore, version: int) -> None:
    event = NewEvent(uuid4(), "Tested", 1, datetime(2026, 1, 5, tzinfo=UTC), b'{"a":1}')
    store.commit([[StreamWrite(StreamId("test", "x"), version, [event])]])


def is_listening(store: PostgresqlEventStore) -> bool:
    notifications = store._store.notifications
    return notifications is not None and notifications.is_listening


def until(is_so: Callable[[], object], problem: str) -> None:
    give_up = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < give_up, problem
        _nothing.wait(0.001)


def end_listeners(running: Server) -> int:
    """End the sessions that listen, and return their number."""
    with connect(running.url, autocommit=True) as connection:
        return connection.execute(b"SELECT pg_terminate_backend(pid, 5000) " + _LISTENERS.encode()).rowcount


@pytest.mark.usefixtures("without_looks")
def test_a_task_is_woken_by_an_append_of_another_process(running: Server, backend: str) -> None:
    async def main() -> None:
        url = url_of(running, f"woken_{backend}")
        async with open_postgresql_event_store(url) as store:
            with another_process(url) as append_there:
                woken: list[bool] = []

                async def wait() -> None:
                    woken.append(await store.wait_for_position(1, timeout=LONG))

                with anyio.fail_after(LONG / 2):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(wait)
                        await anyio.to_thread.run_sync(until, lambda: is_listening(store), "nobody listens")
                        tasks.start_soon(anyio.to_thread.run_sync, append_there)
                assert woken == [True]

    anyio.run(main, backend=backend)


@pytest.mark.usefixtures("without_looks")
def test_a_thread_is_woken_by_an_append_of_another_process(running: Server) -> None:
    async def wait() -> bool:
        async with open_postgresql_event_store(url) as store:

            def append_then() -> None:
                until(lambda: is_listening(store), "nobody listens")
                append_there()

            writer = threading.Thread(target=append_then)
            writer.start()
            try:
                return await store.wait_for_position(1, timeout=LONG)
            finally:
                writer.join()

    url = url_of(running, "woken_threads")
    with another_process(url) as append_there:
        started = time.monotonic()
        assert run_to_end(wait())
        assert time.monotonic() - started < LONG / 2


def test_followers_miss_nothing_while_the_session_that_listens_is_lost_again_and_again(running: Server, backend: str) -> None:
    async def main() -> None:
        url = url_of(running, f"lost_{backend}")
        async with open_inventory(url, read_models=url.removesuffix("&notify=on")) as inventory:
            with another_process(url) as append_there:
                ended = 0

                async def write() -> None:
                    nonlocal ended
                    position = 0
                    for number in range(60):
                        position = await anyio.to_thread.run_sync(append_there)
                        if number % 15 == 7:
                            ended += await anyio.to_thread.run_sync(end_listeners, running)
                    row = await inventory.queries.stock("tea", "berlin", wait_for_position=position)
                    assert row is not None
                    assert row.on_hand == 60
                    inventory.followers.stop()

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(write)
                    await inventory.followers.run(on_failure="stop")
                assert ended

    anyio.run(main, backend=backend)


def test_a_lost_session_is_replaced_and_the_loss_is_logged_once(
    running: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(PostgresqlStore(parse_place(url_of(running, "replaced")))) as store:
        notifications = store.notifications
        assert notifications is not None
        heard: list[bool] = []
        notifications.heard = lambda: heard.append(notifications.is_listening)
        notifications.start()
        until(lambda: heard, "nobody listens")
        assert end_listeners(running) >= 1
        until(lambda: len(heard) > 1, "nobody listens again")
        assert heard == [False, False], "whoever waits looks again, since nobody listened meanwhile"
    assert [record.getMessage() for record in caplog.records] == ["store_notifications_lost"]


def test_notifications_are_few_and_come_from_no_session_that_appends(running: Server) -> None:
    with closing(PostgresqlStore(parse_place(url_of(running, "throttled")))) as store, connect(running.url, autocommit=True) as ear:
        assert store.notifications is not None
        ear.execute(sql.SQL("LISTEN {}").format(store.notifications._channel))
        append(store, 0)
        store.notifications.tell()
        told = list(ear.notifies(timeout=LONG, stop_after=1))
        started = time.monotonic()
        for _ in range(1_000):
            store.notifications.tell()
            told += ear.notifies(timeout=0)
        most = (time.monotonic() - started) / 0.5 + 2
        appenders = ear.execute("SELECT pid FROM pg_stat_activity WHERE query LIKE '%throttled%append_v1%'").fetchall()
        assert 1 <= len(told) <= most
        assert appenders
        assert {one.pid for one in told}.isdisjoint(pid for (pid,) in appenders)


def test_closing_ends_the_thread_and_the_session(running: Server) -> None:
    with closing(PostgresqlStore(parse_place(url_of(running, "ended")))) as store:
        assert store.notifications is not None
        store.notifications.tell()
        assert "inventory_es notifications" in {thread.name for thread in threading.enumerate()}
    assert "inventory_es notifications" not in {thread.name for thread in threading.enumerate()}
    until(lambda: not end_listeners(running), "the session is left")
    store.notifications.tell()
    assert "inventory_es notifications" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.skipif(PGBOUNCER is None, reason="apt-get install pgbouncer")
def test_a_pooler_before_the_server_is_refused(running: Server) -> None:
    with pooler(running) as url, pytest.raises(IncompatibleStoreError, match="notify=on needs a session of its own, and a pooler"):
        PostgresqlStore(parse_place(f"{url}?schema=pooled&notify=on"))


@pytest.mark.parametrize(
    "options,told",
    [
        ("notify=on&pooler=transaction", "which a pooler in transaction mode does not give"),
        ("notify=soon", "notify of the URL must be on or off, not 'soon'"),
    ],
)
def test_a_wrong_option_is_told(options: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        open_inventory(f"postgresql://localhost/shop?{options}")


def test_notify_is_no_option_of_read_models() -> None:
    with pytest.raises(ValueError, match="notify of the URL is for an event store"):
        open_inventory("memory:", read_models="postgresql://localhost/shop?notify=on")
