"""Which versions of which projections a SQLite file holds, how far each is, and which of them readers ask."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from inventory_es.adapters.sqlite.database import writing
from inventory_es.adapters.sqlite.projection_tables import ProjectionTables, tables_of
from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError, ProjectionNotFoundError
from inventory_es.ports.read_model import Checkpoint, EventMark, ProjectionId, ProjectionVersion, from_text, to_text
from inventory_es.ports.toolkit.row_rules import check_before, check_drop, may_take_over

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


def make(connection: sqlite3.Connection) -> None:
    """Make the catalogue where it is not there, and add the columns that a file from an older version of this package lacks."""
    if is_made(connection):
        return
    with writing(connection):
        for statement in CATALOGUE:
            connection.execute(statement)
        for name in ("mark_position INTEGER", "mark_event_id TEXT"):
            if name.split()[0] not in _columns(connection):
                connection.execute(f"ALTER TABLE projections ADD COLUMN {name}")


def is_made(connection: sqlite3.Connection) -> bool:
    """Return whether the catalogue is there, with all its columns."""
    (there,) = connection.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('projections', 'active_projections')").fetchone()
    return there == len(CATALOGUE) and {"mark_position", "mark_event_id"} <= _columns(connection)


def _columns(connection: sqlite3.Connection) -> set[str]:
    return {name for _, name, *_ in connection.execute("PRAGMA table_info(projections)")}


class State(NamedTuple):
    """Where one version is.

    Attributes:
        checkpoint: how far, and whose.
        active: the version that readers ask.
    """

    checkpoint: Checkpoint
    active: ProjectionId


def is_there(connection: sqlite3.Connection, known: ProjectionTables, place: str) -> bool:
    """Whether this version was made, in the caller's transaction.

    Raises:
        IncompatibleStoreError: this version has other tables.
    """
    projection = known.projection
    key = (projection.name, projection.version)
    row = connection.execute("SELECT shape FROM projections WHERE name = ? AND version = ?", key).fetchone()
    if row is not None and row[0] != known.shape:
        problem = f"{projection} was built with other tables: give it a new version"
        raise IncompatibleStoreError(store="read model", place=place, problem=problem)
    return row is not None


def create(connection: sqlite3.Connection, known: ProjectionTables, place: str) -> None:
    """Make what is not there yet, in the caller's transaction.

    Raises:
        IncompatibleStoreError: this version has other tables.
    """
    key = (known.projection.name, known.projection.version)
    if not is_there(connection, known, place):
        connection.execute("INSERT INTO projections (name, version, shape, position, epoch) VALUES (?, ?, ?, 0, 0)", (*key, known.shape))
        known.create(connection)
    connection.execute("INSERT INTO active_projections (name, version) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", key)


def load(connection: sqlite3.Connection, projection: ProjectionId) -> ProjectionTables:
    """The tables of a version that somebody prepared.

    Raises:
        ProjectionNotFoundError: nobody did.
    """
    key = (projection.name, projection.version)
    row = connection.execute("SELECT shape FROM projections WHERE name = ? AND version = ?", key).fetchone()
    if row is None:
        raise ProjectionNotFoundError(projection=str(projection))
    return ProjectionTables(projection, tables_of(row[0]))


def state(connection: sqlite3.Connection, known: ProjectionTables) -> State:
    """Where a version is, in the caller's transaction.

    Raises:
        ProjectionNotFoundError: it was dropped, and perhaps made again with other tables.
    """
    projection = known.projection
    row = connection.execute(_STATE, (projection.name, projection.name, projection.version)).fetchone()
    if row is None or row[0] != known.shape:
        raise ProjectionNotFoundError(projection=str(projection))
    return State(_checkpoint(row[1:9]), ProjectionId(projection.name, _active(row[9])))


def move(connection: sqlite3.Connection, projection: ProjectionId, to: Checkpoint) -> None:
    """Set the checkpoint, in the caller's transaction."""
    mark = (None, None) if to.mark is None else (to.mark.position, str(to.mark.event_id))
    values = (to.position, _text(to.recorded_at), to.epoch, to.owner, _text(to.owned_until), to.error, *mark)
    connection.execute(_MOVE, (*values, projection.name, projection.version))


def versions(connection: sqlite3.Connection, name: str) -> Sequence[ProjectionVersion]:
    """Every version of a name, lowest first, in the caller's transaction."""
    columns = "version, shape, position, recorded_at, epoch, owner, owned_until, error, mark_position, mark_event_id"
    statement = f"SELECT {columns} FROM projections WHERE name = ? ORDER BY version"  # noqa: S608  # names of our own
    rows = connection.execute(statement, (name,)).fetchall()
    if not rows:
        return []
    (active,) = connection.execute("SELECT max(version) FROM active_projections WHERE name = ?", (name,)).fetchone()
    active = _active(active)
    return [
        ProjectionVersion(
            ProjectionId(name, _number(version, "version", least=1)), tables_of(shape), _checkpoint(rest), is_active=version == active
        )
        for version, shape, *rest in rows
    ]


def activate(connection: sqlite3.Connection, known: ProjectionTables, before: Checkpoint) -> bool:
    """See ``ReadModel.activate``; in the caller's transaction."""
    projection = known.projection
    seen = state(connection, known)
    check_before(projection, before, seen.checkpoint)
    if any(one.is_active and not may_take_over(before, one.checkpoint) for one in versions(connection, projection.name)):
        return False
    connection.execute("UPDATE active_projections SET version = ? WHERE name = ?", (projection.version, projection.name))
    return True


def drop(connection: sqlite3.Connection, known: ProjectionTables) -> None:
    """See ``ReadModel.drop``; in the caller's transaction."""
    projection = known.projection
    others = len(versions(connection, projection.name)) - 1
    check_drop(projection, state(connection, known).active, others)
    known.drop(connection)
    connection.execute("DELETE FROM projections WHERE name = ? AND version = ?", (projection.name, projection.version))
    if not others:
        connection.execute("DELETE FROM active_projections WHERE name = ?", (projection.name,))


def _checkpoint(row: Sequence[Any]) -> Checkpoint:
    position, recorded_at, epoch, owner, owned_until, error, mark_position, mark_event_id = row
    return Checkpoint(
        position=_number(position, "position", least=0),
        recorded_at=_time(recorded_at),
        epoch=_number(epoch, "epoch", least=0),
        owner=_words(owner, "owner"),
        owned_until=_time(owned_until),
        error=_words(error, "error"),
        mark=None if mark_event_id is None else _mark(mark_position, mark_event_id),
    )


def _active(version: object) -> int:
    return _number(version, "version", least=1, table="active_projections")


def _mark(position: object, event_id: object) -> EventMark:
    column, number = "mark_event_id", _number(position, "mark_position", least=1)
    try:
        return EventMark(number, UUID(str(event_id)))
    except ValueError:
        raise _damaged(column, "projections") from None


def _number(value: object, column: str, *, least: int, table: str = "projections") -> int:
    if type(value) is not int or value < least:
        raise _damaged(column, table)
    return value


def _words(value: object, column: str) -> str | None:
    if not isinstance(value, str | None):
        raise _damaged(column, "projections")
    return value


def _time(text: str | None) -> datetime | None:
    return None if text is None else from_text(text, column="recorded_at or owned_until of projections")


def _damaged(column: str, table: str) -> CorruptStoreError:
    problem = "it holds what no projection has (remove the file: what follows the events makes it again)"
    return CorruptStoreError(store="read model", place=f"column {column} of {table}", problem=problem)


def _text(at: datetime | None) -> str | None:
    return None if at is None else to_text(at)
