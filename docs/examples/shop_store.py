"""An event store in a table of the SQLite database that a shop has already."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from anyio import CapacityLimiter, to_thread

from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import AppendOutcomeUnknownError, StoreClosedError, StoreUnavailableError
from inventory_es.ports import AppendResult, NewEvent, RecordedEvent, StoreCapabilities, StreamPage, StreamWrite
from inventory_es.ports.append_rules import check_append, check_page, check_versions, find_earlier_append

Answer = TypeVar("Answer")
COLUMNS = "version, event_id, event_type, schema_version, recorded_at, data, metadata"
TABLE = f"CREATE TABLE IF NOT EXISTS inventory (stream, {COLUMNS}, UNIQUE (stream, version), UNIQUE (stream, event_id))"
END = 2**62


class ShopStore:
    """An append is a transaction; one thread at a time talks to the database."""

    capabilities = StoreCapabilities(durability="os", multi_process=True, multi_stream=True, unique_event_ids=True)

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute(TABLE)
        self._turn = CapacityLimiter(1)

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        check_append(writes, self.capabilities, store="ShopStore")
        return await self._transaction(lambda: self._append(writes), failure=AppendOutcomeUnknownError)

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        check_page(after=after, limit=limit)
        return await self._transaction(lambda: self._page(stream, after + 1, END, f"ASC LIMIT {limit}"))

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        check_page(before=before, limit=limit)
        return await self._transaction(lambda: self._page(stream, 1, END if before is None else before - 1, f"DESC LIMIT {limit}"))

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return await self._transaction(lambda: self._find(stream, event_ids))

    async def aclose(self) -> None:
        await to_thread.run_sync(self._db.close, limiter=self._turn)

    async def _transaction(self, work: Callable[[], Answer], failure: Callable[..., Exception] = StoreUnavailableError) -> Answer:
        def run() -> Answer:
            try:
                with self._db:  # commits at the end, rolls back when something is raised
                    self._db.execute("BEGIN IMMEDIATE")
                    return work()
            except sqlite3.ProgrammingError as error:
                raise StoreClosedError(store="ShopStore") from error
            except sqlite3.Error as error:
                raise failure(store="ShopStore", reason=type(error).__name__) from error

        return await to_thread.run_sync(run, limiter=self._turn)

    def _append(self, writes: Sequence[StreamWrite]) -> AppendResult:
        if earlier := find_earlier_append(writes, self._find):
            return earlier
        check_versions(writes, self._version)
        for write in writes:
            rows = [to_row(write.stream, version, new) for version, new in enumerate(write.events, write.expected_version + 1)]
            self._db.executemany("INSERT INTO inventory VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        return AppendResult(0, {write.stream: write.expected_version + len(write.events) for write in writes})

    def _page(self, stream: StreamId, first: int, last: int, order: str) -> StreamPage:
        version = self._version(stream)
        events = self._select(stream, f"version BETWEEN {first} AND {last} ORDER BY version {order}")
        return StreamPage(events, version, is_end=len(events) == max(0, min(last, version) - first + 1))

    def _find(self, stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[RecordedEvent]:
        return self._select(stream, f"event_id IN ({', '.join('?' * len(event_ids))}) ORDER BY version", *map(str, event_ids))

    def _select(self, stream: StreamId, which: str, *values: str) -> Sequence[RecordedEvent]:
        rows = self._db.execute(f"SELECT {COLUMNS} FROM inventory WHERE stream = ? AND {which}", (str(stream), *values))
        return [from_row(stream, *row) for row in rows]

    def _version(self, stream: StreamId) -> int:
        return int(self._db.execute("SELECT count(*) FROM inventory WHERE stream = ?", (str(stream),)).fetchone()[0])


def to_row(stream: StreamId, version: int, new: NewEvent) -> tuple[Any, ...]:
    where, when = (str(stream), version), new.recorded_at.isoformat()
    return (*where, str(new.event_id), new.event_type, new.schema_version, when, new.data, new.metadata)


def from_row(stream: StreamId, version: int, event_id: str, kind: str, schema: int, when: str, *payload: bytes) -> RecordedEvent:
    return RecordedEvent(stream, version, 0, UUID(event_id), kind, schema, datetime.fromisoformat(when), *payload)
