"""Read models in a SQLite file: the event store's own, or another."""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import TypeVar

from inventory_es.adapters.sqlite.connections import READ_ONLY, READ_ONLY_REMEDY, Connections, ReadOnlyConnections, may_only_be_read
from inventory_es.adapters.sqlite.database import (
    APPLICATION_ID,
    Synchronous,
    begin_writing,
    connect,
    create_private,
    is_damage,
    marks,
    reading,
    reason_of,
    remedy_of,
    use_write_ahead_log,
    writing,
)
from inventory_es.adapters.sqlite.projections import StoredProjection, find_versions, has_catalogue, load, make_catalogue
from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError, ProjectionNotFoundError, ReadModelUnavailableError
from inventory_es.ports.read_model import (
    Change,
    Checkpoint,
    ProjectionId,
    ProjectionVersion,
    ReadModel,
    Row,
    RowsPage,
    Table,
    Value,
)
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, run_in_thread
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path
from inventory_es.ports.toolkit.row_rules import check_commit, check_select, table_of

T = TypeVar("T")

READ_MODEL_ID = 0x49455332
"""The application id of a file that holds read models alone: ``IES2`` in ASCII."""

_MADE_AGAIN = "unless the file holds the event store too, remove it and run what follows the events: that makes it again from them"


class SqliteReadModel(ReadModel):
    """Rows and checkpoints in one SQLite file, each commit one transaction. Opened by :func:`open_sqlite_read_model`.

    The tables are plain, strict SQL tables named ``NAME__vVERSION__TABLE``, which a host may read with its own tools. Several processes on
    one machine may open one file. Each handle runs one commit and one read at a time. When the file is moved, removed or replaced while
    it is open, each use raises ``StoreClosedError``.
    """

    serves_threads: bool = True

    def __init__(self, path: str, connections: Connections) -> None:
        self._path = path
        self._connections = connections
        self._writes = BlockingCalls(None, name=f"sqlite read model {path}")
        self._reads = BlockingCalls(None, name=f"sqlite read model {path}")
        self._known: dict[ProjectionId, StoredProjection] = {}

    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        known = StoredProjection(projection, {table.name: table for table in tables}, self._path)
        if not (isinstance(self._connections, ReadOnlyConnections) and await self._read(known, known.exists)):
            await self._write(known, known.prepare)
        self._known[projection] = known

    async def checkpoint(self, projection: ProjectionId, /) -> Checkpoint:
        known = await self._of(projection)
        return (await self._read(known, known.state)).checkpoint

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

        def select(connection: sqlite3.Connection) -> RowsPage:
            seen = known.state(connection)
            rows = known.select(connection, shape, where or {}, order, after, descending=descending, limit=limit + 1)
            return RowsPage(rows[:limit], seen.checkpoint, seen.active, is_end=len(rows) <= limit)

        return await self._read(known, select)

    async def versions(self, name: str, /) -> Sequence[ProjectionVersion]:
        return await self._read(None, partial(find_versions, name=name))

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
        await self._reads.close(lambda: None)
        await self._writes.close(self._connections.close)

    async def _of(self, projection: ProjectionId) -> StoredProjection:
        known = self._known.get(projection)
        if known is None:
            known = self._known[projection] = await self._read(None, partial(load, projection=projection))
        return known

    async def _read(self, known: StoredProjection | None, function: Callable[[sqlite3.Connection], T]) -> T:
        return await self._reads.run(self._run, known, function, read_only=True)

    async def _write(self, known: StoredProjection, function: Callable[[sqlite3.Connection], T]) -> T:
        return await self._writes.run(self._run, known, function, read_only=False)

    def _run(self, known: StoredProjection | None, function: Callable[[sqlite3.Connection], T], *, read_only: bool) -> T:
        """Run a function in a transaction. A version that another process dropped is forgotten: it may return with other tables."""
        with _translated(self._path), self._connections.lend(read_only=read_only) as connection:
            if read_only:
                connection.execute("BEGIN")
            else:
                begin_writing(connection)
            try:
                result = function(connection)
                connection.execute("ROLLBACK" if read_only else "COMMIT")
            except ProjectionNotFoundError:
                if known is not None:
                    self._known.pop(known.projection, None)
                raise
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        return result


def open_sqlite_read_model(path: AnyPath, *, synchronous: Synchronous = "NORMAL") -> AbstractAsyncContextManager[SqliteReadModel]:
    """Open read models in a file, or create the file in an existing folder. They close with the block.

    To share the event store's file, open the store first, because the store must create the file.

    Args:
        path: of the file. This call resolves a relative path.
        synchronous: ``NORMAL`` may lose the last commits in a power cut, rows and checkpoint together, so they are projected again.
            ``FULL`` syncs every commit.

    Raises:
        IncompatibleStoreError: the file holds something else. Nothing was changed.
        CorruptStoreError: the file is damaged.
        ReadModelUnavailableError: the file can't be opened now.
    """
    return _opened(absolute_path(path), synchronous)


@asynccontextmanager
async def _opened(path: str, synchronous: Synchronous) -> AsyncIterator[SqliteReadModel]:
    read_model = SqliteReadModel(path, await run_in_thread(partial(_connect, path, synchronous)))
    try:
        yield read_model
    finally:
        await read_model.aclose()


async def open_read_model(place: str, /) -> SqliteReadModel:
    """Open the read models of ``read_models="sqlite:PLACE"``. The caller closes them.

    Args:
        place: path of the file, relative to the working directory or absolute.

    Raises:
        IncompatibleStoreError, CorruptStoreError, ReadModelUnavailableError: as :func:`open_sqlite_read_model`.
    """
    path = absolute_path(place)
    return SqliteReadModel(path, await run_in_thread(partial(_connect, path, "NORMAL")))


def _connect(path: str, synchronous: Synchronous) -> Connections | ReadOnlyConnections:
    try:
        return _open_to_write(path, synchronous)
    except ReadModelUnavailableError as refused:
        if not may_only_be_read(path, refused):
            raise
    name = f"sqlite read model {path}"
    connections = ReadOnlyConnections(path, ReadModelUnavailableError(read_model=name, reason=READ_ONLY, remedy=READ_ONLY_REMEDY))
    with _translated(path), connections.lend(read_only=True) as connection:
        if not _known_mark(connection, path) or not has_catalogue(connection):
            problem = "its tables have to be made or brought up to date: open it once with permission to write"
            raise IncompatibleStoreError(store="read model", place=path, problem=problem)
    return connections


def _open_to_write(path: str, synchronous: Synchronous) -> Connections:
    name, place = f"sqlite read model {path}", path
    path = os.path.realpath(place)
    with _translated(path):
        create_private(path)

    def open_writer() -> sqlite3.Connection:
        writer = connect(path, synchronous=synchronous)
        try:
            _mark(writer, path)
        except BaseException:
            writer.close()
            raise
        return writer

    with _translated(path):
        return Connections(place, name=name, synchronous=synchronous, open_writer=open_writer)


def _mark(writer: sqlite3.Connection, path: str) -> None:
    with reading(writer):
        known = _known_mark(writer, path)
    if not known:
        use_write_ahead_log(writer)
        with writing(writer):
            if not _known_mark(writer, path):
                writer.execute(f"PRAGMA application_id = {READ_MODEL_ID}")
    make_catalogue(writer)


def _known_mark(writer: sqlite3.Connection, path: str) -> int:
    mark, _, tables = marks(writer)
    if mark not in {APPLICATION_ID, READ_MODEL_ID} and (mark or tables):
        raise IncompatibleStoreError(store="read model", place=path, problem="the database belongs to another application")
    return mark


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as problem:
        raise CorruptStoreError(store="read model", place=path, problem=f"a text in it is not UTF-8 ({_MADE_AGAIN})") from problem
    except OSError as problem:
        reason = reason_of(problem)
        raise ReadModelUnavailableError(read_model=f"sqlite read model {path}", reason=reason, remedy=remedy_of(problem)) from problem
    except sqlite3.Error as problem:
        code, reason = getattr(problem, "sqlite_errorcode", 0) & 0xFF, reason_of(problem)
        if code == sqlite3.SQLITE_NOTADB:
            raise IncompatibleStoreError(store="read model", place=path, problem="it is no SQLite database") from problem
        if is_damage(problem) and code != sqlite3.SQLITE_ERROR:  # a table that is gone for now: another process may be making it again
            raise CorruptStoreError(store="read model", place=path, problem=f"{reason} ({_MADE_AGAIN})") from problem
        raise ReadModelUnavailableError(read_model=f"sqlite read model {path}", reason=reason, remedy=remedy_of(problem)) from problem
