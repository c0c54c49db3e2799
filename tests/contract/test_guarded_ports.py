"""Guards change no promise: the same contract holds with them as without them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar
from weakref import WeakKeyDictionary

from inventory_es.adapters.memory import (
    MemoryCache,
    MemoryEventBus,
    MemoryEventLog,
    MemoryEventStore,
    MemoryReadModel,
    MemorySnapshotStore,
)
from inventory_es.adapters.sqlite import open_sqlite_event_store
from inventory_es.application.guards import CircuitBreaker, Retry, guarded
from inventory_es.ports import Cache, EventBus, EventStore, ReadModel, SnapshotStore
from inventory_es.testing import (
    CacheContract,
    EventBusContract,
    EventStoreContract,
    ManualClock,
    ReadModelContract,
    Site,
    SnapshotStoreContract,
)
from tests.contract.stores.plain_store import PlainStreams, shelf_of


class TestGuardedEventStore(EventStoreContract):
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    logs: ClassVar[WeakKeyDictionary[Site, MemoryEventLog]] = WeakKeyDictionary()

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        async with MemoryEventStore(self.logs.setdefault(site, MemoryEventLog())) as store:
            yield guarded(store, Retry(), CircuitBreaker("memory"))


class TestGuardedStoreWithoutOptionalProtocols(EventStoreContract):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield guarded(PlainStreams(shelf), Retry(), CircuitBreaker("plain"))

    def spawn(self, *_: object) -> None:
        """Return nothing, because the data lives in this process."""


class TestGuardedCache(CacheContract):
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    capacity: int | None = 4

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        async with MemoryCache(clock=clock, max_entries=4) as cache:
            yield guarded(cache, Retry(), CircuitBreaker("memory"))


class TestGuardedEventBus(EventBusContract):
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[EventBus]:
        async with MemoryEventBus(clock=ManualClock(), max_pending=16) as bus:
            yield guarded(bus, Retry(), CircuitBreaker("memory"))


class TestGuardedReadModel(ReadModelContract):
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    @asynccontextmanager
    async def open_read_model(self, site: Site) -> AsyncIterator[ReadModel]:
        yield guarded(MemoryReadModel(), Retry(), CircuitBreaker("memory"))


class TestGuardedSnapshotStore(SnapshotStoreContract):
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncIterator[SnapshotStore]:
        store = MemorySnapshotStore()
        yield guarded(store, Retry(), CircuitBreaker("memory"))


class TestSnapshotsOfAGuardedEventStore(SnapshotStoreContract):
    backends: Sequence[str] = ("trio",)  # a variation: what it varies is the same on every event loop
    seeds: Sequence[int] | None = (0,)  # the plain schedule: the others are run over the adapters as they ship

    is_durable = True

    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncIterator[SnapshotStore]:
        async with open_sqlite_event_store(site.path / "stock.db") as store:
            both = guarded(store, Retry(), CircuitBreaker("sqlite"))
            assert isinstance(both, SnapshotStore)
            yield both
