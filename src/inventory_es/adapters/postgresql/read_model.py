"""Read models in a PostgreSQL schema: the catalogue of projections, their tables, and the changes of a commit."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from hashlib import sha256
from time import monotonic
from typing import Any, LiteralString, TypeVar

import attrs
from psycopg import sql
from psycopg.errors import NumericValueOutOfRange, UndefinedTable
from psycopg.types.string import TextBinaryLoader

from inventory_es.adapters.postgresql.connections import Connections, Gate, Greeting, Link
from inventory_es.adapters.postgresql.failures import read_model_failures
from inventory_es.adapters.postgresql.place import Place, parse_place
from inventory_es.adapters.postgresql.schema import LOCK, bound_waits, has_schema, has_table
from inventory_es.ports.errors import IncompatibleStoreError, ProjectionNotFoundError
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
from inventory_es.ports.toolkit.row_rules import check_before, check_commit, check_drop, check_select, may_take_over, picker, table_of
from inventory_es.ports.toolkit.stored_rows import Key, RowChanges, active_of, checkpoint_of, checkpoint_values, fold, shape_of, tables_of

MOST_CHANGES = 10_000
"""The most rows of one statement."""

_LONGEST_NAME = 63
_TYPES: Mapping[type[Any], LiteralString] = {str: "text", int: "bigint"}
_COLUMNS: LiteralString = "position, recorded_at, epoch, owner, owned_until, error, mark_position, mark_event_id"

CATALOGUE: LiteralString = """
CREATE TABLE IF NOT EXISTS {schema}.projections (
    name text COLLATE "C" NOT NULL, version bigint NOT NULL, shape text NOT NULL, position bigint NOT NULL, recorded_at text,
    epoch bigint NOT NULL, owner text, owned_until text, error text, mark_position bigint, mark_event_id text, PRIMARY KEY (name, version)
);
CREATE TABLE IF NOT EXISTS {schema}.active_projections (name text COLLATE "C" PRIMARY KEY, version bigint NOT NULL);
"""
"""The catalogue of a schema."""

_STATE: LiteralString = (
    "SELECT shape, " + _COLUMNS + ", (SELECT version FROM {schema}.active_projections a WHERE a.name = p.name) "
    "FROM {schema}.projections p WHERE name = %s AND version = %s"
)
_MOVE: LiteralString = (
    "UPDATE {schema}.projections SET (" + _COLUMNS + ") = (%s, %s, %s, %s, %s, %s, %s, %s) WHERE name = %s AND version = %s"
)
_VERSIONS: LiteralString = (
    "SELECT version, (SELECT version FROM {schema}.active_projections a WHERE a.name = p.name), shape, " + _COLUMNS + " "
    "FROM {schema}.projections p WHERE name = %s ORDER BY p.version"
)


def identifier(name: str) -> sql.Identifier:
    """Return a name as the server has it. It cuts off what exceeds 63 characters, so a longer name ends with its digest."""
    if len(name) > _LONGEST_NAME:
        name = f"{name[:40]}__{sha256(name.encode()).hexdigest()[:20]}"
    return sql.Identifier(name)


@attrs.frozen
class StoredProjection:
    """One version of a projection: its entry in the catalogue, and its tables. Every method runs in the caller's transaction.

    Attributes:
        projection: its name and version.
        tables: by name.
        schema: of the tables.
        shape: the JSON text of the tables in the catalogue.
    """

    projection: ProjectionId
    tables: Mapping[str, Table]
    schema: str
    shape: str = attrs.field(init=False)

    @shape.default
    def _shape(self) -> str:
        return shape_of(self.tables)

    def prepare(self, link: Link) -> None:
        """Create this version if it is missing.

        Raises:
            IncompatibleStoreError: this version has other tables.
        """
        row = self._execute(link, "SELECT shape FROM {schema}.projections WHERE name = %s AND version = %s", self._key).fetchone()
        if row is not None and row[0] != self.shape:
            problem = f"{self.projection} was built with other tables: give it a new version"
            raise IncompatibleStoreError(store="read model", place=f"schema {self.schema}", problem=problem)
        if row is None:
            statement: LiteralString = "INSERT INTO {schema}.projections (name, version, shape, position, epoch) VALUES (%s, %s, %s, 0, 0)"
            self._execute(link, statement, (*self._key, self.shape))
            self._create_tables(link)
        self._execute(link, "INSERT INTO {schema}.active_projections VALUES (%s, %s) ON CONFLICT (name) DO NOTHING", self._key)

    def state(self, link: Link, *, lock: bool = False) -> tuple[Checkpoint, ProjectionId]:
        """Return the checkpoint of this version, and the version that readers use.

        Raises:
            ProjectionNotFoundError: the version was dropped, and perhaps prepared again with other tables.
        """
        row = self._execute(link, _STATE + " FOR UPDATE" if lock else _STATE, self._key).fetchone()
        if row is None or row[0] != self.shape:
            raise ProjectionNotFoundError(projection=str(self.projection))
        return checkpoint_of(_plain(row[1:9])), ProjectionId(self.projection.name, active_of(row[9]))

    def commit(self, link: Link, changes: Iterable[Change], before: Checkpoint, after: Checkpoint) -> None:
        """Apply changes, and move the checkpoint. See ``ReadModel.commit``."""
        check_before(self.projection, before, self.state(link, lock=True)[0])
        for step in fold(self.tables, changes):
            for rows in step.values():
                try:
                    self._write(link, rows)
                except NumericValueOutOfRange as problem:
                    msg = f"a number of table {rows.table.name} would be beyond 64 bits"
                    raise ValueError(msg) from problem
        self._execute(link, _MOVE, (*_escaped(checkpoint_values(after)), *self._key))

    def activate(self, link: Link, before: Checkpoint) -> bool:
        """Switch readers to this version. See ``ReadModel.activate``."""
        name = (self.projection.name,)
        self._execute(link, "SELECT FROM {schema}.projections WHERE name = %s ORDER BY version FOR UPDATE", name)
        check_before(self.projection, before, self.state(link)[0])
        versions = find_versions(link, self.schema, self.projection.name)
        if any(one.is_active and not may_take_over(before, one.checkpoint) for one in versions):
            return False
        self._execute(link, "UPDATE {schema}.active_projections SET version = %s WHERE name = %s", self._key[::-1])
        return True

    def drop(self, link: Link) -> None:
        """Delete this version and its tables. See ``ReadModel.drop``."""
        name = (self.projection.name,)
        self._execute(link, "SELECT FROM {schema}.projections WHERE name = %s ORDER BY version FOR UPDATE", name)
        others = len(find_versions(link, self.schema, self.projection.name)) - 1
        check_drop(self.projection, self.state(link)[1], others)
        self._execute(link, "DELETE FROM {schema}.projections WHERE name = %s AND version = %s", self._key)
        if not others:
            self._execute(link, "DELETE FROM {schema}.active_projections WHERE name = %s", name)
        for table in self.tables.values():
            link.execute(sql.SQL("DROP TABLE {}").format(self._table(table.name)))

    def select(
        self, link: Link, table: Table, where: Row, order: Sequence[str], after: Sequence[Value] | None, *, descending: bool, limit: int
    ) -> RowsPage:
        """Select rows of one of the tables, with the checkpoint, in one statement; see ``ReadModel.select``."""
        total = order_of(table, order)
        asked = [(column, value) for column, value in where.items() if value is not None]
        unset = [column for column, value in where.items() if value is None]
        conditions: list[sql.Composable] = [sql.SQL("{} IS NULL").format(identifier(column)) for column in unset]
        conditions += [sql.SQL("{} = {}").format(identifier(column), _parameter(table, column)) for column, _ in asked]
        values: list[Value] = [value for _, value in asked]
        if after is not None:
            marks = sql.SQL(", ").join(_parameter(table, column) for column in total)
            conditions.append(sql.SQL("({}) {} ({})").format(_list(total), sql.SQL("<" if descending else ">"), marks))
            values += after
        if any(value is not None and type(value) is not table.columns[column] for column, value in asked):
            conditions.append(sql.SQL("false"))
            values = [None] * len(values)
        direction = sql.SQL(" DESC" if descending else "")
        ordered = sql.SQL(", ").join(identifier(column) + direction for column in total)
        rows = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT %s").format(
            _list(table.columns), self._table(table.name), sql.SQL(" AND ").join(conditions or [sql.SQL("true")]), ordered
        )
        statement = sql.SQL("SELECT p.*, r.* FROM ({}) p LEFT JOIN LATERAL ({}) r ON true ORDER BY {}").format(
            sql.SQL(_STATE).format(schema=sql.Identifier(self.schema)),
            rows,
            sql.SQL(", ").join(sql.SQL("r.") + identifier(column) + direction for column in total),
        )
        try:
            found = link.execute(statement, (*self._key, *_escaped(values), limit + 1), binary=True).fetchall()
        except UndefinedTable:
            self.state(link)  # raises if the version was dropped meanwhile
            raise
        if not found or found[0][0] != self.shape:
            raise ProjectionNotFoundError(projection=str(self.projection))
        checkpoint, active = checkpoint_of(_plain(found[0][1:9])), ProjectionId(self.projection.name, active_of(found[0][9]))
        columns = list(table.columns)
        key_at = 10 + columns.index(table.key[0])
        shown = [dict(zip(columns, _plain(row[10:]), strict=True)) for row in found if row[key_at] is not None]
        return RowsPage(shown[:limit], checkpoint, active, is_end=len(shown) <= limit)

    def _create_tables(self, link: Link) -> None:
        for table in self.tables.values():
            columns = [
                sql.SQL("{} {}{}").format(
                    identifier(name),
                    sql.SQL('text COLLATE "C"' if kind is str else "bigint"),
                    sql.SQL(" NOT NULL" if name in table.key else ""),
                )
                for name, kind in table.columns.items()
            ]
            key = sql.SQL("PRIMARY KEY ({})").format(_list(table.key))
            link.execute(sql.SQL("CREATE TABLE {} ({})").format(self._table(table.name), sql.SQL(", ").join([*columns, key])))
            for index in table.indexes:
                link.execute(sql.SQL("CREATE INDEX ON {} ({})").format(self._table(table.name), _list(order_of(table, index))))

    def _write(self, link: Link, rows: RowChanges) -> None:
        table = rows.table
        values_of = picker(tuple(table.columns))
        written = [values_of(row) for _, row in sorted(rows.whole.items()) if row is not None]
        self._insert(link, table, tuple(table.columns), (), written)
        gone = sorted(key for key, row in rows.whole.items() if row is None)
        self._each(link, "DELETE FROM {name} AS old USING {news} WHERE {same}", table, table.key, gone)
        added: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Key]] = {}
        patched: dict[tuple[str, ...], list[Key]] = {}
        for key, change in sorted(rows.partial.items()):
            if isinstance(change, Add):
                values = (*key, *change.amounts.values(), *change.row.values())
                added.setdefault((tuple(change.amounts), tuple(change.row)), []).append(values)
            elif change.row:
                patched.setdefault(tuple(change.row), []).append((*key, *change.row.values()))
        for (amounts, others), several in added.items():
            self._insert(link, table, (*table.key, *amounts, *others), amounts, several)
        for others, several in patched.items():
            sets = _sets(others, (), source="new")
            self._each(link, "UPDATE {name} AS old SET {sets} FROM {news} WHERE {same}", table, (*table.key, *others), several, sets=sets)

    def _insert(self, link: Link, table: Table, columns: Sequence[str], added: Collection[str], rows: Sequence[Key]) -> None:
        others = [column for column in columns if column not in table.key]
        sets = sql.SQL("UPDATE SET ") + _sets(others, added, source="excluded") if others else sql.SQL("NOTHING")
        statement: LiteralString = "INSERT INTO {name} AS old ({columns}) SELECT * FROM {news} ON CONFLICT ({key}) DO {sets}"
        self._each(link, statement, table, columns, rows, sets=sets)

    def _each(
        self,
        link: Link,
        statement: LiteralString,
        table: Table,
        columns: Sequence[str],
        rows: Sequence[Key],
        *,
        sets: sql.Composable = sql.SQL(""),  # noqa: B008  # a constant
    ) -> None:
        """Run one statement over rows, which it sees as a table ``new`` with these columns."""
        marks = [sql.SQL("%s::" + _TYPES[table.columns[column]] + "[]") for column in columns]
        composed = sql.SQL(statement).format(
            name=self._table(table.name),
            columns=_list(columns),
            key=_list(table.key),
            news=sql.SQL("unnest({}) AS new ({})").format(sql.SQL(", ").join(marks), _list(columns)),
            same=sql.SQL(" AND ").join(sql.SQL("old.{0} = new.{0}").format(identifier(column)) for column in table.key),
            sets=sets,
        )
        for start in range(0, len(rows), MOST_CHANGES):
            link.execute(composed, [_escaped(column) for column in zip(*rows[start : start + MOST_CHANGES], strict=True)])

    def _execute(self, link: Link, statement: LiteralString, values: Sequence[Any]) -> Any:
        return link.execute(sql.SQL(statement).format(schema=sql.Identifier(self.schema)), values, binary=True)

    @property
    def _key(self) -> tuple[str, int]:
        return self.projection.name, self.projection.version

    def _table(self, name: str) -> sql.Composed:
        own = identifier(f"{self.projection.name}__v{self.projection.version}__{name}")
        return sql.SQL("{}.{}").format(sql.Identifier(self.schema), own)


def load(link: Link, schema: str, projection: ProjectionId) -> StoredProjection:
    """Return a prepared version.

    Raises:
        ProjectionNotFoundError: the version was not prepared.
    """
    statement = sql.SQL("SELECT shape FROM {}.projections WHERE name = %s AND version = %s").format(sql.Identifier(schema))
    row = link.execute(statement, (projection.name, projection.version)).fetchone()
    if row is None:
        raise ProjectionNotFoundError(projection=str(projection))
    return StoredProjection(projection, tables_of(row[0]), schema)


def find_versions(link: Link, schema: str, name: str) -> Sequence[ProjectionVersion]:
    """Return every version of a name, lowest first."""
    rows = link.execute(sql.SQL(_VERSIONS).format(schema=sql.Identifier(schema)), (name,)).fetchall()
    return [
        ProjectionVersion(
            ProjectionId(name, active_of(version)), tables_of(shape), checkpoint_of(_plain(rest)), is_active=version == active_of(active)
        )
        for version, active, shape, *rest in rows
    ]


def _escaped(values: Iterable[Any]) -> list[Any]:
    """Return values in which no text has a NUL, which no text of the server can have. The order of texts stays."""
    return [
        value.replace("\1", "\1\2").replace("\0", "\1\1") if isinstance(value, str) and ("\0" in value or "\1" in value) else value
        for value in values
    ]


def _plain(values: Iterable[Any]) -> list[Any]:
    """Return the values that :func:`_escaped` has made others of."""
    return [value.replace("\1\1", "\0").replace("\1\2", "\1") if isinstance(value, str) and "\1" in value else value for value in values]


def _parameter(table: Table, column: str) -> sql.SQL:
    return sql.SQL("%s::" + _TYPES[table.columns[column]])


def _sets(columns: Iterable[str], added: Collection[str], *, source: LiteralString) -> sql.Composed:
    """Return the assignments of columns, some of which are sums."""
    plain: LiteralString = "{0} = " + source + ".{0}"
    summed: LiteralString = "{0} = coalesce(old.{0}, 0) + " + source + ".{0}"
    return sql.SQL(", ").join(sql.SQL(summed if column in added else plain).format(identifier(column)) for column in columns)


def _list(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(identifier, columns))


T = TypeVar("T")


class PostgresqlReadModel(ReadModel):
    """Rows and checkpoints in one schema, each commit one transaction. Opened by :func:`open_postgresql_read_model`.

    The tables are plain SQL tables named ``NAME__vVERSION__TABLE``, which a host may read with its own tools. Any number of processes may
    open one schema. Each handle runs one commit and one read at a time.
    """

    serves_threads: bool = True

    def __init__(self, place: Place) -> None:
        self._place = place
        self._failures = read_model_failures(place)
        self._gate = Gate(place, self._failures, self._check)
        self._writers, self._readers = Connections(self._gate, 1), Connections(self._gate, 1)
        self._writes = BlockingCalls(None, name=self._failures.name)
        self._reads = BlockingCalls(None, name=self._failures.name)
        self._known: dict[ProjectionId, StoredProjection] = {}

    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        known = StoredProjection(projection, {table.name: table for table in tables}, self._place.schema)

        def prepare(link: Link) -> None:
            link.execute(LOCK)
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
            bound_waits(link)
            link.execute(LOCK)
            if not has_table(link, schema, "active_projections"):
                if not has_schema(link, schema):
                    link.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
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
                    bound_waits(link)
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
    return _opened(rows_place(url))


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
    return await _open(rows_place(url))


def rows_place(url: str) -> Place:
    """Return the place of read models.

    Raises:
        ValueError: as :func:`parse_place`, or an option of event stores.
    """
    place = parse_place(url)
    if place.durability is not None:
        msg = "the option durability of the URL is for an event store: rows are made again from its events"
        raise ValueError(msg)
    if place.notifies or place.replica is not None:
        msg = f"the option {'notify' if place.notifies else 'replica'} of the URL is for an event store: it is about the feed"
        raise ValueError(msg)
    return place


async def _open(place: Place) -> PostgresqlReadModel:
    read_model = PostgresqlReadModel(place)
    try:
        await run_in_thread(read_model.open)
    except BaseException:
        await read_model.aclose()
        raise
    return read_model
