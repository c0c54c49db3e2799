"""Read models in a PostgreSQL schema: the event store's own, or another."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from time import monotonic
from typing import TypeVar

from psycopg import sql
from psycopg.types.string import TextBinaryLoader

from inventory_es.adapters.postgresql.connections import Connections, Gate, Greeting, Link
from inventory_es.adapters.postgresql.failures import read_model_failures
from inventory_es.adapters.postgresql.place import Place, parse_place
from inventory_es.adapters.postgresql.projections import CATALOGUE, StoredProjection, find_versions, load
from inventory_es.adapters.postgresql.schema import MIGRATION_LOCK, has_table
from inventory_es.ports.errors import ProjectionNotFoundError
from inventory_es.ports.read_model import Change, Checkpoint, ProjectionId, ProjectionVersion, ReadModel, Row, RowsPage, Table, Value
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, run_in_thread
from inventory_es.ports.toolkit.row_rules import check_commit, check_select, table_of

T = TypeVar("T")


class PostgresqlReadModel(ReadModel):
    """Rows and checkpoints in one schema, each commit one transaction. Opened by :func:`open_postgresql_read_model`.

    The tables are plain SQL tables named ``NAME__vVERSION__TABLE``, which a host may read with its own tools. Any number of processes may
    open one schema. Each handle runs one commit and one read at a time.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._failures = read_model_failures(place)
        self._gate = Gate(place, self._failures, self._check)
        self._writers, self._readers = Connections(self._gate), Connections(self._gate)
        self._writes = BlockingCalls(None, name=self._failures.name)
        self._reads = BlockingCalls(None, name=self._failures.name)
        self._known: dict[ProjectionId, StoredProjection] = {}

    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        known = StoredProjection(projection, {table.name: table for table in tables}, self._place.schema)

        def prepare(link: Link) -> None:
            link.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            known.prepare(link)

        await self._write(known, prepare)
        self._known[projection] = known

    async def checkpoint(self, projection: ProjectionId, /) -> Checkpoint:
        known = await self._of(projection)
        return (await self._read(known, known.state))[0]

    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        known = await self._of(projection)
        check_commit(known.tables, changes, before, after)
        await self._write(known, partial(known.commit, changes=changes, before=before, after=after))

    async def select(
        self,
        projection: ProjectionId,
        table: str,
        /,
        *,
        where: Row | None = None,
        order: Sequence[str] = (),
        after: Sequence[Value] | None = None,
        descending: bool = False,
        limit: int,
    ) -> RowsPage:
        known = await self._of(projection)
        shape = table_of(known.tables, table)
        check_select(shape, where or {}, order, after, limit)

        def select(link: Link) -> RowsPage:
            return known.select(link, shape, where or {}, order, after, descending=descending, limit=limit)

        return await self._read(known, select)

    async def versions(self, name: str, /) -> Sequence[ProjectionVersion]:
        return await self._read(None, partial(find_versions, schema=self._place.schema, name=name))

    async def activate(self, projection: ProjectionId, /, *, before: Checkpoint) -> bool:
        known = await self._of(projection)
        return await self._write(known, partial(known.activate, before=before))

    async def drop(self, projection: ProjectionId, /) -> None:
        known = await self._of(projection)
        await self._write(known, known.drop)
        self._known.pop(projection, None)

    async def aclose(self) -> None:
        """Finish the calls in flight and release every connection. Idempotent."""
        self._writes.refuse()
        await self._reads.close(self._readers.close)
        await self._writes.close(self._writers.close)

    def open(self) -> None:
        """Make the first connection, and the catalogue if it is missing."""
        with self._writers.lend(monotonic() + self._place.timeout):
            pass

    def _check(self, link: Link, _greeting: Greeting) -> None:
        link.adapters.register_loader("text", TextBinaryLoader)
        schema = self._place.schema
        if has_table(link, schema, "active_projections"):
            return
        with link.transaction():
            link.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            if not has_table(link, schema, "active_projections"):
                link.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
                link.execute(sql.SQL(CATALOGUE).format(schema=sql.Identifier(schema)))

    async def _of(self, projection: ProjectionId) -> StoredProjection:
        known = self._known.get(projection)
        if known is None:
            loaded = partial(load, schema=self._place.schema, projection=projection)
            known = self._known[projection] = await self._read(None, loaded)
        return known

    async def _read(self, known: StoredProjection | None, function: Callable[[Link], T]) -> T:
        return await self._reads.run(self._run, known, function, self._readers, in_transaction=False)

    async def _write(self, known: StoredProjection, function: Callable[[Link], T]) -> T:
        return await self._writes.run(self._run, known, function, self._writers, in_transaction=True)

    def _run(self, known: StoredProjection | None, function: Callable[[Link], T], among: Connections, *, in_transaction: bool) -> T:
        """Run a function. A version that another process dropped is forgotten: it may return with other tables."""
        try:
            with self._failures.translated(), among.lend(monotonic() + self._place.timeout) as link:
                if not in_transaction:
                    return function(link)
                with link.transaction():
                    return function(link)
        except ProjectionNotFoundError:
            if known is not None:
                self._known.pop(known.projection, None)
            raise


def open_postgresql_read_model(url: str) -> AbstractAsyncContextManager[PostgresqlReadModel]:
    """Open read models in a schema, or make the schema if it is missing and the role may. They close with the block.

    Args:
        url: as for :func:`open_postgresql_event_store`. The schema may be the event store's own, or another.

    Raises:
        ValueError: the URL can't be read. The message never has the password.
        IncompatibleStoreError: the server or its database can't be used. Nothing was changed.
        ReadModelUnavailableError: the server can't be reached now.
    """
    return _opened(parse_place(url))


@asynccontextmanager
async def _opened(place: Place) -> AsyncIterator[PostgresqlReadModel]:
    read_model = await _open(place)
    try:
        yield read_model
    finally:
        await read_model.aclose()


async def open_read_model(url: str, /) -> PostgresqlReadModel:
    """Open the read models of ``read_models=URL``. The caller closes them.

    Args:
        url: as for :func:`open_postgresql_event_store`.

    Raises:
        ValueError, IncompatibleStoreError, ReadModelUnavailableError: as :func:`open_postgresql_read_model`.
    """
    return await _open(parse_place(url))


async def _open(place: Place) -> PostgresqlReadModel:
    read_model = PostgresqlReadModel(place)
    try:
        await run_in_thread(read_model.open)
    except BaseException:
        await read_model.aclose()
        raise
    return read_model
