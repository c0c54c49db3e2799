"""The tables of projections in a SQLite file, and the statements that change and read them."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import NoneType

import attrs

from inventory_es.adapters.sqlite.row_changes import Key, RowChanges, fold
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.read_model import Add, Change, ProjectionId, Row, Table, Value, order_of
from inventory_es.ports.toolkit.row_rules import picker

_TYPES = {str: "TEXT", int: "INTEGER"}
_KINDS: Mapping[str, type[str] | type[int]] = {"str": str, "int": int}


@attrs.frozen
class ProjectionTables:
    """One projection's part of the database. Names come from validated identifiers, so they can stand in statements.

    Attributes:
        projection: whose.
        tables: by name.
        shape: the tables as the catalogue keeps them, a JSON text.
    """

    projection: ProjectionId
    tables: Mapping[str, Table]
    shape: str = attrs.field(init=False)

    @shape.default
    def _shape(self) -> str:
        shapes = {
            table.name: [{name: kind.__name__ for name, kind in table.columns.items()}, table.key, table.indexes]
            for table in self.tables.values()
        }
        return json.dumps(shapes, sort_keys=True)

    def create(self, connection: sqlite3.Connection) -> None:
        """Make the tables and their indexes, in the caller's transaction."""
        for table in self.tables.values():
            columns = [f"[{name}] {_TYPES[kind]}{' NOT NULL' if name in table.key else ''}" for name, kind in table.columns.items()]
            key = f"PRIMARY KEY ({_list(table.key)})"
            connection.execute(f"CREATE TABLE {self._name(table.name)} ({', '.join(columns)}, {key}) STRICT, WITHOUT ROWID")
            for number, index in enumerate(table.indexes):
                name = self._name(f"{table.name}__{number}")
                connection.execute(f"CREATE INDEX {name} ON {self._name(table.name)} ({_list(order_of(table, index))})")

    def drop(self, connection: sqlite3.Connection) -> None:
        """Take the tables and their indexes away, in the caller's transaction."""
        for table in self.tables.values():
            connection.execute(f"DROP TABLE {self._name(table.name)}")

    def change(self, connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
        """Make the changes in order, in the caller's transaction.

        Raises:
            ValueError: a number would be beyond 64 bits; roll back.
        """
        for step in fold(self.tables, changes):
            for rows in step.values():
                try:
                    self._write(connection, rows)
                except sqlite3.IntegrityError as problem:  # a sum beyond 64 bits becomes a fraction, which a strict table refuses
                    msg = f"a number of table {rows.table.name} would be beyond 64 bits"
                    raise ValueError(msg) from problem

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
        """Rows of one of the tables; see ``ReadModel.select``."""
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

    def _name(self, table: str) -> str:
        return f"{self.projection.name}__v{self.projection.version}__{table}"


def tables_of(shape: str) -> Mapping[str, Table]:
    """The tables that the catalogue keeps.

    Raises:
        CorruptStoreError: it keeps something else.
    """
    try:
        return {
            name: Table(name, {column: _KINDS[kind] for column, kind in columns.items()}, tuple(key), tuple(map(tuple, indexes)))
            for name, (columns, key, indexes) in json.loads(shape).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
        raise CorruptStoreError(store="read model", place="column shape of projections", problem="what it holds are no tables") from problem


def _over(table: Table, columns: Iterable[str], added: Collection[str] = ()) -> str:
    """What an insert does where the row is there already."""
    sets = [
        f"[{column}] = {f'coalesce([{column}], 0) + ' if column in added else ''}excluded.[{column}]"
        for column in columns
        if column not in table.key
    ]
    action = f"UPDATE SET {', '.join(sets)}" if sets else "NOTHING"
    return f"ON CONFLICT ({_list(table.key)}) DO {action}"


def _list(columns: Iterable[str]) -> str:
    """Columns as SQL names them: in brackets, since a name may be a keyword, and never a text, which double quotes may mean."""
    return ", ".join(f"[{column}]" for column in columns)
