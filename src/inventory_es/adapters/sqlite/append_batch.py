"""Deciding appends that share one transaction, each on what the ones before it left, as if they ran in order."""

import sqlite3
from collections.abc import Sequence
from uuid import UUID

import attrs

from inventory_es.adapters.sqlite.row_event import COLUMNS, EventRow, RowEvent, to_microseconds
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.append_rules import check_versions, find_earlier_append
from inventory_es.ports.errors import ConcurrencyError, EventIdCollisionError
from inventory_es.ports.records import AppendResult, StreamWrite

_IDS_A_QUERY = 500


@attrs.define
class _Stream:
    stream_id: int
    version: int
    stored_version: int


class AppendBatch:
    """Appends of one transaction. The caller has begun it, and commits or rolls back.

    Args:
        connection: in a transaction that nobody else can write beside.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._streams: dict[StreamId, _Stream] = {}
        self._own: dict[tuple[StreamId, bytes], RowEvent] = {}
        self._rows: list[tuple[int, int, int, bytes, str, int, int, str, str]] = []
        (self._position,) = connection.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
        (self._last_stream,) = connection.execute("SELECT coalesce(max(id), 0) FROM streams").fetchone()

    def decide(self, writes: Sequence[StreamWrite]) -> AppendResult | Exception:
        """The outcome of one append, if the transaction commits. What it writes is added to the batch."""
        try:
            earlier = find_earlier_append(writes, self.find)
            if earlier is not None:
                return earlier
            check_versions(writes, lambda stream: self._stream(stream).version)
        except (EventIdCollisionError, ConcurrencyError) as refusal:
            return refusal
        for write in writes:
            self._take_in(write)
        return AppendResult(self._position, {write.stream: self._stream(write.stream).version for write in writes})

    def find(self, stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[RowEvent]:
        """Those of these ids that the stream holds, by version; of this batch too."""
        known = self._stream(stream)
        if known.version == 0:
            return ()
        ids = [event_id.bytes for event_id in event_ids]
        found = [self._own[stream, one] for one in ids if (stream, one) in self._own]
        if known.stored_version:
            found += find_rows(self._connection, stream, known.stream_id, ids)
        return sorted(found, key=lambda event: event.version)

    def write(self) -> bool:
        """Put what was decided into the tables.

        Returns:
            Whether there was anything.
        """
        if not self._rows:
            return False
        moved = [
            (known.stream_id, name.text, known.version) for name, known in self._streams.items() if known.version > known.stored_version
        ]
        self._connection.executemany(
            "INSERT INTO streams (id, name, version) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET version = excluded.version", moved
        )
        self._connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._rows)
        return True

    def _stream(self, stream: StreamId) -> _Stream:
        known = self._streams.get(stream)
        if known is None:
            row = self._connection.execute("SELECT id, version FROM streams WHERE name = ?", (stream.text,)).fetchone()
            known = self._streams[stream] = _Stream(0, 0, 0) if row is None else _Stream(row[0], row[1], row[1])
        return known

    def _take_in(self, write: StreamWrite) -> None:
        stream = self._stream(write.stream)
        if stream.stream_id == 0:
            self._last_stream += 1
            stream.stream_id = self._last_stream
        for event in write.events:
            stream.version += 1
            self._position += 1
            row = EventRow(
                stream.version,
                self._position,
                event.event_id.bytes,
                event.event_type,
                event.schema_version,
                to_microseconds(event.recorded_at),
                event.data.decode(),
                event.metadata.decode(),
            )
            self._rows.append((self._position, stream.stream_id, stream.version, *row[2:]))
            self._own[write.stream, row.event_id] = RowEvent(write.stream, row)


def find_rows(connection: sqlite3.Connection, stream: StreamId, stream_id: int, event_ids: Sequence[bytes]) -> list[RowEvent]:
    """Those of these ids that the stream holds in the table."""
    found: list[RowEvent] = []
    for start in range(0, len(event_ids), _IDS_A_QUERY):
        ids = event_ids[start : start + _IDS_A_QUERY]
        marks = ", ".join("?" * len(ids))
        query = f"SELECT {COLUMNS} FROM events WHERE stream_id = ? AND event_id IN ({marks})"  # noqa: S608  # only question marks vary
        found += [RowEvent(stream, EventRow._make(row)) for row in connection.execute(query, (stream_id, *ids))]
    return found
