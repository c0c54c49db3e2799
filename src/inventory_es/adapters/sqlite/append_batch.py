"""Appends that share one transaction, each decided on the state that the ones before it left."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import attrs

from inventory_es.adapters.sqlite.rows import (
    FEED_COLUMNS,
    STREAM_COLUMNS,
    RowEvent,
    check_absent,
    check_feed_rows,
    check_new_events,
    check_stream_rows,
    event_checksum,
    find_head,
    name_checksum,
    to_microseconds,
)
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import ConcurrencyError, EventIdCollisionError
from inventory_es.ports.records import AppendResult, NewEvent, RecordedEvent, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_versions, find_earlier_append

_LAST = f"SELECT {FEED_COLUMNS} FROM events LEFT JOIN streams ON id = stream_id ORDER BY position DESC LIMIT 1"  # noqa: S608  # a constant
_MOST = 10_000


class KnownHeads:
    """Versions of streams, and where the next event and the next stream go.

    SQLite tells whether another connection has written since (``PRAGMA data_version``); then all of it is forgotten. Each connection
    counts for itself, so the connection belongs to what is remembered.

    Args:
        store: its name, for errors.
    """

    def __init__(self, *, store: str) -> None:
        self.store: str = store
        self._known_by: sqlite3.Connection | None = None
        self._data_version: int | None = None
        self._streams: dict[str, tuple[int, int]] = {}
        self.position: int = 0
        self.last_stream: int = 0

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Begin a transaction that nobody else can write beside.

        Raises:
            CorruptStoreError: the last event is damaged: it is not known where the next one goes.
        """
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version or connection is not self._known_by:
            self._streams.clear()
            last = connection.execute(_LAST).fetchall()
            check_feed_rows(connection, last, store=self.store)
            self.position = last[0][1] if last else 0
            (self.last_stream,) = connection.execute("SELECT coalesce(max(id), 0) FROM streams").fetchone()
            self._known_by, self._data_version = connection, data_version

    def head(self, connection: sqlite3.Connection, name: str) -> tuple[int, int]:
        """The key and the version of a stream, given its text; zeros if it is not there.

        Raises:
            CorruptStoreError: as :func:`find_head`.
        """
        known = self._streams.get(name)
        if known is None:
            known = find_head(connection, name, store=self.store)
            self.keep(name, *known)
        return known

    def glance(self, connection: sqlite3.Connection, name: str) -> int | None:
        """The version of a stream, if it is remembered and nobody else has written since; outside of a transaction too."""
        known = self._streams.get(name)
        if known is None or connection is not self._known_by:
            return None
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        return known[1] if data_version == self._data_version else None

    def keep(self, name: str, stream_id: int, version: int) -> None:
        """Remember the head of a stream."""
        if len(self._streams) >= _MOST:
            self._streams.clear()
        self._streams[name] = stream_id, version

    def forget(self) -> None:
        """Trust nothing any more: a commit may have failed."""
        self._data_version = None


_IDS_A_QUERY = 500


@attrs.define
class _Stream:
    """A stream as this batch leaves it; ``own`` holds the batch's events with version and position, by the number of their id."""

    stream_id: int
    version: int
    stored_version: int
    own: dict[int, tuple[NewEvent, int, int]] = attrs.field(factory=dict)


class AppendBatch:
    """Appends of one transaction. The caller has begun it, and commits or rolls back.

    Args:
        connection: in a transaction that nobody else can write beside.
        heads: refreshed in it.
        look_up: ask for every event id whether it is stored. Otherwise that of an append whose versions fit is not asked for: the
            table refuses an id that it has (``sqlite3.IntegrityError`` by :meth:`write`), and then another batch must look up.
    """

    def __init__(self, connection: sqlite3.Connection, heads: KnownHeads, *, look_up: bool) -> None:
        self._connection = connection
        self._heads = heads
        self._look_up = look_up
        self._streams: dict[str, _Stream] = {}
        self._rows: list[tuple[int, int, int, bytes, str, int, int, str, str, bytes]] = []
        self._position = heads.position
        self._last_stream = heads.last_stream

    def decide(self, writes: Sequence[StreamWrite]) -> AppendResult | Exception:
        """The outcome of one append, if the transaction commits. What it writes is added to the batch."""
        try:
            if self._look_up or not self._is_new(writes):
                earlier = find_earlier_append(writes, self.find)
                if earlier is not None:
                    return earlier
                check_versions(writes, self._version)
        except (EventIdCollisionError, ConcurrencyError) as refusal:
            return refusal
        for write in writes:
            self._take_in(write)
        return AppendResult(self._position, {write.stream: self._version(write.stream) for write in writes})

    def find(self, stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[RecordedEvent]:
        """Those of these ids that the stream holds, by version; of this batch too."""
        known = self._stream(stream.text)
        found = [_recorded(stream, *known.own[event_id.int]) for event_id in event_ids if event_id.int in known.own]
        if known.stored_version:
            ids = [event_id.bytes for event_id in event_ids]
            found += find_rows(self._connection, stream, known.stream_id, ids, store=self._heads.store)
        return sorted(found, key=_version_of)

    def write(self) -> bool:
        """Put what was decided into the tables.

        Returns:
            Whether there was anything.

        Raises:
            sqlite3.IntegrityError: an event id is stored already.
            CorruptStoreError: whether one is can't be told.
        """
        if not self._rows:
            return False
        moved = [(name, known) for name, known in self._streams.items() if known.version > known.stored_version]
        self._connection.executemany(
            "INSERT INTO streams (id, name, version) VALUES (?, ?, ?)",
            [(known.stream_id, name, known.version) for name, known in moved if not known.stored_version],
        )
        self._connection.executemany(
            "INSERT INTO stream_names (stream_id, checksum) VALUES (?, ?)",
            [(known.stream_id, name_checksum(name.encode())) for name, known in moved if not known.stored_version],
        )
        self._connection.executemany(
            "UPDATE streams SET version = ? WHERE id = ?", [(known.version, known.stream_id) for _, known in moved if known.stored_version]
        )
        self._connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._rows)
        check_new_events(self._connection, self._heads.position, store=self._heads.store)
        return True

    def settle(self) -> None:
        """What was written is committed: it is what is known now."""
        for name, known in self._streams.items():
            self._heads.keep(name, known.stream_id, known.version)
        self._heads.position, self._heads.last_stream = self._position, self._last_stream

    def _is_new(self, writes: Sequence[StreamWrite]) -> bool:
        """Whether no stream and no id speaks against it, as far as can be told without looking ids up."""
        for write in writes:
            known = self._stream(write.stream.text)
            if known.version != write.expected_version:
                return False
            if known.own and not known.own.keys().isdisjoint([event.event_id.int for event in write.events]):
                return False
        return True

    def _version(self, stream: StreamId) -> int:
        return self._stream(stream.text).version

    def _stream(self, name: str) -> _Stream:
        known = self._streams.get(name)
        if known is None:
            stream_id, version = self._heads.head(self._connection, name)
            known = self._streams[name] = _Stream(stream_id, version, version)
        return known

    def _take_in(self, write: StreamWrite) -> None:
        stream = self._stream(write.stream.text)
        if stream.stream_id == 0:
            self._last_stream += 1
            stream.stream_id = self._last_stream
        version, position, name = stream.version, self._position, write.stream.text.encode()
        for event in write.events:
            version += 1
            position += 1
            event_id, time = event.event_id, to_microseconds(event.recorded_at)
            kind, schema_version, data, metadata = event.event_type, event.schema_version, event.data, event.metadata
            checksum = event_checksum(version, position, event_id.bytes, kind.encode(), schema_version, time, data, metadata, name)
            texts = data.decode(), metadata.decode()
            self._rows.append((position, stream.stream_id, version, event_id.bytes, kind, schema_version, time, *texts, checksum))
            stream.own[event_id.int] = event, version, position
        stream.version, self._position = version, position


def find_rows(
    connection: sqlite3.Connection, stream: StreamId, stream_id: int, event_ids: Sequence[bytes], *, store: str
) -> list[RecordedEvent]:
    """Those of these ids that the stream holds in the table.

    Raises:
        CorruptStoreError: one of them is damaged, or what finds them is.
    """
    found: list[RecordedEvent] = []
    for start in range(0, len(event_ids), _IDS_A_QUERY):
        ids = event_ids[start : start + _IDS_A_QUERY]
        marks = ", ".join("?" * len(ids))
        query = f"SELECT {STREAM_COLUMNS} FROM events WHERE stream_id = ? AND event_id IN ({marks})"  # noqa: S608  # only question marks vary
        rows = connection.execute(query, (stream_id, *ids)).fetchall()
        missing = set(ids).difference([row[2] for row in rows])
        check_absent(connection, stream_id, [*missing], store=store)
        check_stream_rows(connection, rows, stream.text, store=store)
        found += map(partial(RowEvent, stream), rows)
    return found


def _recorded(stream: StreamId, event: NewEvent, version: int, position: int) -> RecordedEvent:
    return RecordedEvent(
        stream, version, position, event.event_id, event.event_type, event.schema_version, event.recorded_at, event.data, event.metadata
    )


def _version_of(event: RecordedEvent) -> int:
    return event.version
