"""A short share of the chaos on PostgreSQL. More of it: ``python -m tests.chaos.postgresql --rounds N``."""

from collections.abc import Iterator

import pytest

from tests.chaos.postgresql import CAMPAIGNS, EVENTS
from tests.servers.postgresql import Server, server

LOSSY = "failover, asynchronous"


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with server({"fsync": "on"}) as one:
        yield one


@pytest.mark.parametrize("name", [name for name in CAMPAIGNS if name != LOSSY])
def test_nothing_that_was_acknowledged_is_lost(running: Server, name: str) -> None:
    figures = CAMPAIGNS[name](running, 1 if name.startswith("failover") else 3)
    assert figures["lost"] == 0
    assert figures["acknowledged"] >= 10 * EVENTS


def test_what_an_asynchronous_failover_loses_is_told_to_writers_and_followers(running: Server) -> None:
    figures = CAMPAIGNS[LOSSY](running, 1)
    assert figures["lost"] > 0
    assert figures["rewound"] == 1
    assert figures["taken over"] > 0
