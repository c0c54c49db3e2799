"""The files for people: the stored lines of each stream, byte for byte, whatever happened in between."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID
from zlib import crc32

import pytest

from inventory_es.adapters.file.operating_system import OperatingSystem, OperatingSystemLockFile
from inventory_es.adapters.file.store import derived_files
from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.adapters.file.store.stream_files import file_name
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.file_system import FileSystem, LockFile
from inventory_es.ports.records import NewEvent, StreamWrite

STREAMS = [StreamId("inventory", "85123A", "berlin"), StreamId("inventory", "é", "../x")]


class Bench:
    """A store whose streams grow by turns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engines: list[FileStore] = []
        self.count = 0

    def open(self, file_system: FileSystem | None = None) -> FileStore:
        engine = FileStore.open(str(self.path), creation_id="1", segment_bytes=2_000, file_system=file_system)
        self.engines.append(engine)
        return engine

    def append(self, engine: FileStore, count: int) -> None:
        for _ in range(count):
            stream, version = STREAMS[self.count % 2], self.count // 2
            event = NewEvent(UUID(int=self.count), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), b'{"n": %d}' % self.count)
            engine.commit([[StreamWrite(stream, version, [event])]])
            self.count += 1

    def file(self, stream: StreamId) -> Path:
        return self.path / "events" / file_name(stream)

    def versions(self, stream: StreamId) -> list[int]:
        lines = self.file(stream).read_bytes().split(b"\n")
        assert lines.pop() == b""
        stored = [json.loads(line) for line in lines]
        assert {event["stream"] for event in stored} == {stream.text}
        return [event["version"] for event in stored]

    def assert_complete(self) -> None:
        for number, stream in enumerate(STREAMS):
            assert self.versions(stream) == list(range(1, (self.count - number + 1) // 2 + 1))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "stock")
    yield bench
    for engine in bench.engines:
        with suppress(StoreClosedError):
            engine.close()


def test_a_line_is_the_journal_s_byte_for_byte(bench: Bench) -> None:
    engine = bench.open()
    bench.append(engine, 2)
    engine.close()
    line = bench.file(STREAMS[0]).read_bytes().removesuffix(b"\n")
    assert line in (bench.path / "journal" / "00000000000000000001.jsonl").read_bytes()
    assert b'"data":{"n": 0}' in line


def test_they_follow_in_pieces_and_are_complete_after_closing(bench: Bench) -> None:
    engine = bench.open()
    bench.append(engine, 21)
    assert not engine.tidy(max_events=5)
    assert [bench.versions(stream) for stream in STREAMS] == [[1, 2, 3], [1, 2]]
    assert engine.settle() == 16
    bench.append(engine, 4)
    while not engine.tidy(max_events=5):
        pass
    bench.assert_complete()
    assert engine.settle() == 0
    bench.append(engine, 3)
    engine.close()
    bench.assert_complete()


def test_files_that_are_doubted_are_made_good_in_pieces_too(bench: Bench) -> None:
    engine = bench.open()
    bench.append(engine, 21)
    while not engine.tidy():
        pass
    engine.rebuild()
    bench.file(STREAMS[0]).write_bytes(b"")
    bench.file(STREAMS[1]).unlink()
    assert not engine.tidy(max_events=5)
    assert [bench.versions(stream) for stream in STREAMS] == [[1, 2, 3], [1, 2]]
    while not engine.tidy(max_events=5):
        pass
    bench.assert_complete()


def test_several_handles_write_each_line_once(bench: Bench) -> None:
    one, other = bench.open(), bench.open()
    for _ in range(5):
        bench.append(one, 3)
        bench.append(other, 2)
        one.tidy(max_events=2)
        other.tidy(max_events=4)
    one.close()
    other.close()
    bench.assert_complete()


class Interrupted(OperatingSystem):
    """Something happens right before the lock of the people's files is taken."""

    def __init__(self) -> None:
        self.happens: list[Callable[[], object]] = []

    def open_lock(self, path: str) -> LockFile:
        return InterruptedLock(path, self.happens) if path.endswith("/events/.lock") else super().open_lock(path)


class InterruptedLock(OperatingSystemLockFile):
    def __init__(self, path: str, happens: list[Callable[[], object]]) -> None:
        super().__init__(path)
        self.happens = happens

    def acquire(self, *, timeout: float) -> bool:
        while self.happens:
            self.happens.pop()()
        return super().acquire(timeout=timeout)


def test_lines_that_another_process_wrote_and_died_are_not_written_twice(bench: Bench) -> None:
    interrupted = Interrupted()
    one, other = bench.open(interrupted), bench.open()
    bench.append(one, 4)
    lock = bench.path / "events" / ".lock"

    def write_and_die() -> None:
        bench.append(other, 6)
        body = lock.read_bytes().replace(b'"dirty":0', b'"dirty":1').rpartition(b',"checksum"')[0]
        assert other.tidy()
        lock.write_bytes(b'%b,"checksum":"%08x"}\n' % (body, crc32(body)))

    interrupted.happens.append(write_and_die)
    assert one.tidy()
    bench.assert_complete()
    bench.append(one, 2)
    assert one.tidy()
    bench.assert_complete()


@pytest.mark.parametrize(
    "ending", [b"", b'{"event_id":"tor', b"\0" * 100, b"\n\n", b'{"stream":"other-x","version":9}\n', b"\xff\n", b"\0" * 100_000]
)
def test_what_a_crash_left_is_made_good(bench: Bench, ending: bytes) -> None:
    engine = bench.open()
    bench.append(engine, 10)
    while not engine.tidy():
        pass
    bench.append(engine, 10)
    lock = bench.path / "events" / ".lock"
    lock.write_bytes(b"")  # as if its writer had died, and the mark were lost
    file = bench.file(STREAMS[0])
    whole = file.read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) - 1, len(whole)):
        file.write_bytes(whole[:size] + ending)
        lock.write_bytes(b"")
        bench.open().close()
        bench.assert_complete()


def test_a_lost_folder_is_made_anew(bench: Bench) -> None:
    engine = bench.open()
    bench.append(engine, 9)
    engine.close()
    for file in (bench.path / "events").iterdir():
        file.unlink()
    (bench.path / "events").rmdir()
    bench.open().close()
    bench.assert_complete()


def test_a_link_in_place_of_a_file_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"precious")
    engine = bench.open()
    bench.file(STREAMS[0]).symlink_to(tmp_path / "secret")
    bench.append(engine, 2)
    assert engine.tidy()
    assert (tmp_path / "secret").read_bytes() == b"precious"
    assert len(engine.read_all(after=0, limit=9).events) == 2


def test_while_another_handle_is_at_it_there_is_nothing_to_do(bench: Bench) -> None:
    engine = bench.open()
    bench.append(engine, 2)
    lock = OperatingSystem().open_lock(str(bench.path / "events" / ".lock"))
    lock.acquire(timeout=0)
    assert engine.tidy()
    assert not bench.file(STREAMS[0]).exists()
    lock.close()
    assert engine.tidy()
    bench.assert_complete()


def test_much_is_written_in_pieces_at_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived_files, "_CHUNK", 3)
    engine = bench.open()
    bench.append(engine, 10)
    engine.close()
    bench.assert_complete()


def test_what_failed_half_way_is_gone_on_with_and_not_repeated(bench: Bench) -> None:
    engine = bench.open()
    bench.file(STREAMS[1]).mkdir()
    bench.append(engine, 6)
    assert engine.tidy()
    assert bench.versions(STREAMS[0]) == [1, 2, 3]
    bench.file(STREAMS[1]).rmdir()
    assert engine.tidy()
    bench.assert_complete()
