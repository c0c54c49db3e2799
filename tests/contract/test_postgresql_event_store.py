"""The PostgreSQL event store under the contract of its port, on a server of its own."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager

from psycopg import connect, sql

from inventory_es.adapters.postgresql import PostgresqlEventStore, open_postgresql_event_store
from inventory_es.domain.stream_id import StreamId
from inventory_es.testing import EventStoreContract, Site
from tests.servers.postgresql import drop_schema, own_server, rename_schema, url_of


class TestPostgresqlEventStore(EventStoreContract):
    @classmethod
    def lifespan(cls) -> AbstractContextManager[None]:
        return own_server()

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[PostgresqlEventStore]:
        async with open_postgresql_event_store(url_of(site.name)) as store:
            yield store

    async def take_away(self, site: Site) -> bool:
        rename_schema(site.name, f"{site.name}_elsewhere")
        return True

    async def lose(self, site: Site, stream: StreamId) -> bool:
        with connect(url_of(site.name).partition("?")[0], autocommit=True) as connection:
            lost = "DELETE FROM {0}.events USING {0}.streams WHERE id = stream_id AND name = %s AND version = 2"
            connection.execute(sql.SQL(lost).format(sql.Identifier(site.name)), (stream.text,))
        return True

    async def drop(self, site: Site) -> None:
        drop_schema(site.name)
        drop_schema(f"{site.name}_elsewhere")
