"""The PostgreSQL read model and snapshot store under the contracts of their ports."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager

from psycopg import connect, sql

from inventory_es.adapters.postgresql import open_postgresql_event_store, open_postgresql_read_model
from inventory_es.ports import ReadModel, SnapshotStore
from inventory_es.testing import ReadModelContract, Site, SnapshotStoreContract
from tests.contract.share import ShareOfRuns
from tests.servers.postgresql import own_database, url_of


class TestPostgresqlReadModel(ShareOfRuns, ReadModelContract):
    is_durable = True
    multi_process = True
    survives_fork = True

    @classmethod
    def lifespan(cls) -> AbstractContextManager[str]:  # type: ignore[override]  # what it yields is not used
        return own_database()

    @asynccontextmanager
    async def open_read_model(self, site: Site) -> AsyncIterator[ReadModel]:
        async with open_postgresql_read_model(url_of(site.name)) as read_model:
            yield read_model

    async def kill(self, site: Site) -> bool:
        with connect(url_of(site.name).partition("?")[0], autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER TABLE {}.projections RENAME TO gone").format(sql.Identifier(site.name)))
        return True


class TestPostgresqlSnapshotStore(ShareOfRuns, SnapshotStoreContract):
    is_durable = True
    multi_process = True
    survives_fork = True

    @classmethod
    def lifespan(cls) -> AbstractContextManager[str]:  # type: ignore[override]  # what it yields is not used
        return own_database()

    @asynccontextmanager
    async def open_snapshots(self, site: Site) -> AsyncIterator[SnapshotStore]:
        async with open_postgresql_event_store(url_of(site.name)) as store:
            yield store
