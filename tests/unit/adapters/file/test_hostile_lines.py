"""Lines and lock files whose checksums are right and whose content makes no sense are refused, or made anew, and never believed."""

from datetime import UTC, datetime
from uuid import UUID
from zlib import crc32

import pytest

from inventory_es.adapters.file.journal.stored_form import JournalTail, encode_state, seal
from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.records import NewEvent, StreamWrite
from inventory_es.testing.crash.simfs import SimFS

STREAM = StreamId("s", "x")
SEED = crc32(b"1")


def open_store(file_system: SimFS) -> FileStore:
    return FileStore.open("/stock", creation_id="1", file_system=file_system, segment_bytes=300)


def made(count: int) -> SimFS:
    """A store whose every segment has two events."""
    file_system = SimFS()
    store = open_store(file_system)
    for number in range(1, count + 1):
        event = NewEvent(UUID(int=number), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}")
        store.commit([[StreamWrite(STREAM, number - 1, [event])]])
    return file_system


def put(file_system: SimFS, path: str, data: bytes, offset: int) -> None:
    file_system.open(path, "write").write(data, offset)


def segment(file_system: SimFS, number: int) -> tuple[str, bytes]:
    path = f"/stock/journal/{number:020d}.jsonl"
    return path, dict(file_system.disk.paths())[path] or b""


@pytest.mark.parametrize("body", [b'{"events":[]', b'{"events":null', b"{", b'{"events":[{"position":"1"}]'])
def test_a_line_without_a_position_is_refused_by_recovery(body: bytes) -> None:
    file_system = made(1)
    path, content = segment(file_system, 1)
    line, _ = seal(body, previous=int(content[-11:-3], 16), seed=SEED)
    put(file_system, path, line, len(content))
    with pytest.raises(CorruptStoreError, match="good checksum and no position"):
        open_store(file_system)


def test_a_line_without_a_position_is_refused_by_a_reader_that_passes_it() -> None:
    file_system = made(1)
    path, content = segment(file_system, 1)
    reader = open_store(file_system)
    line, checksum = seal(b'{"events":[]', previous=int(content[-11:-3], 16), seed=SEED)
    put(file_system, path, line, len(content))
    put(file_system, "/stock/.lock", encode_state(JournalTail(3, 9, checksum, 3), dirty=False), 0)
    with pytest.raises(CorruptStoreError, match="good checksum and no position"):
        list(reader._journal.lines(reader._journal.start, JournalTail(3, 9, checksum, 3)))


def test_a_line_that_names_no_stream_is_refused() -> None:
    file_system = made(1)
    path, content = segment(file_system, 1)
    body = content[: content.rindex(b',"previous"')].replace(b'"s-x"', b'"S"')
    line, checksum = seal(body, previous=crc32(b"", SEED), seed=SEED)
    put(file_system, path, line, 0)
    file_system.open(path, "write").truncate(len(line))
    put(file_system, "/stock/.lock", encode_state(JournalTail(1, len(line), checksum, 1), dirty=False), 0)
    with pytest.raises(CorruptStoreError, match="holds no events"):
        open_store(file_system)


def test_a_lock_file_that_speaks_of_an_empty_segment_is_made_anew() -> None:
    file_system = made(3)
    put(file_system, "/stock/.lock", encode_state(JournalTail(10**20 - 1, 0, 0, 0), dirty=False), 0)
    store = open_store(file_system)
    assert store.head() == 3
    assert store.read_stream(STREAM, limit=9).version == 3
