"""The file event bus under the contract of its port."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from inventory_es.adapters.file import FileEventBus, open_file_event_bus
from inventory_es.testing import EventBusContract, ManualClock, Site


class TestFileEventBus(EventBusContract):
    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[FileEventBus]:
        async with open_file_event_bus(site.path / "bus", clock=ManualClock(), window=16) as bus:
            yield bus


class TestFileEventBusWithSmallWindow(TestFileEventBus):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[FileEventBus]:
        async with open_file_event_bus(site.path / "bus", clock=ManualClock(), window=2, segment_bytes=1_000) as bus:
            yield bus
