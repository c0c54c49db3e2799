"""The snapshot stores under the contract of their port."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from inventory_es.adapters.memory import MemorySnapshotStore
from inventory_es.adapters.sqlite import open_sqlite_event_store
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Snapshot, SnapshotStore
from inventory_es.ports.errors import StoreClosedError
from inventory_es.testing import Site, SnapshotStoreContract
from tests.contract.mutants.mutant import SnapshotMutants
from tests.contract.share import ShareOfRuns
from tests.contract.stores.plain_snapshots import PlainSnapshots


class TestMemorySnapshotStore(SnapshotStoreContract):
    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncIterator[SnapshotStore]:
        yield MemorySnapshotStore()


class TestSqliteSnapshotStore(ShareOfRuns, SnapshotStoreContract):
    is_durable = True
    multi_process = True
    survives_fork = True

    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncIterator[SnapshotStore]:
        async with open_sqlite_event_store(site.path / "stock.db") as store:
            yield store


class TestPlainSnapshots(SnapshotMutants):
    """The store that the mutants break keeps every promise: the kit rejects nothing good."""


class KeepsEveryVersion(PlainSnapshots):
    """A store that keeps each saved version, and gives the newest at or below the requested one."""

    def name(self, stream: StreamId, schema_version: int) -> tuple[str, int]:
        return f"{stream.text}\0{schema_version}", schema_version

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        await self.begin()
        self.cells[f"{snapshot.stream.text}\0{snapshot.schema_version}\0{snapshot.version}", 0] = self.encode(snapshot)

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        await self.begin()
        prefix = f"{stream.text}\0{schema_version}\0"
        found = [self.decode(stream, schema_version, cell) for name, cell in self.cells.items() if name[0].startswith(prefix)]
        return max((one for one in found if one and self.will_do(one, at_most)), key=lambda one: one.version, default=None)

    async def discard_snapshots(self, *streams: StreamId) -> None:
        await self.begin()
        for name in [name for name in self.cells if name[0].split("\0")[0] in {stream.text for stream in streams}]:
            del self.cells[name]


class ForgetsALot(PlainSnapshots):
    """A store that keeps the first of several states of one version, and forgets large ones, and all when it is closed."""

    def may_replace(self, kept: Snapshot, new: Snapshot) -> bool:
        return new.version > kept.version

    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        if len(cell) > 4 << 20:
            self.cells.pop(name, None)
        else:
            await super().put(name, cell)

    async def aclose(self) -> None:
        await super().aclose()
        self.cells.clear()


class HasLittleRoom(PlainSnapshots):
    """A store of the last sixteen snapshots, none above 100,000 bytes, which answers without letting other tasks run."""

    async def begin(self) -> None:
        if self.closed:
            raise StoreClosedError(store="HasLittleRoom")

    async def put(self, name: tuple[str, int], cell: bytes) -> None:
        self.cells.pop(name, None)
        if len(cell) <= 100_000 + 100:  # with what stands before the state
            self.cells[name] = cell
        while len(self.cells) > 16:
            del self.cells[next(iter(self.cells))]


class TestHasLittleRoom(SnapshotMutants):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    adapter: type[PlainSnapshots] = HasLittleRoom


class TestKeepsEveryVersion(SnapshotMutants):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    adapter: type[PlainSnapshots] = KeepsEveryVersion


class TestForgetsALot(SnapshotMutants):
    backends: Sequence[str] = ("asyncio",)  # a variation: what it varies is the same on every event loop
    is_durable = False
    adapter: type[PlainSnapshots] = ForgetsALot
