"""The bus of the how-to keeps every promise of the port, and the page shows the file that is tested here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from docs.examples.shop_bus import ShopBus
from inventory_es.ports import EventBus
from inventory_es.testing import EventBusContract, ManualClock, Site
from tests.contract.share import ShareOfRuns

DOCS = Path(__file__).parents[2] / "docs"


class TestShopBus(ShareOfRuns, EventBusContract):
    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[EventBus]:
        bus = ShopBus(site.path / "bus.db", clock=ManualClock(), max_pending=16)
        try:
            yield bus
        finally:
            await bus.aclose()


def test_page_shows_the_tested_file() -> None:
    page = (DOCS / "how-to" / "your-own-bus.md").read_text(encoding="utf-8")
    assert (DOCS / "examples" / "shop_bus.py").read_text(encoding="utf-8") in page
