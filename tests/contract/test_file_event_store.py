"""The file event store under the contract of its port: as it ships, and with a new segment every few lines."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from inventory_es.adapters.file import FileEventStore, open_file_event_store
from inventory_es.domain.stream_id import StreamId
from inventory_es.testing import EventStoreContract, Site


class TestFileEventStore(EventStoreContract):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[FileEventStore]:
        async with open_file_event_store(site.path / "stock") as store:
            yield store

    async def take_away(self, site: Site) -> bool:
        (site.path / "stock").rename(site.path / "elsewhere")
        return True

    async def lose(self, site: Site, stream: StreamId) -> bool:
        next((site.path / "stock" / "journal").glob("*.jsonl")).write_bytes(b"")
        return True


class TestFileEventStoreWithSmallSegments(EventStoreContract):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[FileEventStore]:
        async with open_file_event_store(site.path / "stock", segment_bytes=1_500) as store:
            yield store

    async def take_away(self, site: Site) -> bool:
        (site.path / "stock" / ".lock").unlink()
        shutil.rmtree(site.path / "stock")
        return True

    async def lose(self, site: Site, stream: StreamId) -> bool:
        min((site.path / "stock" / "journal").glob("*.jsonl")).unlink()
        return True
