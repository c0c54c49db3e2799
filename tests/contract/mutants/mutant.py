"""Broken adapters, each one step away from a good one, and the promise that must reject it."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary

import attrs

from inventory_es.domain.stream_id import StreamId
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
from inventory_es.testing.contracts.core.contract import Contract
from tests.contract.stores.plain_bus import PlainBus
from tests.contract.stores.plain_cache import PlainCache
from tests.contract.stores.plain_read_model import Disk, PlainReadModel
from tests.contract.stores.plain_snapshots import Cells, PlainSnapshots
from tests.contract.stores.plain_store import PlainStreams, shelf_of

A = TypeVar("A", bound=type[Any])
_PATIENCE = 2.0


@attrs.frozen
class Mutant:
    """One broken adapter.

    Attributes:
        name: the name of its class.
        port: the port that it implements.
        promise_id: the promise that must reject it.
        fault: the mistake, in one sentence.
        contract: the contract that opens it.
    """

    name: str
    port: str
    promise_id: str
    fault: str
    contract: type[Contract]


class StoreMutants(EventStoreContract):
    adapter: type[PlainStreams]

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield self.adapter(shelf)

    def spawn(self, *_: object) -> None:
        """Return nothing, because the data lives in this process."""


class CacheMutants(CacheContract):
    capacity: int | None = 4
    adapter: type[PlainCache]

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        yield self.adapter(clock, capacity=4)


class BusMutants(EventBusContract):
    patience_for_delivery = 0.3
    adapter: type[PlainBus]

    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncIterator[EventBus]:
        yield self.adapter()


class SnapshotMutants(SnapshotStoreContract):
    is_durable = True
    adapter: type[PlainSnapshots] = PlainSnapshots
    cells: ClassVar[WeakKeyDictionary[Site, Cells]] = WeakKeyDictionary()

    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncIterator[SnapshotStore]:
        yield self.adapter(self.cells.setdefault(site, {}))

    async def tear(self, site: Site, stream: StreamId) -> bool:
        for name, cell in self.cells[site].items():
            self.cells[site][name] = cell[: len(cell) - 7]
        return True


class ReadModelMutants(ReadModelContract):
    is_durable = True
    adapter: type[PlainReadModel] = PlainReadModel
    disks: ClassVar[WeakKeyDictionary[Site, Disk]] = WeakKeyDictionary()

    @asynccontextmanager
    async def open_read_model(self, site: Site) -> AsyncIterator[ReadModel]:
        yield self.adapter(self.disks.setdefault(site, Disk()))


MUTANTS: list[Mutant] = []


def breaks(promise_id: str, fault: str, *, contract: type[Contract] | None = None, patience: float = _PATIENCE) -> Callable[[A], A]:
    """Register a broken adapter.

    Args:
        promise_id: the promise that must reject it.
        fault: the mistake, in one sentence.
        contract: the contract that opens it; by default by its kind.
        patience: seconds that one run of a case may take; more than a case with this fault takes.
    """

    def register(adapter: A) -> A:
        base = contract or _contract_of(adapter)
        name = f"{adapter.__name__}Contract"
        bound = type(name, (base,), {"adapter": adapter, "patience": patience, "__module__": adapter.__module__})
        setattr(sys.modules[adapter.__module__], name, bound)  # so that a second process can import it
        MUTANTS.append(Mutant(adapter.__name__, _PORTS[base.kind], promise_id, fault, bound))
        return adapter

    return register


_PORTS = {"store": "EventStore", "cache": "Cache", "bus": "EventBus", "snapshots": "SnapshotStore", "read model": "ReadModel"}


def _contract_of(adapter: type[Any]) -> type[Contract]:
    if issubclass(adapter, PlainStreams):
        return StoreMutants
    if issubclass(adapter, PlainReadModel):
        return ReadModelMutants
    if issubclass(adapter, PlainSnapshots):
        return SnapshotMutants
    return CacheMutants if issubclass(adapter, PlainCache) else BusMutants
