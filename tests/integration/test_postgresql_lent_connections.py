"""The PostgreSQL store over connections of the host, whose sessions, adapters and handlers are the host's own."""

import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import Any, LiteralString

import anyio
import pytest
from psycopg import Connection, connect
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from inventory_es import InsufficientStockError, open_inventory
from inventory_es.adapters.postgresql import open_postgresql_event_store
from inventory_es.adapters.postgresql.event_store import PostgresqlStore
from inventory_es.adapters.postgresql.place import lent_place
from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import IncompatibleStoreError, StoreUnavailableError
from tests.servers.postgresql import database

Lent = Connection[dict[str, Any]]
_STRANGE: tuple[LiteralString, ...] = (
    "SET search_path = elsewhere",
    "SET TimeZone = 'Asia/Kathmandu'",
    "SET DateStyle = 'SQL, DMY'",
    "SET bytea_output = 'escape'",
    "SET standard_conforming_strings = off",
    "SET enable_indexscan = off",
    "SET lock_timeout = '1min'",
    "CREATE TEMPORARY TABLE events (position text)",
    "CREATE TEMPORARY TABLE meta (store_id text)",
    "PREPARE _pg3_0 AS SELECT 1",
)


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    with database() as made:
        yield made


def pool_of(database_url: str, *settings: LiteralString, most: int = 4) -> ConnectionPool[Lent]:
    """Return a pool of the host, whose connections give rows as dictionaries and have these settings."""

    def configure(connection: Lent) -> None:
        for setting in settings:
            connection.execute(setting)
        connection.commit()

    return ConnectionPool(
        database_url, min_size=1, max_size=most, kwargs={"row_factory": dict_row}, configure=configure, open=True, timeout=30
    )


def store_of(pool: ConnectionPool[Lent], schema: str, options: str = "") -> PostgresqlStore:
    return PostgresqlStore(lent_place(f"postgresql://?schema={schema}{options}"), lend=pool.connection)


def test_a_service_sells_over_a_pool_with_strange_sessions(database_url: str, backend: str) -> None:
    async def main() -> None:
        url = f"postgresql://?schema=strange_{backend}"
        with pool_of(database_url, *_STRANGE) as pool:
            async with open_postgresql_event_store(url, lend=pool.connection) as store, open_inventory(store, snapshots=store) as inventory:
                await inventory.add_stock("tea", "berlin", 10)
                sold: list[int] = []

                async def buy(number: int) -> None:
                    with suppress(InsufficientStockError):
                        await inventory.reserve("tea", "berlin", 1, ttl=timedelta(minutes=1))
                        sold.append(number)

                async with anyio.create_task_group() as tasks:
                    for number in range(30):
                        tasks.start_soon(buy, number)
                assert (len(sold), (await inventory.stock("tea", "berlin")).available) == (10, 0)
                stream = StreamId("inventory", "tea", "berlin")
                async with store.turn(stream):
                    await inventory.add_stock("tea", "berlin", 1)
                first = (await store.read_stream(stream, limit=1)).events[0]
                assert await store.find_events(stream, [first.event_id]) == [first]
            with pool.connection() as connection:
                assert connection.execute("SELECT count(*) AS events FROM pg_temp.events").fetchone() == {"events": 0}
                shown = connection.execute("SELECT current_setting('search_path') AS path, current_setting('lock_timeout') AS lock")
                assert shown.fetchone() == {"path": "elsewhere", "lock": "1min"}
            assert not pool.closed

    anyio.run(main, backend=backend)


def test_the_handlers_of_the_host_are_its_own_again(database_url: str) -> None:
    heard: list[str] = []
    with pool_of(database_url, most=1) as pool:
        with pool.connection() as connection:
            connection.add_notice_handler(lambda told: heard.append(str(told.message_primary)))
        store = store_of(pool, "handlers")
        assert store.head() == 0
        store.close()
        with pool.connection() as connection:
            connection.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
    assert heard == ["hello"]


def test_a_session_whose_settings_would_change_an_answer_is_refused(database_url: str) -> None:
    for setting, told in (
        ("SET client_encoding = 'LATIN1'", "client_encoding of a lent connection is LATIN1"),
        ("SET default_transaction_isolation = 'serializable'", "transactions of this role are serializable"),
    ):
        with pool_of(database_url, setting) as pool, pytest.raises(IncompatibleStoreError, match=told):
            store_of(pool, "refused")


def test_a_connection_in_a_transaction_is_refused(database_url: str) -> None:
    with connect(database_url) as busy:
        busy.execute("SELECT 1")

        with pytest.raises(IncompatibleStoreError, match="in a transaction"):
            PostgresqlStore(lent_place("postgresql://?schema=busy"), lend=lambda _: nullcontext(busy))


def test_a_pool_that_is_empty_or_closed_is_waited_for_no_longer_than_the_timeout(database_url: str) -> None:
    with pool_of(database_url, most=1) as pool:
        store = store_of(pool, "empty", "&timeout=0.5")
        with pool.connection():
            started = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="the host lends no connection"):
                store.head()
            assert time.monotonic() - started < 20
        assert store.head() == 0
    with pytest.raises(StoreUnavailableError, match="the host lends no connection"):
        store.head()


def test_a_lost_connection_is_replaced_by_the_pool(database_url: str) -> None:
    with pool_of(database_url, most=2) as pool:
        store = store_of(pool, "lost")
        for _ in range(3):
            with connect(database_url, autocommit=True) as killer:
                others: LiteralString = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
                killer.execute("SELECT pg_terminate_backend(pid, 5000) " + others)
            give_up = time.monotonic() + 30
            while True:
                with suppress(StoreUnavailableError, IncompatibleStoreError):
                    assert store.head() == 0
                    break
                assert time.monotonic() < give_up
        threads = [threading.Thread(target=store.head) for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        store.close()
        with pool.connection() as connection:
            assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}


@pytest.mark.parametrize(
    "url,told",
    [
        ("postgresql://stock:hunter2@localhost/shop", "the URL has options of the store alone"),
        ("postgresql://?application_name=shop", "the URL has options of the store alone"),
        ("postgresql://?notify=on", "the option notify of the URL needs connections of its own"),
        ("postgresql://?replica=other", "the option replica of the URL needs connections of its own"),
    ],
)
def test_a_url_says_no_more_than_lent_connections_need(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        open_postgresql_event_store(url, lend=lambda _: connect())
    assert "hunter2" not in str(refused.value)
