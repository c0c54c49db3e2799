"""The PostgreSQL event store under the contract of its port, on a server of its own."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import ClassVar

from psycopg import connect, sql

from inventory_es.adapters.postgresql import PostgresqlEventStore, open_postgresql_event_store
from inventory_es.domain.stream_id import StreamId
from inventory_es.testing import EventStoreContract, Site
from inventory_es.testing.contracts.event_store.harness import Interference
from tests.contract.share import ShareOfRuns
from tests.servers.postgresql import own_server, rename_schema, url_of
from tests.servers.proxy import Proxy

_BEHIND_THE_PROXY = ("es_80_", "es_82_", "es_83_", "es_84_")
"""The beginnings of the names of sites whose cases make the backend misbehave. A proxy in Python would slow the others down."""

_WITHOUT_AN_ANSWER = ("es_82_", "es_83_")
"""Those whose cases wait until no answer comes any more."""


class TestPostgresqlEventStore(ShareOfRuns, EventStoreContract):
    proxy: ClassVar[Proxy]

    @classmethod
    @contextmanager
    def lifespan(cls) -> Iterator[None]:
        with own_server() as running, Proxy(running.port, running.restart) as cls.proxy:
            yield

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[PostgresqlEventStore]:
        url = url_of(site.name)
        if site.name.startswith(_BEHIND_THE_PROXY):
            url = re.sub(r":\d+/", f":{self.proxy.port}/", url)
        if site.name.startswith(_WITHOUT_AN_ANSWER):
            url += "&timeout=1"
        async with open_postgresql_event_store(url) as store:
            yield store

    async def interfere(self, site: Site, what: Interference, /) -> bool:
        return self.proxy.interfere(what)

    async def take_away(self, site: Site) -> bool:
        rename_schema(site.name, f"{site.name}_elsewhere")
        return True

    async def lose(self, site: Site, stream: StreamId) -> bool:
        with connect(url_of(site.name).partition("?")[0], autocommit=True) as connection:
            lost = "DELETE FROM {0}.events USING {0}.streams WHERE id = stream_id AND name = %s AND version = 2"
            connection.execute(sql.SQL(lost).format(sql.Identifier(site.name)), (stream.text,))
        return True
