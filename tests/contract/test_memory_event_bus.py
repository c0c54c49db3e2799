"""The memory event bus under the contract of its port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventory_es.adapters.memory import MemoryEventBus
from inventory_es.testing import EventBusContract, ManualClock, Site


class TestMemoryEventBus(EventBusContract):
    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[MemoryEventBus]:
        async with MemoryEventBus(clock=ManualClock(), max_pending=16) as bus:
            yield bus
