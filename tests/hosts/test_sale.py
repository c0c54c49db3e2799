"""A short share of the sale. All of it: ``python -m tests.hosts.sale``."""

from pathlib import Path

import httpx
import pytest

from tests.hosts.sale import SHELF, STORES, expected, open_store, sell
from tests.hosts.shop_server import shop_server

UNITS, BUYERS = 20, 120


@pytest.mark.parametrize("kind", STORES)
def test_two_workers_sell_exactly_the_stock(kind: str, tmp_path: Path) -> None:
    with open_store(kind, tmp_path) as store, shop_server(tmp_path, "api", "--workers", "2", environment={"SHOP_STORE": store}) as url:
        assert sell(url, UNITS, BUYERS) == expected(UNITS, BUYERS)
        level = httpx.get(f"{url}{SHELF}").json()
    assert (level["reserved"], level["available"]) == (UNITS, 0)
