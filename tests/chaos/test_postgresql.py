"""A short share of the chaos on PostgreSQL. More of it: ``python -m tests.chaos.postgresql --rounds N``."""

from collections.abc import Iterator

import pytest

from tests.chaos.postgresql import CAMPAIGNS, EVENTS
from tests.servers.postgresql import Server, server


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with server({"fsync": "on"}) as one:
        yield one


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_nothing_that_was_acknowledged_is_lost(running: Server, name: str) -> None:
    figures = CAMPAIGNS[name](running, 3)
    assert figures["lost"] == 0
    assert figures["acknowledged"] >= 20 * EVENTS
