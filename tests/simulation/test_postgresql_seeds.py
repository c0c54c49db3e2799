"""A few seeds through three processes on one PostgreSQL server. More: ``python -m tests.simulation.postgresql_seeds 200``."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from inventory_es.testing.simulation.breach import BreachError
from tests.property.service_processes import Processes, processes
from tests.servers.postgresql import database
from tests.simulation.postgresql_seeds import BACKENDS, GAMES, Shops, play_seed

ENOUGH = {
    "commands": ("refused", "events"),
    "orders": ("order REJECTED", "order CANCELLED", "order FIRM"),
    "transfers": ("transfer CLOSED",),
}


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, Processes]]:
    with database() as url, processes(*BACKENDS) as shops:
        yield url, shops


@pytest.mark.parametrize("game", GAMES)
def test_every_promise_is_kept(running: tuple[str, Processes], game: str) -> None:
    happened: Counter[str] = Counter()
    for seed in range(4):
        happened += play_seed(running[1], running[0], game, seed)
    for name in ENOUGH[game]:
        assert happened[name] > 2, f"hardly any {name}: these seeds prove nothing about them"


@pytest.mark.parametrize("game", GAMES)
def test_a_store_that_lost_what_it_acknowledged_is_found(running: tuple[str, Processes], game: str) -> None:
    shops = Shops(running[1], f"{running[0]}?schema=written_{game}", random.Random(0))
    shops.url = f"{running[0]}?schema=empty_{game}"
    with pytest.raises((BreachError, AssertionError)):
        GAMES[game](shops, 0)
