"""A bus of the tests' own keeps every promise: the kit rejects nothing good."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventory_es.ports import EventBus
from inventory_es.testing import EventBusContract, Site
from tests.contract.stores.plain_bus import PlainBus


class TestPlainBus(EventBusContract):
    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[EventBus]:
        bus = PlainBus()
        yield bus
        await bus.aclose()
