"""The test servers themselves: what a test that kills one relies on."""

import subprocess
from collections.abc import Sequence
from contextlib import closing
from typing import LiteralString

from psycopg import connect

from tests.servers.postgresql import Server, server, tree_of


def test_a_killed_server_has_no_process_left_and_keeps_its_data() -> None:
    with server({"fsync": "on"}) as running:
        with closing(connect(running.url, autocommit=True)) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
            processes = tree_of(_pid(running))
            running.kill()
        assert len(processes) > 3
        assert _running(processes) == []
        running.start()
        assert _rows(running, "SELECT number FROM kept") == [(7,)]


def test_two_servers_share_nothing() -> None:
    with server() as one, server() as other:
        with connect(one.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE here AS SELECT 1 AS number")
        assert _rows(other, "SELECT to_regclass('here')") == [(None,)]


def _pid(running: Server) -> int:
    return int((running.root / "data" / "postmaster.pid").read_text().splitlines()[0])


def _running(processes: Sequence[int]) -> list[str]:
    """Return the state of each of these processes that runs. A killed one that nobody has waited for yet is a zombie."""
    names = ",".join(map(str, processes))
    states = subprocess.run(["ps", "-o", "state=", "-p", names], check=False, capture_output=True, text=True).stdout.split()
    return [state for state in states if state != "Z"]


def _rows(running: Server, query: LiteralString) -> list[tuple[object, ...]]:
    with connect(running.url) as connection:
        return connection.execute(query).fetchall()
