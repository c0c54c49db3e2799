"""Snapshots as rows: the newest of each stream and schema version."""

import sqlite3
from collections.abc import Sequence
from uuid import UUID

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.snapshot_store import Snapshot

_SAVE = """
INSERT INTO snapshots (stream, schema_version, version, event_id, data) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (stream, schema_version) DO UPDATE SET version = excluded.version, event_id = excluded.event_id, data = excluded.data
WHERE excluded.version >= snapshots.version
"""


def load_snapshot(connection: sqlite3.Connection, stream: StreamId, schema_version: int, at_most: int | None) -> Snapshot | None:
    """The row of a stream, unless it is newer than asked for."""
    query = "SELECT version, event_id, data FROM snapshots WHERE stream = ? AND schema_version = ?"
    row = connection.execute(query, (stream.text, schema_version)).fetchone()
    if row is None or (at_most is not None and row[0] > at_most):
        return None
    version, event_id, data = row
    return Snapshot(stream=stream, schema_version=schema_version, version=version, event_id=UUID(bytes=event_id), data=data)


def save_snapshot(connection: sqlite3.Connection, snapshot: Snapshot) -> None:
    """Put the row, unless a newer one is there."""
    key = snapshot.stream.text, snapshot.schema_version
    connection.execute(_SAVE, (*key, snapshot.version, snapshot.event_id.bytes, snapshot.data))


def discard_snapshots(connection: sqlite3.Connection, streams: Sequence[StreamId]) -> None:
    """Delete the rows of these streams."""
    connection.executemany("DELETE FROM snapshots WHERE stream = ?", [(stream.text,) for stream in streams])


def clear_snapshots(connection: sqlite3.Connection) -> None:
    """Delete every row."""
    connection.execute("DELETE FROM snapshots")
