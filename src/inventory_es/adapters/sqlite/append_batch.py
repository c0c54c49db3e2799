"""Appends that share one transaction, each decided on the state that the ones before it left."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from operator import attrgetter
from uuid import UUID

import attrs

from inventory_es.adapters.sqlite.rows import (
    EPOCH,
    FEED_COLUMNS,
    MICROSECOND,
    STREAM_COLUMNS,
    check_absent,
    check_feed_rows,
    check_new_events,
    check_stream_rows,
    event_checksum,
    find_head,
    name_checksum,
)
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import ConcurrencyError, EventIdCollisionError
from inventory_es.ports.records import AppendResult, NewEvent, RecordedEvent, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_versions, find_earlier_append
from inventory_es.ports.toolkit.event_rows import RowEvent

_LAST = f"SELECT {FEED_COLUMNS} FROM events LEFT JOIN streams ON id = stream_id ORDER BY position DESC LIMIT 1"  # noqa: S608  # a constant
_MOST = 10_000
_IDS_PER_QUERY = 500
_version_of = attrgetter("version")


class KnownHeads:
    """Versions of streams, and the places of the next event and stream, kept between commits while nobody else writes.

    SQLite tells whether another connection has written since (``PRAGMA data_version``); then everything is forgotten. Each connection
    counts by itself, so the connection is kept too.

    Args:
        store: the store's name, for errors.

    Attributes:
        streams: the key and the version of each known stream, by its text; at most about 10,000.
        position: of the last event.
        last_stream: the largest key of a stream.
    """

    def __init__(self, *, store: str) -> None:
        self.store: str = store
        self._known_by: sqlite3.Connection | None = None
        self._data_version: int | None = None
        self.streams: dict[str, tuple[int, int]] = {}
        self.position: int = 0
        self.last_stream: int = 0

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Read what another connection may have changed, in a transaction that holds the write lock.

        Raises:
            CorruptStoreError: the last event is damaged, so the next one has no known place.
        """
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        if data_version != self._data_version or connection is not self._known_by:
            self.streams.clear()
            last = connection.execute(_LAST).fetchall()
            check_feed_rows(connection, last, store=self.store)
            self.position = last[0][1] if last else 0
            (self.last_stream,) = connection.execute("SELECT coalesce(max(id), 0) FROM streams").fetchone()
            self._known_by, self._data_version = connection, data_version

    def find(self, connection: sqlite3.Connection, name: str) -> tuple[int, int]:
        """Return the key and the version of a stream, given its text, and keep them; zeros for a missing stream.

        Raises:
            CorruptStoreError: as :func:`find_head`.
        """
        if len(self.streams) >= _MOST:
            self.streams.clear()
        found = self.streams[name] = find_head(connection, name, store=self.store)
        return found

    def glance(self, connection: sqlite3.Connection, name: str) -> int | None:
        """Return the version of a stream if it is known and nobody else has written since. Works outside of a transaction too."""
        known = self.streams.get(name)
        if known is None or connection is not self._known_by:
            return None
        (data_version,) = connection.execute("PRAGMA data_version").fetchone()
        return known[1] if data_version == self._data_version else None

    def forget(self) -> None:
        """Forget everything, because a commit may have failed."""
        self._known_by = self._data_version = None


@attrs.define
class _Stream:
    """A stream as this batch leaves it. ``own`` holds the batch's events with version and position, by the number of their id."""

    stream_id: int
    version: int
    stored_version: int
    own: dict[int, tuple[NewEvent, int, int]] = attrs.field(factory=dict)


class AppendBatch:
    """Appends of one transaction. The caller has begun it, and commits or rolls back.

    Args:
        connection: in a transaction that holds the write lock.
        heads: refreshed in that transaction.
        look_up: True to look up every event id. Otherwise an append whose versions fit is not looked up: :meth:`write` raises
            ``sqlite3.IntegrityError`` for a stored id, and another batch must then look up.
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
        """Return the outcome of one append if the transaction commits, and add its rows to the batch."""
        try:
            if self._look_up or not self._is_new(writes):
                earlier = find_earlier_append(writes, self.find)
                if earlier is not None:
                    return earlier
                check_versions(writes, lambda stream: self._stream(stream.text).version)
        except (EventIdCollisionError, ConcurrencyError) as refusal:
            return refusal
        versions: dict[StreamId, int] = {}
        for write in writes:
            versions[write.stream] = self._add(write)
        return AppendResult(self._position, versions)

    def find(self, stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[RecordedEvent]:
        """Return the events of the stream, or of this batch, that have one of these ids, by version."""
        known = self._stream(stream.text)
        found = [_recorded(stream, *known.own[event_id.int]) for event_id in event_ids if event_id.int in known.own]
        if known.stored_version:
            ids = [event_id.bytes for event_id in event_ids]
            found += find_rows(self._connection, stream, known.stream_id, ids, store=self._heads.store)
        return sorted(found, key=_version_of)

    def write(self) -> bool:
        """Write the decided appends into the tables.

        Returns:
            True if there was any.

        Raises:
            sqlite3.IntegrityError: an event id is stored already.
            CorruptStoreError: the index of event ids is damaged, so that a stored id may be missing from it.
        """
        if not self._rows:
            return False
        new: list[tuple[int, str, int]] = []
        names: list[tuple[int, int]] = []
        moved: list[tuple[int, int]] = []
        for name, known in self._streams.items():
            if known.version > known.stored_version > 0:
                moved.append((known.version, known.stream_id))
            elif known.version > known.stored_version:
                new.append((known.stream_id, name, known.version))
                names.append((known.stream_id, name_checksum(name.encode())))
        self._connection.executemany("INSERT INTO streams (id, name, version) VALUES (?, ?, ?)", new)
        self._connection.executemany("INSERT INTO stream_names (stream_id, checksum) VALUES (?, ?)", names)
        self._connection.executemany("UPDATE streams SET version = ? WHERE id = ?", moved)
        self._connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", self._rows)
        check_new_events(self._connection, self._heads.position, store=self._heads.store)
        return True

    def settle(self) -> None:
        """Keep the new heads, once the transaction is committed."""
        for name, known in self._streams.items():
            self._heads.streams[name] = known.stream_id, known.version
        self._heads.position, self._heads.last_stream = self._position, self._last_stream

    def _is_new(self, writes: Sequence[StreamWrite]) -> bool:
        """Return True if all versions fit, and no id is in this batch. Stored ids are not looked up."""
        for write in writes:
            known = self._stream(write.stream.text)
            if known.version != write.expected_version:
                return False
            if known.own and not known.own.keys().isdisjoint([event.event_id.int for event in write.events]):
                return False
        return True

    def _stream(self, name: str) -> _Stream:
        known = self._streams.get(name)
        if known is None:
            stream_id, version = self._heads.streams.get(name) or self._heads.find(self._connection, name)
            known = self._streams[name] = _Stream(stream_id, version, version)
        return known

    def _add(self, write: StreamWrite) -> int:
        text = write.stream.text
        stream = self._stream(text)
        if stream.stream_id == 0:
            self._last_stream += 1
            stream.stream_id = self._last_stream
        version, position, name = stream.version, self._position, text.encode()
        for event in write.events:
            version += 1
            position += 1
            event_id, time = event.event_id, (event.recorded_at - EPOCH) // MICROSECOND
            kind, schema_version, data, metadata = event.event_type, event.schema_version, event.data, event.metadata
            checksum = event_checksum(version, position, event_id.bytes, kind.encode(), schema_version, time, data, metadata, name)
            texts = data.decode(), metadata.decode()
            self._rows.append((position, stream.stream_id, version, event_id.bytes, kind, schema_version, time, *texts, checksum))
            stream.own[event_id.int] = event, version, position
        stream.version, self._position = version, position
        return version


def find_rows(
    connection: sqlite3.Connection, stream: StreamId, stream_id: int, event_ids: Sequence[bytes], *, store: str
) -> list[RecordedEvent]:
    """Return the events of the stream in the table that have one of these ids.

    Raises:
        CorruptStoreError: one of the rows is damaged, or the index that finds them is.
    """
    found: list[RecordedEvent] = []
    for start in range(0, len(event_ids), _IDS_PER_QUERY):
        ids = event_ids[start : start + _IDS_PER_QUERY]
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
