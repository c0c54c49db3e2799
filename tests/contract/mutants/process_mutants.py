"""Event stores that are right within one process, and wrong with two, or with a killed one."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from inventory_es.adapters.threads import in_threads
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore, StreamWrite
from inventory_es.testing import EventStoreContract, Site
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.sqlite_store import SqliteStore


class SqliteMutants(EventStoreContract):
    adapter: type[SqliteStore]

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        store = in_threads(self.adapter(str(site.path / "events.db")), poll_interval=0.001)
        try:
            yield store
        finally:
            await store.aclose()


@breaks("ES-43", "Keeps versions in memory: what another process appends is not seen.", contract=SqliteMutants)
class KeepsVersionsInMemory(SqliteStore):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._versions: dict[StreamId, int] = {}

    def _version(self, stream: StreamId) -> int:
        return self._versions.setdefault(stream, super()._version(stream))

    def _insert(self, write: StreamWrite) -> None:
        super()._insert(write)
        self._versions[write.stream] = write.expected_version + len(write.events)


@breaks("ES-45", "Acknowledges appends that it commits later.", contract=SqliteMutants)
class CommitsLater(SqliteStore):
    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._refuse_closed()
            if not self._db.in_transaction:
                self._db.execute(self.begin)
            yield

    def close(self) -> None:
        with self._lock:
            if self._open:
                self._db.commit()
        super().close()
