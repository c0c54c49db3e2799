"""An event store in a table of the SQLite database of a shop."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import AppendOutcomeUnknownError, StoreUnavailableError
from inventory_es.ports import AppendResult, RecordedEvent, StoreCapabilities, StreamPage, StreamWrite
from inventory_es.ports.toolkit.append_rules import (
    check_append,
    check_page,
    check_versions,
    find_earlier_append,
)

Answer = TypeVar("Answer")
COLUMNS = "stream, version, event_id, event_type, schema_version, recorded_at, data, metadata"
UNIQUE = "UNIQUE (stream, version), UNIQUE (stream, event_id)"
END = 2**62


class ShopStore:
    """An append is a transaction. Called from one thread at a time."""

    capabilities = StoreCapabilities(durability="os", multi_stream=True, unique_event_ids=True)

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute(f"CREATE TABLE IF NOT EXISTS inventory ({COLUMNS}, {UNIQUE})")

    def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        check_append(writes, self.capabilities, store="ShopStore")
        return self._transact(lambda: self._append(writes), AppendOutcomeUnknownError)

    def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        check_page(after=after, limit=limit)
        return self._transact(lambda: self._page(stream, after + 1, END, f"ASC LIMIT {limit}"))

    def read_stream_backwards(
        self, stream: StreamId, /, *, before: int | None = None, limit: int
    ) -> StreamPage:
        check_page(before=before, limit=limit)
        return self._transact(lambda: self._page(stream, 1, (before or END) - 1, f"DESC LIMIT {limit}"))

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return self._transact(lambda: self._find(stream, event_ids))

    def close(self) -> None:
        self._db.close()

    def _transact(
        self, work: Callable[[], Answer], failure: Callable[..., Exception] = StoreUnavailableError
    ) -> Answer:
        try:
            with self._db:  # commits at the end, rolls back after an error
                self._db.execute("BEGIN IMMEDIATE")
                return work()
        except sqlite3.Error as error:
            raise failure(store="ShopStore", reason=type(error).__name__) from error

    def _append(self, writes: Sequence[StreamWrite]) -> AppendResult:
        if earlier := find_earlier_append(writes, self._find):
            return earlier
        check_versions(writes, self._version)
        for write in writes:
            for version, new in enumerate(write.events, write.expected_version + 1):
                kind = (str(new.event_id), new.event_type, new.schema_version, new.recorded_at.isoformat())
                row = (str(write.stream), version, *kind, new.data, new.metadata)
                self._db.execute("INSERT INTO inventory VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        return AppendResult(0, {write.stream: self._version(write.stream) for write in writes})

    def _page(self, stream: StreamId, first: int, last: int, order: str) -> StreamPage:
        version = self._version(stream)
        events = self._select(stream, f"version BETWEEN {first} AND {last} ORDER BY version {order}")
        return StreamPage(events, version, is_end=len(events) == max(0, min(last, version) - first + 1))

    def _find(self, stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[RecordedEvent]:
        marks = ", ".join("?" * len(event_ids))
        return self._select(stream, f"event_id IN ({marks}) ORDER BY version", *map(str, event_ids))

    def _select(self, stream: StreamId, which: str, *values: str) -> Sequence[RecordedEvent]:
        rows = self._db.execute(f"SELECT * FROM inventory WHERE stream = ? AND {which}", (str(stream), *values))
        return [recorded(stream, *columns) for _, *columns in rows]

    def _version(self, stream: StreamId) -> int:
        count = self._db.execute("SELECT count(*) FROM inventory WHERE stream = ?", (str(stream),))
        return int(count.fetchone()[0])


def recorded(
    stream: StreamId, version: int, uid: str, kind: str, schema: int, when: str, *payload: bytes
) -> RecordedEvent:
    return RecordedEvent(stream, version, 0, UUID(uid), kind, schema, datetime.fromisoformat(when), *payload)
