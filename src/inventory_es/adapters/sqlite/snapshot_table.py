"""Snapshots as rows: the newest of each stream and schema version."""

import sqlite3
from collections.abc import Sequence
from uuid import UUID
from zlib import crc32

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.snapshot_store import Snapshot

_SAVE = """
INSERT INTO snapshots (stream, schema_version, version, event_id, data, checksum) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (stream, schema_version) DO UPDATE
SET version = excluded.version, event_id = excluded.event_id, data = excluded.data, checksum = excluded.checksum
"""


def load_snapshot(connection: sqlite3.Connection, stream: StreamId, schema_version: int, at_most: int | None) -> Snapshot | None:
    """Return the snapshot in the row of a stream, unless it is damaged or newer than asked for: a snapshot may always be forgotten."""
    row = _good_row(connection, stream.text.encode(), schema_version)
    if row is None or (at_most is not None and row[0] > at_most):
        return None
    version, event_id, data = row
    return Snapshot(stream=stream, schema_version=schema_version, version=version, event_id=UUID(bytes=event_id), data=data)


def save_snapshot(connection: sqlite3.Connection, snapshot: Snapshot) -> None:
    """Put the row, unless a newer one is there that is whole."""
    name, schema_version = snapshot.stream.text, snapshot.schema_version
    there = _good_row(connection, name.encode(), schema_version)
    if there is None or there[0] <= snapshot.version:
        state = snapshot.version, snapshot.event_id.bytes, snapshot.data
        connection.execute(_SAVE, (name, schema_version, *state, _checksum(name.encode(), schema_version, *state)))


def discard_snapshots(connection: sqlite3.Connection, streams: Sequence[StreamId]) -> None:
    """Delete the rows of these streams."""
    connection.executemany("DELETE FROM snapshots WHERE stream = ?", [(stream.text,) for stream in streams])


def clear_snapshots(connection: sqlite3.Connection) -> None:
    """Delete every row."""
    connection.execute("DELETE FROM snapshots")


def damaged_snapshots(connection: sqlite3.Connection) -> list[tuple[bytes, int]]:
    """Return stream and schema version of the rows that are not used, on a connection that gives texts as bytes."""
    keys = connection.execute("SELECT stream, schema_version FROM snapshots ORDER BY stream, schema_version").fetchall()
    return [(stream, version) for stream, version in keys if _good_row(connection, stream, version) is None]


def forget_damaged_snapshots(connection: sqlite3.Connection) -> None:
    """Delete the rows that are not used, on a connection that gives texts as bytes."""
    keys = damaged_snapshots(connection)
    connection.executemany("DELETE FROM snapshots WHERE CAST(stream AS BLOB) = ? AND schema_version = ?", keys)


def _good_row(connection: sqlite3.Connection, stream: bytes, schema_version: int) -> tuple[int, bytes, bytes] | None:
    query = "SELECT version, event_id, data, checksum FROM snapshots WHERE stream = CAST(? AS TEXT) AND schema_version = ?"
    for version, event_id, data, checksum in connection.execute(query, (stream, schema_version)):
        try:
            if checksum == _checksum(stream, schema_version, version, event_id, data):
                return version, event_id, data
        except TypeError:  # a column of another type
            continue
    return None


def _checksum(stream: bytes, schema_version: int, version: int, event_id: bytes, data: bytes) -> bytes:
    return crc32(b"%b %d %d %b %b" % (stream, schema_version, version, event_id, data)).to_bytes(4, "little")
