"""The test servers themselves: what a test that kills one relies on."""

from contextlib import closing
from typing import LiteralString

from psycopg import connect

from tests.servers.postgresql import Server, running, server, tree_of


def test_a_killed_server_has_no_process_left_and_keeps_its_data() -> None:
    with server({"fsync": "on"}) as one:
        with closing(connect(one.url, autocommit=True)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
            processes = tree_of(_pid(one))
            one.kill()
        assert len(processes) > 3
        assert running(processes) == []
        one.start()
        assert _rows(one, "SELECT number FROM kept") == [(7,)]


def test_two_servers_share_nothing() -> None:
    with server() as one, server() as other:
        with connect(one.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE here AS SELECT 1 AS number")
        assert _rows(other, "SELECT to_regclass('here')") == [(None,)]


def _pid(one: Server) -> int:
    return int((one.root / "data" / "postmaster.pid").read_text().splitlines()[0])


def _rows(one: Server, query: LiteralString) -> list[tuple[object, ...]]:
    with connect(one.url) as connection:
        return connection.execute(query).fetchall()
