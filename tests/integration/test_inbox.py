"""The inbox: each event is handled once, whenever the process dies, beside SQLite and PostgreSQL."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest

from inventory_es.adapters.file import open_file_event_bus
from inventory_es.adapters.system import SystemClock
from inventory_es.inbox import TABLE, handled
from inventory_es.testing.contracts.core.event_labels import EventLabels, recorded, stream_id
from tests.servers.postgresql import database

STREAM = stream_id("tea")
Connect = Callable[[], Any]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database is that has the table of the inbox and one of effects."""
    found = str(tmp_path / "host.db") if request.param == "sqlite" else str(request.getfixturevalue("postgresql"))
    with closing(connect(found)) as connection, transaction(connection):
        for statement in ("DROP TABLE IF EXISTS inventory_es_inbox", "DROP TABLE IF EXISTS effects", TABLE, TABLE):
            connection.execute(statement)
        connection.execute("CREATE TABLE effects (version BIGINT)")
    return found


def connect(url: str, **settings: Any) -> Any:
    return psycopg.connect(url, **settings) if url.startswith("postgresql:") else sqlite3.connect(url, **settings)


@contextmanager
def transaction(connection: Any) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def rows(url: str, query: str) -> Sequence[tuple[Any, ...]]:
    with closing(connect(url)) as connection:
        return list(connection.execute(query).fetchall())


CONSUMER = """
import os, signal, sqlite3, sys, anyio, psycopg
from inventory_es.adapters.file import open_file_event_bus
from inventory_es.adapters.system import SystemClock
from inventory_es.inbox import handled

folder, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
postgresql = url.startswith("postgresql:")

def die():
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    connection = psycopg.connect(url) if postgresql else sqlite3.connect(url)
    async with open_file_event_bus(folder, clock=SystemClock()) as bus, bus.subscribe("mailer") as deliveries:
        async for delivery in deliveries:
            event = delivery.event
            if not handled(connection, "mailer", event.stream, event.version):
                connection.execute(f"INSERT INTO effects (version) VALUES ({event.version})")
            if delivery.attempt == 1:
                die()
            connection.commit()
            if delivery.attempt == 2:
                die()
            await delivery.ack()
            if event.version == count:
                break

anyio.run(main)
"""


def test_each_effect_happens_once_although_the_process_is_killed_at_every_event(url: str, tmp_path: Path) -> None:
    """Each event meets a death before the commit, one between the commit and the answer, and then an answer."""
    labels = EventLabels()
    events = [recorded(STREAM, n, n, labels.event(f"e{n}")) for n in range(1, 4)]

    async def publish() -> None:
        async with open_file_event_bus(tmp_path / "bus", clock=SystemClock()) as bus:
            async with bus.subscribe("mailer"):
                pass
            await bus.publish(events)

    anyio.run(publish)
    command = [sys.executable, "-c", CONSUMER, str(tmp_path / "bus"), url, str(len(events))]
    ends = [subprocess.run(command, check=False, timeout=60).returncode for _ in range(2 * len(events) + 1)]
    assert ends == [-signal.SIGKILL] * 2 * len(events) + [0]
    assert Counter(version for (version,) in rows(url, "SELECT version FROM effects")) == {1: 1, 2: 1, 3: 1}
    assert sorted(rows(url, "SELECT consumers, stream, version FROM inventory_es_inbox")) == [("mailer", STREAM.text, n) for n in (1, 2, 3)]


def test_an_event_is_known_by_group_stream_and_version(url: str) -> None:
    with closing(connect(url)) as connection:
        with transaction(connection):
            assert not handled(connection, "mailer", STREAM, 1)
            assert handled(connection, "mailer", STREAM, 1)
        with suppress(ZeroDivisionError), transaction(connection):
            assert not handled(connection, "mailer", STREAM, 2)
            raise ZeroDivisionError
    with closing(connect(url)) as connection:
        assert handled(connection, "mailer", STREAM, 1)
        assert not handled(connection, "mailer", STREAM, 2), "the rollback took the note back"
        assert not handled(connection, "mailer", stream_id("Tea"), 1)
        assert not handled(connection, "stock-page", STREAM, 1)
        assert not handled(connection, "mailer", STREAM, (1 << 63) - 1)


@pytest.mark.parametrize("commits", [True, False])
def test_a_second_transaction_waits_for_the_first(url: str, *, commits: bool) -> None:
    found: list[bool] = []

    def second() -> None:
        with closing(connect(url)) as other, transaction(other):
            found.append(handled(other, "mailer", STREAM, 1))

    with closing(connect(url)) as first:
        assert not handled(first, "mailer", STREAM, 1)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        assert found == []
        first.commit() if commits else first.rollback()
        thread.join(20)
    assert found == [commits]


def test_a_connection_that_commits_by_itself_is_refused(url: str) -> None:
    settings: dict[str, Any] = {"autocommit": True} if url.startswith("postgresql:") else {"isolation_level": None}
    with closing(connect(url, **settings)) as connection:
        with pytest.raises(RuntimeError, match="begin a transaction, which has the changes of the event too"):
            handled(connection, "mailer", STREAM, 1)
        connection.execute("BEGIN")
        assert not handled(connection, "mailer", STREAM, 1)
        connection.execute("ROLLBACK")
    assert rows(url, "SELECT version FROM inventory_es_inbox") == []


def test_an_asynchronous_connection_is_refused(postgresql: str) -> None:
    async def play() -> None:
        async with await psycopg.AsyncConnection.connect(postgresql) as connection:
            with pytest.raises(TypeError, match="a AsyncConnection is asynchronous"):
                handled(connection, "mailer", STREAM, 1)

    asyncio.run(play())
