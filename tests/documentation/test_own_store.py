"""The store of the how-to keeps every promise of the port, and the page shows the file that is tested here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from docs.examples.shop_store import ShopStore
from inventory_es.adapters.threads import in_threads
from inventory_es.ports import EventStore
from inventory_es.testing import EventStoreContract, Site
from tests.contract.share import ShareOfRuns

DOCS = Path(__file__).parents[2] / "docs"


class TestShopStore(ShareOfRuns, EventStoreContract):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        store = in_threads(ShopStore(site.path / "shop.db"))
        try:
            yield store
        finally:
            await store.aclose()


def test_page_shows_the_tested_file() -> None:
    page = (DOCS / "how-to" / "your-own-store.md").read_text(encoding="utf-8")
    assert (DOCS / "examples" / "shop_store.py").read_text(encoding="utf-8") in page
