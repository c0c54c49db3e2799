"""Rows of the event store's tables: events, streams and snapshots, each with its checksum.

**Events.** The checksum is the CRC-32 of every column and of the stream's name. It covers version and position, so it reveals a row that
was changed, renamed, moved or exchanged with another. A missing or duplicate row shows in the versions and positions around it.

A CRC followed by its own check value leaves the register in a fixed state, regardless of what came before. Each checksum is computed
from that state and stored at the end of its row's text. So one call checks all rows of a page, joined to one text. This takes a third
of the time of one call per row. Damage to any row changes the state that it leaves, and no good row after it restores that state.

**Event ids.** An event is not repeated because the index knows its id. A damaged entry hides the id, and the event would be written
again. A search ends next to the place where the id belongs, even if the entry there was changed. So the two entries around that place
are compared with the rows of their events.

**Streams.** The version is compared with the last event. The table ``stream_names`` stores a checksum of each name under the stream's
key. So a stream whose row was renamed or lost is not mistaken for one that never existed.

**Snapshots.** A damaged snapshot is treated as missing.
"""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812  # a class, for all its name
from typing import Any, NoReturn
from uuid import UUID
from zlib import crc32

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.records import StreamHead
from inventory_es.ports.snapshot_store import Snapshot

_COLUMNS = "events.version, position, event_id, event_type, schema_version, recorded_at, data, metadata"

STREAM_COLUMNS = f"{_COLUMNS}, events.checksum"
"""The columns of an event of a known stream, in the order of ``EventRow``.

The connection returns texts as bytes (``text_factory``), because a damaged text can't be decoded.
"""

FEED_COLUMNS = f"{_COLUMNS}, name, events.checksum"
"""The columns of an event of any stream."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
_PAGE_BYTES = 4 << 20
_ROWS_AT_ONCE = 64


Row = tuple[Any, ...]

_STATE = 0x2144DF1C
_PARTS = 7
_FIRST_TIME = timedelta(days=-719_162) // timedelta(microseconds=1)
_LAST_TIME = timedelta(days=2_932_897) // timedelta(microseconds=1) - 1
_numbers = Struct("<4q").pack


def event_checksum(
    version: int,
    position: int,
    event_id: bytes,
    event_type: bytes,
    schema_version: int,
    time: int,
    data: bytes,
    metadata: bytes,
    name: bytes,
) -> bytes:
    """Return the checksum of a row, given its columns in the order of reading, and the name of its stream."""
    numbers = _numbers(version, position, schema_version, time)
    return crc32(b"\n%b\n%b\n%b\n%b\n%b\n%b\n" % (numbers, event_id, event_type, data, metadata, name), _STATE).to_bytes(4, "little")


def check_stream_rows(connection: sqlite3.Connection, rows: Sequence[Row], stream: str, *, store: str) -> None:
    """Refuse rows of one stream if one of them is damaged. Their last column is the checksum.

    Raises:
        CorruptStoreError: names the first damaged row.
    """
    name = stream.encode()
    if not are_good(rows, name):
        _refuse_damaged(connection, [(*row[:-1], name, row[-1]) for row in rows], store)


def check_feed_rows(connection: sqlite3.Connection, rows: Sequence[Row], *, store: str) -> None:
    """Refuse rows if one of them is damaged. Their last columns are the name of the stream and the checksum.

    Raises:
        CorruptStoreError: names the first damaged row.
    """
    if not are_good(rows):
        _refuse_damaged(connection, rows, store)


def first_checked(connection: sqlite3.Connection) -> int:
    """Return the position after which every row has a checksum. Rows up to it may be older than checksums."""
    row = connection.execute("SELECT max(since) FROM checksums").fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else 0


def damage_of(row: Row, since: int) -> str | None:
    """Return the damage of a row, or ``None``. The last columns are the name of the stream and the checksum."""
    if row[-1] is None:
        if row[1] > since:
            return "it has no checksum"
        return None if _are_plausible([row]) else "a column holds what no event has"
    return None if are_good([row]) else "its checksum is that of another row"


def are_unchecked(rows: Sequence[Row], since: int) -> bool:
    """Return True if all rows are older than checksums, and plausible. The rows have the name of their stream."""
    return not any(row[-1] is not None or row[1] > since for row in rows) and _are_plausible(rows)


def are_good(rows: Sequence[Row], name: bytes | None = None) -> bool:
    """Return True if every checksum is right. Rows of one stream come without its name."""
    if not rows:
        return True
    version, position, event_id, event_type, schema_version, time, data, metadata, *names, checksum = zip(*rows, strict=True)
    parts = [b""] * (_PARTS * len(rows) + 1)
    try:
        parts[1::_PARTS] = map(_numbers, version, position, schema_version, time)
        parts[2::_PARTS] = event_id
        parts[3::_PARTS] = event_type
        parts[4::_PARTS] = data
        parts[5::_PARTS] = metadata
        parts[6::_PARTS] = [name] * len(rows) if name is not None else names[0]
        parts[7::_PARTS] = checksum
        return crc32(b"\n".join(parts), _STATE) == _STATE
    except (TypeError, StructError):  # a column of another type, or a row that is older than checksums
        return False


def _refuse_damaged(connection: sqlite3.Connection, rows: Sequence[Row], store: str) -> None:
    since = first_checked(connection)
    if are_unchecked(rows, since):
        return
    for row in rows:
        damage = damage_of(row, since)
        if damage is not None:
            _refuse_event(store, row, damage)


def _are_plausible(rows: Sequence[Row]) -> bool:
    """Return True if every column holds a possible value of an event."""
    version, position, event_id, event_type, schema_version, time, data, metadata, name, _ = zip(*rows, strict=True)
    numbers, texts = (version, position, schema_version, time), (event_id, event_type, data, metadata, name)
    return (
        all({*map(type, values)} == {int} for values in numbers)
        and all({*map(type, values)} == {bytes} for values in texts)
        and min(*version, *position, *schema_version) >= 1
        and min(time) >= _FIRST_TIME
        and max(time) <= _LAST_TIME
        and {*map(len, event_id)} == {16}
        and all(map(_is_event_type, {*event_type}))
        and all(map(is_stream_name, {*name}))
    )


def _is_event_type(text: bytes) -> bool:
    return 1 <= len(text) <= 128 and text.isascii() and text.decode("ascii").isprintable()


@lru_cache(maxsize=8_192)
def is_stream_name(name: object) -> bool:
    """Return True if the value of a column is the text of a stream id, in bytes."""
    try:
        StreamId.parse(name.decode() if isinstance(name, bytes) else "")
    except ValueError:
        return False
    return True


def _refuse_event(store: str, row: Row, damage: str) -> NoReturn:
    name = row[8].decode("utf-8", "backslashreplace") if isinstance(row[8], bytes) else "without a name"
    place = f"stream {name}, version {row[0]}" if isinstance(row[0], int) else f"stream {name}, position {row[1]}"
    raise CorruptStoreError(store=store, place=place, problem=f"the event is damaged: {damage}")


def _misfit(comparison: str, direction: str) -> str:
    return f"""(
SELECT NOT EXISTS (SELECT 1 FROM events AS stored NOT INDEXED
    WHERE stored.position = near.position AND stored.stream_id = near.stream_id AND stored.event_id = near.event_id)
FROM events AS near INDEXED BY events_by_id
WHERE (near.stream_id, near.event_id) {comparison} (asked.stream_id, asked.event_id)
ORDER BY near.stream_id {direction}, near.event_id {direction} LIMIT 1)"""  # noqa: S608  # constants


_MISFITS = f"{_misfit('>', 'ASC')} OR {_misfit('<', 'DESC')}"
_NEW_MISFITS = f"SELECT 1 FROM events AS asked NOT INDEXED WHERE asked.position > ? AND ({_MISFITS}) LIMIT 1"  # noqa: S608  # constants


def check_new_events(connection: sqlite3.Connection, after: int, *, store: str) -> None:
    """Refuse the events after a position if the index is damaged at the place of one of their ids.

    Raises:
        CorruptStoreError: the index is damaged.
    """
    if connection.execute(_NEW_MISFITS, (after,)).fetchone() is not None:
        _refuse_index(store)


def check_absent(connection: sqlite3.Connection, stream_id: int, event_ids: Sequence[bytes], *, store: str) -> None:
    """Refuse the answer that a stream has none of these events if the index is damaged at the place of one of the ids.

    Raises:
        CorruptStoreError: the index is damaged.
    """
    if event_ids:
        asked = ", ".join([f"({stream_id:d}, ?)"] * len(event_ids))
        query = f"WITH asked (stream_id, event_id) AS (VALUES {asked}) SELECT 1 FROM asked WHERE {_MISFITS} LIMIT 1"  # noqa: S608  # a number, and constants
        if connection.execute(query, event_ids).fetchone() is not None:
            _refuse_index(store)


def _refuse_index(store: str) -> NoReturn:
    problem = "it says something else than the events: restore a backup, or build it again with SQLite's REINDEX"
    raise CorruptStoreError(store=store, place="the index of event ids", problem=problem)


_STREAM = """
named.id, named.name, stored.name, stored.version, stream_names.checksum,
(SELECT max(version) FROM events WHERE stream_id = named.id)
FROM streams AS named LEFT JOIN streams AS stored ON stored.id = named.id LEFT JOIN stream_names ON stream_id = named.id
"""
"""Columns from the index of names (``named``) and from the table (``stored``). Damage to one of them contradicts the other."""

_FIND_STREAM = f"SELECT {_STREAM} WHERE named.name = ?"  # a constant
_LIST_STREAMS = f"SELECT {_STREAM} WHERE named.name >= ? AND named.name < ? AND named.name > ? ORDER BY named.name LIMIT ?"  # a constant
_SAME_CHECKSUM = """
SELECT name FROM stream_names LEFT JOIN streams ON streams.id = stream_id WHERE stream_names.checksum = ?
"""


def name_checksum(name: bytes) -> int:
    """Return the checksum of a name in ``stream_names``."""
    return crc32(name)


def find_head(connection: sqlite3.Connection, name: str, *, store: str) -> tuple[int, int]:
    """Return the key and the version of a stream, given its text; zeros for a missing stream.

    Raises:
        CorruptStoreError: the stream's row contradicts its events, or is lost.
    """
    row = connection.execute(_FIND_STREAM, (name,)).fetchone()
    if row is None:
        _check_no_stream(connection, name, store)
        return 0, 0
    return _key_of(row, store), row[3]


def list_heads(connection: sqlite3.Connection, bounds: tuple[str, str, str], limit: int, *, store: str) -> Sequence[StreamHead]:
    """Return streams by name. The bounds are the first name, the end (excluded), and a name that all results follow.

    Raises:
        CorruptStoreError: a row contradicts its events.
    """
    rows = connection.execute(_LIST_STREAMS, (*bounds, limit)).fetchall()
    for row in rows:
        _key_of(row, store)
    return [StreamHead(StreamId.parse(row[1].decode()), row[3]) for row in rows]


def _key_of(row: tuple[Any, ...], store: str) -> int:
    key, name, stored_name, version, checksum, newest = row
    if name != stored_name or not is_stream_name(name) or checksum not in {None, name_checksum(name)}:
        _refuse_stream(store, name, "its row has another name")
    if version != newest or type(version) is not int or version < 1:
        _refuse_stream(store, name, f"its row says version {version!r}, and its last event has version {newest!r}")
    return int(key)


def _check_no_stream(connection: sqlite3.Connection, name: str, store: str) -> None:
    checksum = name_checksum(name.encode())
    for (found,) in connection.execute(_SAME_CHECKSUM, (checksum,)):
        if not isinstance(found, bytes) or found == name.encode() or name_checksum(found) != checksum:
            _refuse_stream(store, name.encode(), "it was there, and its row is lost or has another name")


def _refuse_stream(store: str, name: object, problem: str) -> NoReturn:
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else repr(name)
    raise CorruptStoreError(store=store, place=f"stream {text}", problem=problem)


_SAVE_SNAPSHOT = """
INSERT INTO snapshots (stream, schema_version, version, event_id, data, checksum) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (stream, schema_version) DO UPDATE
SET version = excluded.version, event_id = excluded.event_id, data = excluded.data, checksum = excluded.checksum
"""


def load_snapshot(connection: sqlite3.Connection, stream: StreamId, schema_version: int, at_most: int | None) -> Snapshot | None:
    """Return the snapshot of a stream, or ``None`` if it is missing, damaged or newer than ``at_most``."""
    row = _good_row(connection, stream.text.encode(), schema_version)
    if row is None or (at_most is not None and row[0] > at_most):
        return None
    version, event_id, data = row
    return Snapshot(stream=stream, schema_version=schema_version, version=version, event_id=UUID(bytes=event_id), data=data)


def save_snapshot(connection: sqlite3.Connection, snapshot: Snapshot) -> None:
    """Write the row, unless there is a newer undamaged one."""
    name, schema_version = snapshot.stream.text, snapshot.schema_version
    there = _good_row(connection, name.encode(), schema_version)
    if there is None or there[0] <= snapshot.version:
        state = snapshot.version, snapshot.event_id.bytes, snapshot.data
        connection.execute(_SAVE_SNAPSHOT, (name, schema_version, *state, _snapshot_checksum(name.encode(), schema_version, *state)))


def discard_snapshots(connection: sqlite3.Connection, streams: Sequence[StreamId]) -> None:
    """Delete the rows of these streams."""
    connection.executemany("DELETE FROM snapshots WHERE stream = ?", [(stream.text,) for stream in streams])


def clear_snapshots(connection: sqlite3.Connection) -> None:
    """Delete every row."""
    connection.execute("DELETE FROM snapshots")


def damaged_snapshots(connection: sqlite3.Connection) -> list[tuple[bytes, int]]:
    """Return stream and schema version of the damaged rows, on a connection that returns texts as bytes."""
    keys = connection.execute("SELECT stream, schema_version FROM snapshots ORDER BY stream, schema_version").fetchall()
    return [(stream, version) for stream, version in keys if _good_row(connection, stream, version) is None]


def forget_damaged_snapshots(connection: sqlite3.Connection) -> None:
    """Delete the damaged rows, on a connection that returns texts as bytes."""
    keys = damaged_snapshots(connection)
    connection.executemany("DELETE FROM snapshots WHERE CAST(stream AS BLOB) = ? AND schema_version = ?", keys)


def _good_row(connection: sqlite3.Connection, stream: bytes, schema_version: int) -> tuple[int, bytes, bytes] | None:
    query = "SELECT version, event_id, data, checksum FROM snapshots WHERE stream = CAST(? AS TEXT) AND schema_version = ?"
    for version, event_id, data, checksum in connection.execute(query, (stream, schema_version)):
        try:
            if checksum == _snapshot_checksum(stream, schema_version, version, event_id, data):
                return version, event_id, data
        except TypeError:  # a column of another type
            continue
    return None


def _snapshot_checksum(stream: bytes, schema_version: int, version: int, event_id: bytes, data: bytes) -> bytes:
    return crc32(b"%b %d %d %b %b" % (stream, schema_version, version, event_id, data)).to_bytes(4, "little")


def fetch_page(found: sqlite3.Cursor) -> list[Any]:
    """Fetch all rows, or as many as make a page of some megabytes."""
    rows: list[Any] = []
    size = 0
    while size <= _PAGE_BYTES and (more := found.fetchmany(_ROWS_AT_ONCE)):
        rows += more
        try:
            size += sum([len(row[6]) + len(row[7]) for row in more])
        except TypeError:  # damage, which the check of the rows names
            break
    return rows
