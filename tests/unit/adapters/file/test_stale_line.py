"""After a power cut a new line's place may hold what an old file left there: a good line of this very journal, met again."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.records import NewEvent, StreamWrite
from inventory_es.testing.crash.simfs import SimFS

STREAM = StreamId("s", "x")
LINES = "/stock/journal/00000000000000000001.jsonl"


def append(file_system: SimFS, number: int) -> FileStore:
    engine = FileStore.open("/stock", creation_id="1", file_system=file_system)
    event = NewEvent(UUID(int=number), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}")
    engine.commit([[StreamWrite(STREAM, number - 1, [event])]])
    return engine


def content(file_system: SimFS) -> bytes:
    return dict(file_system.disk.paths())[LINES] or b""


def add(file_system: SimFS, data: bytes) -> None:
    file_system.open(LINES, "write").write(data, len(content(file_system)))


def test_an_old_line_at_the_end_is_a_torn_tail() -> None:
    file_system = SimFS()
    append(file_system, 1)
    add(file_system, content(file_system))
    engine = append(file_system, 2)
    assert [event.version for event in engine.read_stream(STREAM, limit=9).events] == [1, 2]
    assert len(content(file_system).splitlines()) == 2


def test_a_newer_line_that_does_not_follow_is_damage() -> None:
    file_system = SimFS()
    append(file_system, 1)
    first = content(file_system)
    append(file_system, 2)
    append(file_system, 3)
    second, third = content(file_system).splitlines(keepends=True)[1:]
    damaged = SimFS()
    append(damaged, 1)
    assert content(damaged) == first
    add(damaged, third + second)
    with pytest.raises(CorruptStoreError, match="does not follow"):
        append(damaged, 2)
