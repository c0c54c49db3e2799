"""The tables of projections in a SQLite file, and the statements that change and read them."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import attrs

from inventory_es.ports.errors import IncompatibleStoreError
from inventory_es.ports.read_model import Change, Checkpoint, Delete, ProjectionId, Put, Row, Table, Value, order_of, to_text

CATALOGUE = """
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
    PRIMARY KEY (name, version)
) STRICT
"""

_TYPES = {str: "TEXT", int: "INTEGER"}
_COLUMNS = "position, recorded_at, epoch, owner, owned_until, error"


@attrs.frozen
class ProjectionTables:
    """One projection's part of the database. Names come from validated identifiers, so they can stand in statements.

    Attributes:
        projection: whose.
        tables: by name.
    """

    projection: ProjectionId
    tables: Mapping[str, Table]

    def create(self, connection: sqlite3.Connection, place: str) -> None:
        """Make what is not there yet, in the caller's transaction.

        Raises:
            IncompatibleStoreError: this version has other tables.
        """
        shape = _shape(self.tables)
        connection.execute(CATALOGUE)
        row = connection.execute("SELECT shape FROM projections WHERE name = ? AND version = ?", self._id).fetchone()
        if row is not None and row[0] != shape:
            problem = f"{self.projection} was built with other tables: give it a new version"
            raise IncompatibleStoreError(store="read model", place=place, problem=problem)
        if row is not None:
            return
        connection.execute("INSERT INTO projections (name, version, shape, position, epoch) VALUES (?, ?, ?, 0, 0)", (*self._id, shape))
        for table in self.tables.values():
            columns = [f"[{name}] {_TYPES[kind]}{' NOT NULL' if name in table.key else ''}" for name, kind in table.columns.items()]
            key = f"PRIMARY KEY ({_list(table.key)})"
            connection.execute(f"CREATE TABLE {self._name(table.name)} ({', '.join(columns)}, {key}) STRICT, WITHOUT ROWID")
            for number, index in enumerate(table.indexes):
                name = self._name(f"{table.name}_{number}")
                connection.execute(f"CREATE INDEX {name} ON {self._name(table.name)} ({_list(order_of(table, index))})")

    def checkpoint(self, connection: sqlite3.Connection) -> Checkpoint:
        """Where the projection is."""
        statement = f"SELECT {_COLUMNS} FROM projections WHERE name = ? AND version = ?"  # noqa: S608  # a constant
        position, recorded_at, epoch, owner, owned_until, error = connection.execute(statement, self._id).fetchone()
        return Checkpoint(
            position=position, recorded_at=_time(recorded_at), epoch=epoch, owner=owner, owned_until=_time(owned_until), error=error
        )

    def move(self, connection: sqlite3.Connection, to: Checkpoint) -> None:
        """Set the checkpoint, in the caller's transaction."""
        values = (to.position, _text(to.recorded_at), to.epoch, to.owner, _text(to.owned_until), to.error)
        marks = f"({_COLUMNS}) = (?, ?, ?, ?, ?, ?)"
        connection.execute(f"UPDATE projections SET {marks} WHERE name = ? AND version = ?", (*values, *self._id))  # noqa: S608  # a constant

    def change(self, connection: sqlite3.Connection, change: Change) -> None:
        """Make one change, in the caller's transaction."""
        table = self.tables[change.table]
        name = self._name(table.name)
        if isinstance(change, Put):
            marks = ", ".join("?" * len(table.columns))
            values = [change.row[column] for column in table.columns]
            connection.execute(f"REPLACE INTO {name} VALUES ({marks})", values)  # noqa: S608  # identifiers
            return
        of_key = " AND ".join(f"[{column}] = ?" for column in table.key)
        if isinstance(change, Delete):
            connection.execute(f"DELETE FROM {name} WHERE {of_key}", change.key)  # noqa: S608  # identifiers
        elif change.row:
            news = ", ".join(f"[{column}] = ?" for column in change.row)
            connection.execute(f"UPDATE {name} SET {news} WHERE {of_key}", (*change.row.values(), *change.key))  # noqa: S608  # identifiers

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
        return [dict(zip(columns, row, strict=True)) for row in connection.execute(statement, (*values, limit))]

    @property
    def _id(self) -> tuple[str, int]:
        return self.projection.name, self.projection.version

    def _name(self, table: str) -> str:
        return f"{self.projection.name}__v{self.projection.version}__{table}"


def _shape(tables: Mapping[str, Table]) -> str:
    shapes = {
        table.name: [{name: kind.__name__ for name, kind in table.columns.items()}, table.key, table.indexes] for table in tables.values()
    }
    return json.dumps(shapes)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _text(at: datetime | None) -> str | None:
    return None if at is None else to_text(at)


def _list(columns: Iterable[str]) -> str:
    """Columns as SQL names them: in brackets, since a name may be a keyword, and never a text, which double quotes may mean."""
    return ", ".join(f"[{column}]" for column in columns)
