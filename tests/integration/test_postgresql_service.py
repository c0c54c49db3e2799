"""The inventory service over PostgreSQL, by URL."""

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import anyio
import attrs
import pytest
from psycopg import connect

from inventory_es import InsufficientStockError, open_inventory, sync
from inventory_es.adapters.postgresql import open_postgresql_read_model
from inventory_es.errors import IncompatibleStoreError, ReadModelUnavailableError, StoreUnavailableError
from inventory_es.ports import ProjectionId
from tests.servers.postgresql import free_port, own_database, url_of


@pytest.fixture(scope="module", autouse=True)
def on_a_server() -> Iterator[None]:
    with own_database():
        yield


def test_two_services_share_one_schema(backend: str) -> None:
    async def main() -> None:
        url = url_of(f"shared_{backend}")
        async with open_inventory(url) as one, open_inventory(url.replace("postgresql:", "postgres:")) as other:
            await one.add_stock("tea", "berlin", 3)
            await other.reserve("tea", "berlin", 2, ttl=timedelta(minutes=1))
            assert (await one.stock("tea", "berlin")).available == 1

    anyio.run(main, backend=backend)


def test_schemas_are_stores_of_their_own(backend: str) -> None:
    async def main() -> None:
        async with open_inventory(url_of(f"one_{backend}")) as one, open_inventory(url_of(f"other_{backend}")) as other:
            await one.add_stock("tea", "berlin", 3)
            assert (await other.stock("tea", "berlin")).on_hand == 0

    anyio.run(main, backend=backend)


def test_queries_and_snapshots_live_in_the_same_schema(backend: str) -> None:
    async def main() -> None:
        url = url_of(f"whole_{backend}")
        async with open_inventory(url, read_models=url, snapshots=url) as inventory:
            stored = await inventory.add_stock("tea", "berlin", 3)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(inventory.followers.run, on_failure="stop"))
                row = await inventory.queries.stock("tea", "berlin", wait_for_position=stored.position)
                tasks.cancel_scope.cancel()
            assert row is not None
            assert row.on_hand == 3

    anyio.run(main, backend=backend)


def test_threads_sell_without_an_event_loop_and_followers_keep_up() -> None:
    url = url_of("threads")
    before = {thread.name for thread in threading.enumerate()}
    with sync.open_inventory(url, read_models=url) as inventory:
        inventory.add_stock("tea", "berlin", 10)
        sold: list[int] = []

        def buy(number: int) -> None:
            with suppress(InsufficientStockError):
                inventory.reserve("tea", "berlin", 1, ttl=timedelta(minutes=1))
                sold.append(number)

        buyers = [threading.Thread(target=buy, args=(number,)) for number in range(30)]
        following = threading.Thread(target=inventory.followers.run, kwargs={"on_failure": "stop"}, daemon=True)
        for thread in (following, *buyers):
            thread.start()
        for thread in buyers:
            thread.join(60)
        level = inventory.stock("tea", "berlin")
        assert (len(sold), level.available) == (10, 0)
        row = inventory.queries.stock("tea", "berlin", wait_for_position=level.position)
        assert row is not None
        assert row.reserved == 10
        inventory.followers.stop()
        following.join(60)
        assert not following.is_alive()
        assert "inventory_es" not in {thread.name for thread in threading.enumerate()} - before, "no event loop"


@pytest.mark.parametrize(
    "wrong,told",
    [
        ("postgresql://localhost/shop?schema=Berlin", "the schema 'Berlin' must be lower-case"),
        ("postgresql://localhost/shop?schema=pg_shop", "the schema 'pg_shop' must be lower-case"),
        ("postgresql://localhost/shop?pooler=session", "pooler of the URL must be transaction"),
        ("postgresql://localhost/shop?timeout=soon", "timeout of the URL must be 0.1 to 60 seconds"),
        ("postgresql://localhost/shop?colour=red", "the unknown option colour"),
        ("postgresql://localhost/shop?schema=a&schema=b", "the option schema of the URL is given twice"),
        ("postgresql://localhost:port/shop", "can't be read"),
    ],
)
def test_a_wrong_url_is_told(wrong: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        open_inventory(wrong)


def test_a_projection_that_another_session_holds_is_waited_for_no_longer_than_two_seconds(backend: str) -> None:
    async def main() -> None:
        url = url_of(f"held_{backend}")
        async with open_inventory(url, read_models=url) as inventory:
            await inventory.add_stock("tea", "berlin", 1)
            await inventory.followers.catch_up(on_failure="stop")
            await inventory.add_stock("tea", "berlin", 1)
            async with open_postgresql_read_model(url) as rows:
                projection = ProjectionId("stock_levels", 1)
                seen = await rows.checkpoint(projection)
                with connect(url.partition("?")[0]) as other:
                    other.execute(f"SELECT FROM held_{backend}.projections FOR UPDATE")
                    with pytest.raises(ReadModelUnavailableError, match="another writer holds the lock"):
                        await rows.commit(projection, (), before=seen, after=attrs.evolve(seen, position=seen.position + 1))
            await inventory.followers.catch_up(on_failure="stop")

    anyio.run(main, backend=backend)


def test_durability_is_no_option_of_read_models() -> None:
    with pytest.raises(ValueError, match="durability of the URL is for an event store"):
        open_inventory("memory:", read_models="postgresql://localhost/shop?durability=machine")


@pytest.mark.parametrize(
    "arguments",
    [
        {"store": "Postgresql://stock:hunter2@localhost/shop"},
        {"store": "//stock:hunter2@localhost/shop"},
        {"store": "sqlite://stock:hunter2@localhost/shop"},
        {"store": "memory:", "read_models": "Postgres://stock:hunter2@localhost/shop"},
        {"store": "memory:", "read_models": "mysql://stock:hunter2@localhost/shop"},
        {"store": "memory:", "snapshots": "Postgres://stock:hunter2@localhost/shop"},
    ],
    ids=str,
)
def test_a_url_of_a_wrong_form_keeps_its_password(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the text is what is looked at
        open_inventory(arguments.pop("store"), **arguments)
    assert "hunter2" not in f"{refused.value!r} {refused.value.__cause__!r}"


@pytest.mark.parametrize(
    "place",
    ["stock:hunter2@localhost:port/shop", "stock:hunter2%@localhost/shop", "stock:hunter2@localhost/shop?colour=red"],
)
def test_a_refused_url_keeps_its_password(place: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # the text is what is looked at
        open_inventory(f"postgresql://{place}")
    assert "hunter2" not in f"{refused.value!r} {refused.value.__cause__!r}"


def test_what_is_not_there_is_told(backend: str) -> None:
    async def opened(url: str) -> None:
        async with open_inventory(url):
            raise AssertionError

    no_server = f"postgresql://stock:hunter2@127.0.0.1:{free_port()}/shop"
    with pytest.raises(StoreUnavailableError, match="connection refused") as away:
        anyio.run(opened, no_server, backend=backend)
    assert "hunter2" not in f"{away.value!r} {away.value}"
    with pytest.raises(IncompatibleStoreError, match="no such database"):
        anyio.run(opened, re.sub(r"/\w+\?", "/nowhere?", url_of("x")), backend=backend)
    with pytest.raises(IncompatibleStoreError, match="no such user"):
        anyio.run(opened, url_of("x").replace("postgres@", "nobody@"), backend=backend)
