"""A kit that rejects a good adapter is broken: stores that are built differently keep every promise without a known failure.

Beside these: the memory and the file store, and a synchronous store over SQLite behind ``in_threads``, each in a file of its own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from inventory_es.ports import EventStore
from inventory_es.testing import EventStoreContract, Site
from tests.contract.stores.plain_store import PlainStore, PlainStreams, WindowStore, shelf_of
from tests.contract.stores.turn_store import LoneTurnStore, TurnStore


class TestPlainStore(EventStoreContract):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield PlainStore(shelf)

    def spawn(self, *_: object) -> None:
        """Its data lives in this process."""


class TestStoreWithoutFeed(TestPlainStore):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield PlainStreams(shelf)


class TestStoreWithWindowOfIds(TestPlainStore):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield WindowStore(shelf)


class TestStoreWithTurns(TestPlainStore):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield TurnStore(shelf)


class TestLoneStoreWithTurns(TestPlainStore):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        with shelf_of(site.name) as shelf:
            yield LoneTurnStore(shelf)
