"""Verification, repair and backup of a database.

Verification checks SQLite's own structures, every checksum, and events, streams, names and snapshots against each other. It reads in one
transaction, so others may go on writing: it sees the store as it was when the transaction began. It holds one page of rows in memory.
"""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Literal

import attrs

from inventory_es.adapters.sqlite.database import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    connect,
    is_damage,
    marks,
    open_database,
    reading,
    reason_of,
    translated,
    writing,
)
from inventory_es.adapters.sqlite.rows import (
    FEED_COLUMNS,
    STREAM_COLUMNS,
    Row,
    are_good,
    are_unchecked,
    damage_of,
    damaged_snapshots,
    event_checksum,
    fetch_page,
    first_checked,
    forget_damaged_snapshots,
    is_stream_name,
    name_checksum,
)
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.event_rows import RowEvent

Concern = Literal["database", "event", "stream", "meaning", "checksum", "snapshot"]
StreamCheck = Callable[[StreamId, Iterator[RecordedEvent]], Iterable[tuple[int, str]]]
"""Checks the meaning of a stream's events: returns versions, each with its problem."""

FEED = f"SELECT {FEED_COLUMNS} FROM events LEFT JOIN streams ON id = stream_id WHERE position > ? ORDER BY position"  # noqa: S608  # a constant
_STREAM = f"SELECT {STREAM_COLUMNS} FROM events WHERE stream_id = ? ORDER BY version"  # noqa: S608  # a constant
_STREAMS = """
SELECT streams.id, name, streams.version, stream_names.checksum, counted, first, last
FROM streams LEFT JOIN stream_names ON stream_names.stream_id = streams.id LEFT JOIN
    (SELECT stream_id AS owner, count(*) AS counted, min(version) AS first, max(version) AS last FROM events GROUP BY stream_id)
    ON owner = streams.id
ORDER BY streams.id
"""
_LOST = """
SELECT DISTINCT stream_id FROM (SELECT stream_id FROM events UNION SELECT stream_id FROM stream_names)
WHERE stream_id NOT IN (SELECT id FROM streams)
"""
_MOST_PROBLEMS = 100


@attrs.frozen
class Finding:
    """A problem that verification found.

    Attributes:
        concern: ``database`` (SQLite's structures), ``event``, ``stream`` or ``meaning`` (the truth itself); ``checksum`` or ``snapshot``
            (derived data).
        path: of the file.
        place: in the file; empty for the whole file.
        problem: a description without payload.
    """

    concern: Concern
    path: str
    place: str
    problem: str

    @property
    def is_derived(self) -> bool:
        """True if :func:`~inventory_es.adapters.sqlite.repair` can repair it."""
        return self.concern in {"checksum", "snapshot"}

    def __str__(self) -> str:
        return f"{self.path}: {self.place}: {self.problem}" if self.place else f"{self.path}: {self.problem}"


def verify(path: str | os.PathLike[str], *, check_stream: StreamCheck | None = None) -> Iterator[Finding]:
    """Yield every problem of a store as it is found.

    If SQLite's structures are damaged, the rest is not checked, because its expected state is unknown.

    Args:
        path: of the file.
        check_stream: checks the meaning of each stream's events (that balances fold), given the stream and its events in order.

    Raises:
        IncompatibleStoreError: there is no store, or one of an older or newer schema version.
        StoreUnavailableError: the file can't be read now.
    """
    place = os.fspath(path)
    with translated(place), closing(open_to_check(place)) as connection, reading(connection):
        yield from _Verification(place, connection, check_stream).run()


def open_to_check(path: str) -> sqlite3.Connection:
    """Open a store's file for reading only, without migrating it.

    Raises:
        IncompatibleStoreError: there is no store, or one of an older or newer schema version.
        sqlite3.Error: the file can't be read.
    """
    if not Path(path).is_file():
        raise IncompatibleStoreError(store="sqlite store", place=path, problem="there is no such file")
    connection = connect(path, synchronous="FULL")
    try:
        connection.execute("PRAGMA query_only = ON")
        _check_marks(connection, path)
    except BaseException:
        connection.close()
        raise
    connection.text_factory = bytes
    return connection


def _check_marks(connection: sqlite3.Connection, path: str) -> None:
    application_id, version, _ = marks(connection)
    if application_id != APPLICATION_ID:
        raise IncompatibleStoreError(store="sqlite store", place=path, problem="the database belongs to another application")
    if version != SCHEMA_VERSION:
        known = f"its schema version is {version}, this one is {SCHEMA_VERSION}"
        way = "open the store once, which brings it there" if version < SCHEMA_VERSION else "update the package"
        raise IncompatibleStoreError(store="sqlite store", place=path, problem=f"{known}: {way}")


@attrs.define
class _Verification:
    path: str
    connection: sqlite3.Connection
    check_stream: StreamCheck | None

    def run(self) -> Iterator[Finding]:
        is_good = True
        for finding in self._database():
            yield finding
            is_good = False
        if not is_good:
            return
        for finding in self._rows():
            is_good = is_good and finding.is_derived
            yield finding
        if is_good and self.check_stream is not None:
            yield from self._meaning(self.check_stream)

    def _database(self) -> Iterator[Finding]:
        try:
            for (problem,) in self.connection.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})"):
                if problem != b"ok":
                    yield self._found("database", "", f"integrity_check: {problem.decode('utf-8', 'backslashreplace')}")
        except (sqlite3.DatabaseError, UnicodeDecodeError) as damage:
            if isinstance(damage, sqlite3.Error) and not is_damage(damage):
                raise
            reason = reason_of(damage) if isinstance(damage, sqlite3.Error) else "a text that is not UTF-8"
            yield self._found("database", "", f"integrity_check ended: {reason}")

    def _rows(self) -> Iterator[Finding]:
        yield from self._events()
        yield from self._streams()
        for stream, schema_version in damaged_snapshots(self.connection):
            place = f"snapshot of {stream.decode('utf-8', 'backslashreplace')}, schema version {schema_version}"
            yield self._found("snapshot", place, "it has not the checksum of what it says, and is not used")

    def _events(self) -> Iterator[Finding]:
        since, expected, unchecked = first_checked(self.connection), 1, 0
        cursor = self.connection.execute(FEED, (-(1 << 63),))
        while rows := fetch_page(cursor):
            is_contiguous = [row[1] for row in rows] == list(range(expected, expected + len(rows)))
            unchecked += sum(row[-1] is None and row[1] <= since for row in rows)
            if not (is_contiguous and (are_good(rows) or are_unchecked(rows, since))):
                yield from self._damages(rows, since, expected)
            expected = rows[-1][1] + 1
        if unchecked:
            yield self._found("checksum", "", f"{unchecked} events are from before there were checksums, and have none")

    def _damages(self, rows: list[Row], since: int, expected: int) -> Iterator[Finding]:
        for row in rows:
            if row[1] != expected:
                yield self._found("event", f"position {expected}", f"what should be there is missing: position {row[1]} follows")
            damage = damage_of(row, since)
            if damage is not None:
                name = row[8].decode("utf-8", "backslashreplace") if isinstance(row[8], bytes) else "without a row"
                yield self._found("event", f"position {row[1]}, version {row[0]} of stream {name}", damage)
            expected = row[1] + 1

    def _streams(self) -> Iterator[Finding]:
        unnamed = 0
        for _, name, version, checksum, *counted in self.connection.execute(_STREAMS):
            place = f"stream {name.decode('utf-8', 'backslashreplace')}"
            if not is_stream_name(name) or checksum not in {None, name_checksum(name)}:
                yield self._found("stream", place, "it has another name than when it began")
            if counted != [version, 1, version]:
                there = (
                    "it has no events" if counted[0] is None else f"it has {counted[0]} events, of versions {counted[1]} to {counted[2]}"
                )
                yield self._found("stream", place, f"its version is {version}, and {there}")
            unnamed += checksum is None
        for (stream_id,) in self.connection.execute(_LOST):
            yield self._found("stream", f"stream with the key {stream_id}", "its events or its name are there, and its own row is not")
        if unnamed:
            yield self._found("checksum", "", f"{unnamed} names of streams are from before there were checksums, and have none")

    def _meaning(self, check_stream: StreamCheck) -> Iterator[Finding]:
        for stream_id, name in self.connection.execute("SELECT id, name FROM streams ORDER BY name"):
            stream = StreamId.parse(name.decode())
            events = map(partial(RowEvent, stream), self.connection.execute(_STREAM, (stream_id,)))
            for version, problem in check_stream(stream, events):
                yield self._found("meaning", f"version {version} of stream {stream}", problem)

    def _found(self, concern: Concern, place: str, problem: str) -> Finding:
        return Finding(concern, self.path, place, problem)


_UNCHECKED = f"""
SELECT {FEED_COLUMNS} FROM events LEFT JOIN streams ON id = stream_id
WHERE position > ? AND events.checksum IS NULL ORDER BY position LIMIT 2000
"""  # noqa: S608  # a constant
_UNNAMED = "SELECT id, name FROM streams WHERE id > ? AND id NOT IN (SELECT stream_id FROM stream_names) ORDER BY id LIMIT 2000"


def repair(path: str | os.PathLike[str]) -> Sequence[Finding]:
    """Migrate a store to the newest schema version, add missing checksums, and delete damaged snapshots. Events stay unchanged.

    An event without a checksum is trusted, because its earlier content is unknown. Checksums are added in small commits, so others may go
    on writing, and memory is bounded. An interrupted repair continues where it stopped.

    Args:
        path: of the file.

    Returns:
        The findings that :func:`verify` still has.

    Raises:
        CorruptStoreError: an event, a stream or the database itself is damaged. Nothing was repaired.
        IncompatibleStoreError: there is no store, or one of a newer schema version.
        StoreUnavailableError: the file can't be read or written now.
    """
    place = os.fspath(path)
    if not Path(place).is_file():
        raise IncompatibleStoreError(store="sqlite store", place=place, problem="there is no such file")
    with closing(open_database(place, synchronous="FULL")) as connection, translated(place):
        for finding in verify(place):
            if not finding.is_derived:
                raise CorruptStoreError(store="sqlite store", place=f"{place}, {finding.place}", problem=finding.problem)
        connection.text_factory = bytes
        _add_event_checksums(connection)
        _add_name_checksums(connection)
        with writing(connection):
            forget_damaged_snapshots(connection)
    return list(verify(place))


def _add_event_checksums(connection: sqlite3.Connection) -> None:
    position, is_done = 0, False
    while not is_done:
        with writing(connection):
            rows = fetch_page(connection.execute(_UNCHECKED, (position,)))
            checksums = [(event_checksum(*row[:9]), row[1]) for row in rows]
            connection.executemany("UPDATE events SET checksum = ? WHERE position = ?", checksums)
            if rows:
                position = rows[-1][1]
            else:
                connection.execute("UPDATE checksums SET since = 0")
                is_done = True


def _add_name_checksums(connection: sqlite3.Connection) -> None:
    key, is_done = 0, False
    while not is_done:
        with writing(connection):
            rows = connection.execute(_UNNAMED, (key,)).fetchall()
            names = [(stream_id, name_checksum(name)) for stream_id, name in rows]
            connection.executemany("INSERT INTO stream_names (stream_id, checksum) VALUES (?, ?)", names)
            is_done = not rows
            key = key if is_done else rows[-1][0]


def back_up(path: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Copy a store, as of one instant, into a new file, durably, and verify the copy. Others may go on writing.

    Everything in the file is copied, including snapshots and rows of projections. The copy gets its final name only when it is whole. The
    copy is a store with the same events as the original: don't write to both.

    Args:
        path: of the file.
        target: the path of the copy, in an existing folder.

    Returns:
        The position of the last event in the copy.

    Raises:
        IncompatibleStoreError: there is no store, or one of another schema version, or the target exists already.
        CorruptStoreError: the store is damaged. No copy was made.
        StoreUnavailableError: the file can't be read now.
        OSError: the copy can't be written.
    """
    source, copy = os.fspath(path), Path(target).absolute()
    if copy.exists() or copy.is_symlink():
        raise IncompatibleStoreError(store="target of a backup", place=str(copy), problem="there is something already")
    part = copy.with_name(f".{copy.name}.part")
    with translated(source), closing(open_to_check(source)) as original:
        _remove(part)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            position = _copy_into(original, part)
            _check_copy(part, source)
            _sync(part)
            os.link(part, copy)
        finally:
            _remove(part)
    _sync(copy.parent)
    return position


def _copy_into(original: sqlite3.Connection, part: Path) -> int:
    with closing(connect(str(part), synchronous="FULL")) as copy:
        original.backup(copy)
        (position,) = copy.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
        copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return int(position)


def _check_copy(part: Path, source: str) -> None:
    for finding in verify(part):
        if not finding.is_derived:
            place = f"{source}, {finding.place}" if finding.place else source
            raise CorruptStoreError(store="sqlite store", place=place, problem=finding.problem)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(part: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            part.with_name(f"{part.name}{suffix}").unlink()
