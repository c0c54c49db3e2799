"""Read models in a SQLite file: the event store's own, or another."""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from types import NoneType
from typing import NamedTuple, TypeVar

import attrs

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
from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError, ProjectionNotFoundError, ReadModelUnavailableError
from inventory_es.ports.read_model import (
    Add,
    Change,
    Checkpoint,
    ProjectionId,
    ProjectionVersion,
    ReadModel,
    Row,
    RowsPage,
    Table,
    Value,
    order_of,
)
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, run_in_thread
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path
from inventory_es.ports.toolkit.row_rules import check_before, check_commit, check_drop, check_select, may_take_over, picker, table_of
from inventory_es.ports.toolkit.stored_rows import Key, RowChanges, active_of, checkpoint_of, checkpoint_values, fold, shape_of, tables_of

_TYPES = {str: "TEXT", int: "INTEGER"}

CATALOGUE = (
    """
CREATE TABLE IF NOT EXISTS projections (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    shape TEXT NOT NULL,
    position INTEGER NOT NULL,
    recorded_at TEXT,
    epoch INTEGER NOT NULL,
    owner TEXT,
    owned_until TEXT,
    error TEXT,
    mark_position INTEGER,
    mark_event_id TEXT,
    PRIMARY KEY (name, version)
) STRICT
""",
    "CREATE TABLE IF NOT EXISTS active_projections (name TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT",
)

_STATE = """
SELECT shape, position, recorded_at, epoch, owner, owned_until, error, mark_position, mark_event_id,
    (SELECT version FROM active_projections WHERE name = ?)
FROM projections WHERE name = ? AND version = ?
"""
_MOVE = """
UPDATE projections SET (position, recorded_at, epoch, owner, owned_until, error, mark_position, mark_event_id) = (?, ?, ?, ?, ?, ?, ?, ?)
WHERE name = ? AND version = ?
"""


class State(NamedTuple):
    """The state of one version.

    Attributes:
        checkpoint: its progress and its lease.
        active: the version that readers use.
    """

    checkpoint: Checkpoint
    active: ProjectionId


@attrs.frozen
class StoredProjection:
    """One version of a projection: its entry in the catalogue, and its tables.

    Every method runs in the caller's transaction. Names of tables are validated identifiers, so they can stand in statements.

    Attributes:
        projection: its name and version.
        tables: by name.
        path: of the file, for errors.
        shape: the JSON text of the tables in the catalogue.
    """

    projection: ProjectionId
    tables: Mapping[str, Table]
    path: str = ""
    shape: str = attrs.field(init=False)

    @shape.default
    def _shape(self) -> str:
        return shape_of(self.tables)

    def exists(self, connection: sqlite3.Connection) -> bool:
        """Return True if this version was prepared.

        Raises:
            IncompatibleStoreError: this version has other tables.
        """
        row = connection.execute("SELECT shape FROM projections WHERE name = ? AND version = ?", self._key).fetchone()
        if row is not None and row[0] != self.shape:
            problem = f"{self.projection} was built with other tables: give it a new version"
            raise IncompatibleStoreError(store="read model", place=self.path, problem=problem)
        return row is not None

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Create this version if it is missing.

        Raises:
            IncompatibleStoreError: this version has other tables.
        """
        if not self.exists(connection):
            values = (*self._key, self.shape)
            connection.execute("INSERT INTO projections (name, version, shape, position, epoch) VALUES (?, ?, ?, 0, 0)", values)
            self._create_tables(connection)
        connection.execute("INSERT INTO active_projections (name, version) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", self._key)

    def state(self, connection: sqlite3.Connection) -> State:
        """Return the state of this version.

        Raises:
            ProjectionNotFoundError: the version was dropped, and perhaps prepared again with other tables.
        """
        row = connection.execute(_STATE, (self.projection.name, *self._key)).fetchone()
        if row is None or row[0] != self.shape:
            raise ProjectionNotFoundError(projection=str(self.projection))
        return State(checkpoint_of(row[1:9]), ProjectionId(self.projection.name, active_of(row[9])))

    def commit(self, connection: sqlite3.Connection, changes: Iterable[Change], before: Checkpoint, after: Checkpoint) -> None:
        """Apply changes, and move the checkpoint. See ``ReadModel.commit``."""
        check_before(self.projection, before, self.state(connection).checkpoint)
        self.change(connection, changes)
        connection.execute(_MOVE, (*checkpoint_values(after), *self._key))

    def activate(self, connection: sqlite3.Connection, before: Checkpoint) -> bool:
        """Switch readers to this version. See ``ReadModel.activate``."""
        check_before(self.projection, before, self.state(connection).checkpoint)
        if any(one.is_active and not may_take_over(before, one.checkpoint) for one in find_versions(connection, self.projection.name)):
            return False
        connection.execute("UPDATE active_projections SET version = ? WHERE name = ?", self._key[::-1])
        return True

    def drop(self, connection: sqlite3.Connection) -> None:
        """Delete this version and its tables. See ``ReadModel.drop``."""
        others = len(find_versions(connection, self.projection.name)) - 1
        check_drop(self.projection, self.state(connection).active, others)
        for table in self.tables.values():
            connection.execute(f"DROP TABLE {self._name(table.name)}")
        connection.execute("DELETE FROM projections WHERE name = ? AND version = ?", self._key)
        if not others:
            connection.execute("DELETE FROM active_projections WHERE name = ?", (self.projection.name,))

    def change(self, connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
        """Apply the changes in order.

        Raises:
            ValueError: a number would exceed 64 bits; the caller must roll back.
        """
        for step in fold(self.tables, changes):
            for rows in step.values():
                try:
                    self._write(connection, rows)
                except sqlite3.IntegrityError as problem:  # a sum beyond 64 bits becomes a fraction, which a strict table refuses
                    msg = f"a number of table {rows.table.name} would be beyond 64 bits"
                    raise ValueError(msg) from problem

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        for table in self.tables.values():
            columns = [f"[{name}] {_TYPES[kind]}{' NOT NULL' if name in table.key else ''}" for name, kind in table.columns.items()]
            key = f"PRIMARY KEY ({_list(table.key)})"
            connection.execute(f"CREATE TABLE {self._name(table.name)} ({', '.join(columns)}, {key}) STRICT, WITHOUT ROWID")
            for number, index in enumerate(table.indexes):
                name = self._name(f"{table.name}__{number}")
                connection.execute(f"CREATE INDEX {name} ON {self._name(table.name)} ({_list(order_of(table, index))})")

    def _write(self, connection: sqlite3.Connection, rows: RowChanges) -> None:
        table, name = rows.table, self._name(rows.table.name)
        of_key = " AND ".join(f"[{column}] = ?" for column in table.key)
        values_of = picker(tuple(table.columns))
        written = [values_of(row) for _, row in sorted(rows.whole.items()) if row is not None]
        if written:
            marks = ", ".join("?" * len(table.columns))
            columns = _list(table.columns)
            connection.executemany(f"INSERT INTO {name} ({columns}) VALUES ({marks}) {_over(table, table.columns)}", written)  # noqa: S608  # identifiers
        gone = [key for key, row in rows.whole.items() if row is None]
        if gone:
            connection.executemany(f"DELETE FROM {name} WHERE {of_key}", gone)  # noqa: S608  # identifiers
        added: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Key]] = {}
        patched: dict[tuple[str, ...], list[Key]] = {}
        for key, change in rows.partial.items():
            if isinstance(change, Add):
                values = (*key, *change.amounts.values(), *change.row.values())
                added.setdefault((tuple(change.amounts), tuple(change.row)), []).append(values)
            elif change.row:
                patched.setdefault(tuple(change.row), []).append((*change.row.values(), *key))
        for (amounts, others), several in added.items():
            changed = (*table.key, *amounts, *others)
            marks = ", ".join("?" * len(changed))
            over = _over(table, changed, added=amounts)
            connection.executemany(f"INSERT INTO {name} ({_list(changed)}) VALUES ({marks}) {over}", several)  # noqa: S608  # identifiers
        for others, several in patched.items():
            news = ", ".join(f"[{column}] = ?" for column in others)
            connection.executemany(f"UPDATE {name} SET {news} WHERE {of_key}", several)  # noqa: S608  # identifiers

    def select(
        self,
        connection: sqlite3.Connection,
        table: Table,
        where: Row,
        order: Sequence[str],
        after: Sequence[Value] | None,
        *,
        descending: bool,
        limit: int,
    ) -> list[Row]:
        """Select rows of one of the tables; see ``ReadModel.select``."""
        total = order_of(table, order)
        conditions = [f"[{column}] IS ?" for column in where]
        values: list[Value] = [*where.values()]
        if after is not None:
            sign = "<" if descending else ">"
            conditions.append(f"({_list(total)}) {sign} ({', '.join('?' * len(total))})")
            values += after
        filtered = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        direction = " DESC" if descending else ""
        ordered = ", ".join(f"[{column}]{direction}" for column in total)
        columns = list(table.columns)
        statement = f"SELECT {_list(columns)} FROM {self._name(table.name)}{filtered} ORDER BY {ordered} LIMIT ?"  # noqa: S608  # identifiers
        rows = connection.execute(statement, (*values, limit)).fetchall()
        self._check_types(table, rows)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _check_types(self, table: Table, rows: Sequence[Sequence[object]]) -> None:
        for (name, kind), values in zip(table.columns.items(), zip(*rows, strict=True), strict=False):
            if not {*map(type, values)} <= ({kind} if name in table.key else {kind, NoneType}):
                problem = f"a row holds what is no {kind.__name__}"
                raise CorruptStoreError(store="read model", place=f"column {name} of table {self._name(table.name)}", problem=problem)

    @property
    def _key(self) -> tuple[str, int]:
        return self.projection.name, self.projection.version

    def _name(self, table: str) -> str:
        return f"{self.projection.name}__v{self.projection.version}__{table}"


def load(connection: sqlite3.Connection, projection: ProjectionId) -> StoredProjection:
    """Return a prepared version.

    Raises:
        ProjectionNotFoundError: the version was not prepared.
    """
    key = (projection.name, projection.version)
    row = connection.execute("SELECT shape FROM projections WHERE name = ? AND version = ?", key).fetchone()
    if row is None:
        raise ProjectionNotFoundError(projection=str(projection))
    return StoredProjection(projection, tables_of(row[0]))


def find_versions(connection: sqlite3.Connection, name: str) -> Sequence[ProjectionVersion]:
    """Return every version of a name, lowest first, in the caller's transaction."""
    columns = "version, shape, position, recorded_at, epoch, owner, owned_until, error, mark_position, mark_event_id"
    statement = f"SELECT {columns} FROM projections WHERE name = ? ORDER BY version"  # noqa: S608  # names of our own
    rows = connection.execute(statement, (name,)).fetchall()
    if not rows:
        return []
    (active,) = connection.execute("SELECT max(version) FROM active_projections WHERE name = ?", (name,)).fetchone()
    active = active_of(active)
    return [
        ProjectionVersion(ProjectionId(name, active_of(version)), tables_of(shape), checkpoint_of(rest), is_active=version == active)
        for version, shape, *rest in rows
    ]


def make_catalogue(connection: sqlite3.Connection) -> None:
    """Create the catalogue if it is missing, and add the columns that an older version of this package did not have."""
    if has_catalogue(connection):
        return
    with writing(connection):
        for statement in CATALOGUE:
            connection.execute(statement)
        for name in ("mark_position INTEGER", "mark_event_id TEXT"):
            if name.split()[0] not in _columns(connection):
                connection.execute(f"ALTER TABLE projections ADD COLUMN {name}")


def has_catalogue(connection: sqlite3.Connection) -> bool:
    """Return True if the catalogue exists, with all its columns."""
    (there,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('projections', 'active_projections')").fetchone()
    return there == len(CATALOGUE) and {"mark_position", "mark_event_id"} <= _columns(connection)


def _columns(connection: sqlite3.Connection) -> set[str]:
    return {name for _, name, *_ in connection.execute("PRAGMA table_info(projections)")}


def _over(table: Table, columns: Iterable[str], added: Collection[str] = ()) -> str:
    """Return the clause of an insert for an existing row."""
    sets = [
        f"[{column}] = {f'coalesce([{column}], 0) + ' if column in added else ''}excluded.[{column}]"
        for column in columns
        if column not in table.key
    ]
    action = f"UPDATE SET {', '.join(sets)}" if sets else "NOTHING"
    return f"ON CONFLICT ({_list(table.key)}) DO {action}"


def _list(columns: Iterable[str]) -> str:
    """Return columns as SQL names them. A name may be a keyword, and double quotes may mean a text, so each name is in brackets."""
    return ", ".join(f"[{column}]" for column in columns)


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
