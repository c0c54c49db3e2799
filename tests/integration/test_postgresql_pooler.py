"""The PostgreSQL store behind PgBouncer in transaction mode, where each statement may reach another session."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from psycopg import connect

from inventory_es import InsufficientStockError, sync
from inventory_es.adapters.postgresql import migrate
from inventory_es.cli.commands.servers import examine
from inventory_es.errors import AppendOutcomeUnknownError, StoreUnavailableError
from tests.servers.pgbouncer import PGBOUNCER, pooler
from tests.servers.postgresql import Server, server

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="apt-get install pgbouncer")


@pytest.fixture(scope="module")
def pooled() -> Iterator[tuple[Server, str]]:
    with server({"fsync": "on"}) as one, pooler(one) as url:
        yield one, f"{url}?pooler=transaction&schema="


def test_several_services_sell_and_project_over_fewer_sessions(pooled: tuple[Server, str]) -> None:
    server, url = pooled[0], pooled[1] + "sold"
    migrate(url)
    sold: list[str] = []

    def buy(number: int) -> None:
        with sync.open_inventory(url) as shop, suppress(InsufficientStockError):
            for again in range(5):
                shop.reserve("tea", "berlin", 1, ttl=timedelta(minutes=1), reservation_id=f"r{number}-{again}")
                sold.append(f"r{number}-{again}")

    with sync.open_inventory(url, read_models=url, snapshots=url) as inventory:
        inventory.add_stock("tea", "berlin", 20)
        buyers = [threading.Thread(target=buy, args=(number,)) for number in range(6)]
        for one in buyers:
            one.start()
        for one in buyers:
            one.join(60)
        inventory.followers.catch_up(on_failure="stop")
        row = inventory.queries.stock("tea", "berlin")
        assert row is not None
        assert (len(sold), row.reserved, inventory.stock("tea", "berlin").available) == (20, 20, 0)
    with connect(server.url) as connection:
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'inventory-es' AND backend_type = 'client backend'"
        ((used,),) = connection.execute(sessions).fetchall()
        assert 1 <= used <= 3


def test_sessions_that_the_pooler_loses_lose_no_event(pooled: tuple[Server, str]) -> None:
    server, url = pooled[0], pooled[1] + "cut"
    with sync.open_inventory(url) as inventory:
        for number in range(30):
            if number % 10 == 5:
                with connect(server.url, autocommit=True) as killer:
                    killer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'inventory-es'")
            while True:
                with suppress(AppendOutcomeUnknownError, StoreUnavailableError):
                    inventory.add_stock("tea", "berlin", 1, command_id=f"c{number}")
                    break
        assert inventory.stock("tea", "berlin").on_hand == 30


def test_operators_work_through_it(pooled: tuple[Server, str]) -> None:
    url = pooled[1] + "operated"
    assert migrate(url) == migrate(url)
    assert [one for one in examine(url) if one.advice is not None] == []
