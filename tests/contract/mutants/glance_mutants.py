"""Event stores that glance at a wrong version."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from inventory_es.adapters.file import FileEventStore
from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, EventStore, RecordedEvent, StreamWrite
from inventory_es.ports.errors import StoreClosedError
from inventory_es.testing import EventStoreContract, Site
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore, Shelf


class Remembering(PlainStore):
    """A store that keeps versions in memory."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.remembered: dict[StreamId, int] = {}

    def glance_version(self, stream: StreamId, /) -> int | None:
        return self.remembered.get(stream)


@breaks("ES-48", "Glances at what it saw at its first glance.")
class RemembersItsFirstGlance(Remembering):
    def glance_version(self, stream: StreamId, /) -> int | None:
        return self.remembered.setdefault(stream, self.version(stream))


@breaks("ES-48", "Glances at what this instance appended: another's appends are not seen.")
class GlancesAtItsOwnAppends(Remembering):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        result = await super().append(writes)
        self.remembered |= result.versions
        return result


@breaks("ES-48", "Calls a stream empty that it has not met since it was opened.")
class UnknownIsEmpty(Remembering):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        result = await super().append_locked(writes)
        self.remembered |= {write.stream: self.version(write.stream) for write in writes}
        return result

    def glance_version(self, stream: StreamId, /) -> int | None:
        return self.version(stream) if self.remembered.get(stream) else 0


@breaks("ES-48", "Takes an answered append for a new one: sent again, it counts twice.")
class CountsReplays(Remembering):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        result = await super().append(writes)
        for write in writes:
            self.remembered[write.stream] = self.remembered.get(write.stream, 0) + len(write.events)
        return result


@breaks("ES-48", "A glance at a closed store raises.")
class GlanceRaises(PlainStore):
    def glance_version(self, stream: StreamId, /) -> int | None:
        if self.closed:
            raise StoreClosedError(store="PlainStore")
        return super().glance_version(stream)


@breaks("ES-48", "Its glance has to be awaited.")
class GlanceIsAwaited(PlainStore):
    async def glance_version(self, stream: StreamId, /) -> int | None:  # type: ignore[override]  # that is what is wrong with it
        return self.version(stream)


@breaks("ES-49", "A glance sees what is about to be written.")
class GlancesAtWhatIsInFlight(Remembering):
    def prepare(self, writes: Sequence[StreamWrite]) -> list[RecordedEvent]:
        new = super().prepare(writes)
        self.remembered |= {event.stream: event.version for event in new}
        return new


@breaks("ES-49", "A glance counts on the append that was asked for, also where it is refused.")
class CountsOnSuccess(Remembering):
    def check_version(self, write: StreamWrite) -> None:
        if write.expected_version > self.version(write.stream):
            self.remembered[write.stream] = write.expected_version + len(write.events)
        super().check_version(write)

    def glance_version(self, stream: StreamId, /) -> int | None:
        return max(self.version(stream), self.remembered.get(stream, 0))


class FileGlanceMutants(EventStoreContract):
    adapter: type[FileEventStore]

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        store = self.adapter(FileStore.open(str(site.path / "stock"), creation_id="1"))
        try:
            yield store
        finally:
            await store.aclose()


@breaks("ES-50", "Glances at what its process appended: another process's appends are not seen.", contract=FileGlanceMutants)
class GlancesAtItsProcess(FileEventStore):
    appended: ClassVar[dict[tuple[str, StreamId], int]] = {}

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        result = await super().append(writes)
        self.appended.update({(self._store.name, stream): version for stream, version in result.versions.items()})
        return result

    def glance_version(self, stream: StreamId, /) -> int | None:
        return self.appended.get((self._store.name, stream))
