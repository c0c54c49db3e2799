"""Verifying, repairing and backing up."""

import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from inventory_es.adapters.file import FileStore, Finding, back_up, repair, verify
from inventory_es.adapters.file.journal.stored_form import read_state, write_state
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.adapters.file.upkeep.verify import Concern
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError, StoreUnavailableError
from inventory_es.ports.records import NewEvent, RecordedEvent, StreamWrite
from tests.unit.adapters.file.watched_disk import WatchedDisk

A, B = StreamId("inventory", "a", "x"), StreamId("inventory", "b", "x")


def fill(engine: FileStore, first: int, last: int) -> None:
    for number in range(first, last + 1):
        events = [NewEvent(UUID(int=number * 2 + n), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}") for n in (0, 1)]
        engine.commit([[StreamWrite(A, number - 1, [events[0]]), StreamWrite(B, number - 1, [events[1]])]])


def open_engine(path: Path) -> FileStore:
    return FileStore.open(str(path), creation_id="1", segment_bytes=800)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Ten versions of two streams in several segments, cleanly closed."""
    path = tmp_path / "stock"
    engine = open_engine(path)
    fill(engine, 1, 10)
    engine.close()
    return path


def segments(store: Path, suffix: str = "jsonl") -> list[Path]:
    return sorted((store / "journal").glob(f"*.{suffix}"))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def told(findings: Iterable[Finding], store: Path) -> list[str]:
    return [str(finding).replace(f"{store}/", "") for finding in findings]


def test_a_good_store_has_no_findings(store: Path) -> None:
    assert len(segments(store)) > 2
    assert told(verify(store), store) == []


def test_an_open_store_has_no_findings(store: Path) -> None:
    engine = open_engine(store)
    fill(engine, 11, 14)
    assert told(verify(store), store) == []
    engine.tidy()
    assert told(verify(store), store) == []


def test_a_writer_that_died_is_told(store: Path) -> None:
    lock = OperatingSystem().open_lock(str(store / ".lock"))
    state = read_state(lock)
    assert state is not None
    write_state(lock, state.tail, dirty=True)
    lock.close()
    assert told(verify(store), store) == [".lock: somebody writes, or died writing: opening the store recovers it"]
    assert repair(store) == []


def test_a_store_on_another_file_system_is_repaired_there() -> None:
    disk = WatchedDisk()
    engine = FileStore.open("/stock", creation_id="1", segment_bytes=800, file_system=disk)
    fill(engine, 1, 10)
    engine.close()
    disk.remove("/stock/events/inventory-a-x.jsonl")
    assert [finding.concern for finding in verify("/stock", file_system=disk)] == ["people"]
    assert repair("/stock", file_system=disk) == []
    assert disk.exists("/stock/events/inventory-a-x.jsonl")
    disk.assert_all_closed()


def test_damage_is_found_with_file_line_and_byte(store: Path) -> None:
    second = segments(store)[1]
    size = len(second.read_bytes().splitlines(keepends=True)[0])
    flip(second, size + 30)
    assert told(verify(store), store) == [
        f"journal/{second.name}:2 (byte {size}): the line is damaged: its checksum does not fit",
    ]


def test_every_damaged_byte_of_the_journal_is_found(store: Path) -> None:
    journal = segments(store)[0]
    for place in range(0, journal.stat().st_size, 29):
        flip(journal, place)
        assert [finding.concern for finding in verify(store)][:1] == ["journal"], f"byte {place}"
        flip(journal, place)


def test_missing_parts_of_the_journal_are_found(store: Path) -> None:
    first, second, *_, last = segments(store)
    last.write_bytes(last.read_bytes()[:-1])
    assert told(verify(store), store)[0].endswith("the line is damaged: its checksum does not fit")
    last.write_bytes(b"")
    assert "durable bytes are missing at its end" in told(verify(store), store)[0]
    last.unlink()
    assert told(verify(store), store) == [f"journal/{last.name}: the segment is missing"]
    second.unlink()
    assert f"the one before it ends at {int(second.stem) - 1}" in told(verify(store), store)[0]
    first.unlink()
    assert "the one before it ends at 0" in told(verify(store), store)[0]


def test_a_segment_of_another_store_is_found(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    engine = FileStore.open(str(other), creation_id="2", segment_bytes=800)
    fill(engine, 1, 10)
    engine.close()
    shutil.copy(segments(other)[0], segments(store)[0])
    assert told(verify(store), store)[0].endswith("jsonl:1 (byte 0): the line is damaged: its checksum does not fit")


def test_swapped_lines_are_found(store: Path) -> None:
    journal = segments(store)[0]
    one, other, *rest = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([other, one, *rest]))
    assert told(verify(store), store) == [f"journal/{journal.name}:1 (byte 0): the line does not follow the one before it"]


def test_a_wrong_index_is_found_and_repaired(store: Path) -> None:
    good = {path.name: path.read_bytes() for path in segments(store, "idx")}
    one, other, third, *_ = segments(store, "idx")
    flip(one, one.stat().st_size - 1)
    shutil.copy(third, other)
    third.unlink()
    assert told(verify(store), store) == [
        f"journal/{one.name}: the index file is damaged",
        f"journal/{other.name}: the index file is damaged",
    ]
    assert told(repair(store), store) == []
    assert {path.name: path.read_bytes() for path in segments(store, "idx")} == good


def test_an_index_that_is_whole_and_yet_wrong_is_found(store: Path, tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "other")
    fill(engine, 1, 1)
    engine.commit([[StreamWrite(A, 1, [NewEvent(UUID(int=99), "Else", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}")])]])
    for number in range(3, 9):
        engine.commit([[StreamWrite(A, number - 1, [NewEvent(UUID(int=number), "Else", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}")])]])
    engine.close()
    index = segments(store, "idx")[0]
    shutil.copy(segments(tmp_path / "other", "idx")[0], index)
    assert told(verify(store), store) == [f"journal/{index.name}: the index file does not say what its segment holds"]
    assert told(repair(store), store) == []


def test_wrong_people_s_files_are_found_and_repaired(store: Path) -> None:
    a, b = store / "events" / "inventory-a-x.jsonl", store / "events" / "inventory-b-x.jsonl"
    good = a.read_bytes(), b.read_bytes()
    lines = good[0].splitlines(keepends=True)
    place = len(lines[0])
    cases = {
        f"events/{a.name}: the file is missing": None,
        f"events/{a.name}:2 (byte {place}): version 2 and what follows are missing": lines[0],
        f"events/{a.name}:2 (byte {place}): the last line is not whole": lines[0] + b"{",
        f"events/{a.name}:2 (byte {place}): the line is not version 2 as the journal has it": b"".join([lines[0], *lines[2:]]),
        f"events/{a.name}:11 (byte {len(good[0])}): the line is not in the journal": good[0] + lines[0],
    }
    for finding, content in cases.items():
        a.unlink() if content is None else a.write_bytes(content)
        assert told(verify(store), store) == [finding]
        assert told(repair(store), store) == []
        assert (a.read_bytes(), b.read_bytes()) == good


def test_foreign_files_are_told_and_left_alone(store: Path) -> None:
    foreign = store / "events" / "notes.txt"
    foreign.write_bytes(b"mine")
    assert told(verify(store), store) == ["events/notes.txt: the file belongs to no stream of this store"]
    assert told(repair(store), store) == ["events/notes.txt: the file belongs to no stream of this store"]
    assert foreign.read_bytes() == b"mine"


def test_a_damaged_journal_is_not_repaired(store: Path) -> None:
    flip(segments(store)[0], 30)
    flip(segments(store, "idx")[0], 30)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with pytest.raises(CorruptStoreError, match=r"jsonl:1 \(byte 0\)"):
        repair(store)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_an_unfinished_write_is_told_and_repaired(store: Path) -> None:
    (store / ".lock").write_bytes(b"")
    assert [finding.concern for finding in verify(store)] == ["lock"]
    assert told(repair(store), store) == []


def test_the_meaning_of_streams_is_checked_by_the_caller(store: Path) -> None:
    seen: dict[StreamId, list[int]] = {}

    def check(stream: StreamId, events: Iterator[RecordedEvent]) -> Iterator[tuple[int, str]]:
        seen[stream] = [event.version for event in events]
        if stream == B:
            yield 4, "the balance does not fold"

    (finding,) = verify(store, check_stream=check)
    assert seen == {A: list(range(1, 11)), B: list(range(1, 11))}
    assert (finding.concern, finding.problem) == ("stream", "version 4 of inventory-b-x: the balance does not fold")
    assert finding.line is not None
    assert b'"version":4,' in Path(finding.path).read_bytes().splitlines()[finding.line - 1]
    assert not finding.is_derived


@pytest.mark.parametrize(
    "concern, is_derived",
    [("journal", False), ("stream", False), ("lock", True), ("index", True), ("people", True), ("foreign", False)],
    ids=str,
)
def test_what_is_derived_can_be_repaired(concern: Concern, is_derived: bool) -> None:
    assert Finding(concern, "x", None, None, "y").is_derived is is_derived


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleStoreError):
        verify(tmp_path)
    with pytest.raises(IncompatibleStoreError):
        repair(tmp_path)
    with pytest.raises(IncompatibleStoreError):
        back_up(tmp_path, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_there", [True, False])
def test_a_backup_opens_as_a_store(store: Path, tmp_path: Path, is_there: bool) -> None:
    engine = open_engine(store)
    fill(engine, 11, 12)
    copy = tmp_path / "copy"
    if is_there:
        copy.mkdir()
    assert back_up(store, copy) == 24
    fill(engine, 13, 13)
    assert told(verify(copy), copy) == []
    copied = open_engine(copy)
    assert copied.read_all(after=0, limit=99).events == engine.read_all(after=0, limit=24).events
    fill(copied, 13, 14)
    copied.close()
    assert told(verify(copy), copy) == []
    assert (copy / "events" / "inventory-a-x.jsonl").read_bytes().count(b"\n") == 14


def test_a_backup_takes_what_is_durable_only(store: Path, tmp_path: Path) -> None:
    last = segments(store)[-1]
    durable = last.read_bytes()
    last.write_bytes(durable + b'{"events":[')
    back_up(store, tmp_path / "copy")
    assert segments(tmp_path / "copy")[-1].read_bytes() == durable
    assert told(verify(tmp_path / "copy"), tmp_path / "copy") == []


def test_a_backup_overwrites_nothing(store: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "precious").write_bytes(b"")
    with pytest.raises(IncompatibleStoreError, match="not empty"):
        back_up(store, tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["precious"]


def test_a_store_with_an_unreadable_lock_is_opened_before_a_backup(store: Path, tmp_path: Path) -> None:
    (store / ".lock").write_bytes(b"")
    with pytest.raises(StoreUnavailableError, match="open the store once"):
        back_up(store, tmp_path / "copy")
    open_engine(store).close()
    assert back_up(store, tmp_path / "copy") == 20
