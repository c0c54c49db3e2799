"""The cache of the how-to keeps every promise of the port, and the page shows the file that is tested here."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from docs.examples.shop_cache import ShopCache
from inventory_es.ports import Cache
from inventory_es.testing import CacheContract, ManualClock, Site
from tests.contract.share import ShareOfRuns

DOCS = Path(__file__).parents[2] / "docs"


class TestShopCache(ShareOfRuns, CacheContract):
    capacity: int | None = 4
    is_durable = True

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        cache = ShopCache(site.path / "shop.db", clock=clock, max_entries=4)
        try:
            yield cache
        finally:
            await cache.aclose()

    async def raw(self, site: Site, key: str, junk: bytes) -> bool:
        self._break(site, "UPDATE answers SET value = ? WHERE key = ?", junk, key)
        return True

    async def kill(self, site: Site) -> bool:
        self._break(site, "DROP TABLE answers")
        return True

    def _break(self, site: Site, statement: str, *values: object) -> None:
        db = sqlite3.connect(site.path / "shop.db", isolation_level=None)
        db.execute(statement, values)
        db.close()


def test_page_shows_the_tested_file() -> None:
    page = (DOCS / "how-to" / "your-own-cache.md").read_text(encoding="utf-8")
    assert (DOCS / "examples" / "shop_cache.py").read_text(encoding="utf-8") in page
