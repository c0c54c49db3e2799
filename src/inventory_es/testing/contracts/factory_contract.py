"""The contract of a factory without a class around it: ``my_package:open_store``."""

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from inventory_es.ports import Cache, EventBus, EventStore, ReadModel, SnapshotStore
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.contracts.cache import CacheContract
from inventory_es.testing.contracts.core.contract import Contract
from inventory_es.testing.contracts.core.own_lines import own_lines
from inventory_es.testing.contracts.event_bus import EventBusContract
from inventory_es.testing.contracts.event_store import EventStoreContract
from inventory_es.testing.contracts.read_model import ReadModelContract
from inventory_es.testing.contracts.snapshot_store import SnapshotStoreContract
from inventory_es.testing.site import Site


def contract_of(address: str, factory: Callable[..., Any], *, backend: str) -> Contract:
    """Return a contract whose adapters come from a factory.

    Args:
        address: the address of the factory.
        factory: takes a site, and a cache's factory also ``clock=``; it is called once to see which port it serves.
        backend: the event loop for that call.

    Raises:
        ValueError: the factory raises, or returns nothing that serves a port; the message has the line of its code.
    """
    if "clock" in inspect.signature(factory).parameters:
        return _FactoryCache(address, factory)
    try:
        adapter = anyio.run(_look, factory, backend=backend)
    except Exception as error:
        ((_, place), *_) = own_lines(error, {factory.__module__})
        msg = f"{address} could not be opened: {type(error).__name__}: {error}, raised at {place}"
        raise ValueError(msg) from error
    if isinstance(adapter, EventStore):
        return _FactoryStore(address, factory)
    if isinstance(adapter, EventBus):
        return _FactoryBus(address, factory)
    if isinstance(adapter, SnapshotStore):
        return _FactorySnapshots(address, factory)
    if isinstance(adapter, ReadModel):
        return _FactoryReadModel(address, factory)
    hint = ": a factory of a cache takes clock=, so that time can be moved" if isinstance(adapter, Cache) else ""
    msg = f"{address} gives a {type(adapter).__name__}, which is no EventStore, EventBus, SnapshotStore, ReadModel or Cache{hint}"
    raise ValueError(msg)


@asynccontextmanager
async def _opened(factory: Callable[..., Any], *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
    made = factory(*args, **kwargs)
    if inspect.isawaitable(made):
        made = await made
    if hasattr(made, "__aenter__"):
        async with made as adapter:
            yield adapter
        return
    try:
        yield made
    finally:
        await made.aclose()


async def _look(factory: Callable[..., Any]) -> object:
    with TemporaryDirectory(prefix="inventory-es-", ignore_cleanup_errors=True) as folder:
        async with _opened(factory, Site("look", Path(folder))) as adapter:
            return adapter


class _Addressed:
    """A contract that keeps the address it was made for, so that other processes and the reader can make it again."""

    def __init__(self, address: str, factory: Callable[..., Any]) -> None:
        self._address = address
        self._factory = factory

    @property
    def address(self) -> str:
        return self._address

    @property
    def module(self) -> str:
        return str(getattr(self._factory, "__module__", type(self._factory).__module__))


class _FactoryStore(_Addressed, EventStoreContract):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncGenerator[EventStore, None]:
        async with _opened(self._factory, site) as store:
            yield store


class _FactoryCache(_Addressed, CacheContract):
    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncGenerator[Cache, None]:
        async with _opened(self._factory, site, clock=clock) as cache:
            yield cache


class _FactoryBus(_Addressed, EventBusContract):
    @asynccontextmanager
    async def open_bus(self, site: Site) -> AsyncGenerator[EventBus, None]:
        async with _opened(self._factory, site) as bus:
            yield bus


class _FactorySnapshots(_Addressed, SnapshotStoreContract):
    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncGenerator[SnapshotStore, None]:
        async with _opened(self._factory, site) as store:
            yield store


class _FactoryReadModel(_Addressed, ReadModelContract):
    @asynccontextmanager
    async def open_read_model(self, site: Site) -> AsyncGenerator[ReadModel, None]:
        async with _opened(self._factory, site) as read_model:
            yield read_model
