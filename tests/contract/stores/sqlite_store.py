"""A correct synchronous store of the tests' own: standard SQLite, one table, one connection per instance."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from uuid import UUID
from weakref import WeakSet

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, FeedPage, RecordedEvent, StoreCapabilities, StreamPage, StreamWrite
from inventory_es.ports.errors import ConcurrencyError, EventIdCollisionError, StoreClosedError
from inventory_es.ports.toolkit.append_rules import check_append, check_page

_SCHEMA = """CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT, version INTEGER, event_id TEXT, event_type TEXT,
    schema_version INTEGER, recorded_at TEXT, data BLOB, metadata BLOB, UNIQUE (stream, version), UNIQUE (stream, event_id))"""
_COLUMNS = "stream, version, position, event_id, event_type, schema_version, recorded_at, data, metadata"
_PAGE = 500


class SqliteStore:
    """An event store and feed without a single await."""

    capabilities = StoreCapabilities(
        durability="process",
        feed="total",
        multi_process=True,
        multi_stream=True,
        unique_event_ids=True,
        settles_within=0.0,
        survives_fork=True,
        max_append_bytes=4 << 20,
    )
    begin = "BEGIN IMMEDIATE"

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = Lock()
        self._open = True
        self._db = self._connect()
        self._db.execute(_SCHEMA)
        _stores.add(self)

    def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        with self._transaction():
            check_append(writes, self.capabilities, store="SqliteStore")
            places = [self._place(write) for write in writes]
            if None not in places:
                versions = {w.stream: place + len(w.events) for w, place in zip(writes, places, strict=True) if place is not None}
                last = self._rows("stream = ? AND version = ?", str(writes[-1].stream), versions[writes[-1].stream])[0]
                return AppendResult(last.position, versions, replayed=True)
            for write, place in zip(writes, places, strict=True):
                if place is not None:
                    raise EventIdCollisionError(
                        stream=write.stream, event_id=write.events[0].event_id, problem="is stored without its neighbours"
                    )
                self._check_version(write)
            for write in writes:
                self._insert(write)
            head = self._head()
            return AppendResult(head, {write.stream: write.expected_version + len(write.events) for write in writes})

    def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        check_page(after=after, limit=limit)
        with self._transaction():
            events = self._rows("stream = ? AND version > ? ORDER BY version LIMIT ?", str(stream), after, min(limit, _PAGE))
            version = self._version(stream)
            return StreamPage(events, version, is_end=not events or events[-1].version == version)

    def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        check_page(before=before, limit=limit)
        with self._transaction():
            place = (str(stream), before if before is not None else 1 << 60, min(limit, _PAGE))
            events = self._rows("stream = ? AND version < ? ORDER BY version DESC LIMIT ?", *place)
            return StreamPage(events, self._version(stream), is_end=not events or events[-1].version == 1)

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        with self._transaction():
            found = {e.version: e for id_ in event_ids for e in self._rows("stream = ? AND event_id = ?", str(stream), id_.hex)}
            return [found[version] for version in sorted(found)]

    def read_all(self, *, after: int, limit: int) -> FeedPage:
        check_page(after=after, limit=limit)
        with self._transaction():
            events = self._rows("position > ? ORDER BY position LIMIT ?", after, min(limit, _PAGE))
            next_after = events[-1].position if events else after
            return FeedPage(events, next_after, is_end=next_after >= self._head())

    def head(self) -> int:
        with self._transaction():
            return self._head()

    def close(self) -> None:
        with self._lock:
            if self._open:
                self._open = False
                self._db.close()

    def before_fork(self) -> None:
        self._lock.acquire()
        self._db.close()

    def after_fork(self) -> None:
        if self._open:
            self._db = self._connect()
        self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")
        return db

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._refuse_closed()
            self._db.execute(self.begin)
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def _refuse_closed(self) -> None:
        if not self._open:
            raise StoreClosedError(store="SqliteStore")

    def _place(self, write: StreamWrite) -> int | None:
        found = [self._rows("stream = ? AND event_id = ?", str(write.stream), event.event_id.hex) for event in write.events]
        if not any(found):
            return None
        first = next(rows[0].version for rows in found if rows)
        for number, (event, rows) in enumerate(zip(write.events, found, strict=True)):
            if not rows or rows[0].version != first + number or not rows[0].has_identity_of(event, write.stream):
                raise EventIdCollisionError(stream=write.stream, event_id=event.event_id, problem="is not what this append says")
        return first - 1

    def _check_version(self, write: StreamWrite) -> None:
        actual = self._version(write.stream)
        if actual != write.expected_version:
            raise ConcurrencyError(stream=write.stream, expected=write.expected_version, actual=actual)

    def _insert(self, write: StreamWrite) -> None:
        for version, e in enumerate(write.events, write.expected_version + 1):
            row = (
                str(write.stream),
                version,
                e.event_id.hex,
                e.event_type,
                e.schema_version,
                e.recorded_at.isoformat(),
                e.data,
                e.metadata,
            )
            columns = _COLUMNS.replace("position, ", "")
            self._db.execute(f"INSERT INTO events ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _version(self, stream: StreamId) -> int:
        version: int = self._db.execute("SELECT COALESCE(MAX(version), 0) FROM events WHERE stream = ?", (str(stream),)).fetchone()[0]
        return version

    def _head(self) -> int:
        head: int = self._db.execute("SELECT COALESCE(MAX(position), 0) FROM events").fetchone()[0]
        return head

    def _rows(self, where: str, *values: object) -> list[RecordedEvent]:
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM events WHERE {where}", values).fetchall()
        return [
            RecordedEvent(
                StreamId.parse(row[0]), row[1], row[2], UUID(row[3]), row[4], row[5], datetime.fromisoformat(row[6]), row[7], row[8]
            )
            for row in rows
        ]


_stores: WeakSet[SqliteStore] = WeakSet()
"""Those whose connection a fork must not carry over."""


def _before_fork() -> None:
    for store in tuple(_stores):
        store.before_fork()


def _after_fork() -> None:
    for store in tuple(_stores):
        store.after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_stores.clear)
