"""The index beside the journal: used where it fits, made again where it does not, never believed over the journal."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID
from zlib import crc32

import pytest

from inventory_es.adapters.file import FileStore, verify
from inventory_es.adapters.file.folder import find_folder
from inventory_es.adapters.file.index import store_index
from inventory_es.adapters.file.index import table as tables
from inventory_es.adapters.file.index.table import GrowingTable, IndexedEvent, SealedTable, pack_table
from inventory_es.adapters.file.journal.journal import Journal
from inventory_es.adapters.file.journal.stored_form import JournalTail
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.adapters.file.stored_event import last_position
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.records import NewEvent, StreamWrite

A, B = StreamId("s", "a"), StreamId("s", "b")
END = JournalTail(1, 100, 7, 3)
FIRST = "00000000000000000001"


def open_engine(path: Path, segment_bytes: int = 1 << 30) -> FileStore:
    return FileStore.open(str(path), creation_id="1", segment_bytes=segment_bytes)


def append(engine: FileStore, first: int, last: int, *, size: int = 2, ids: int = 0) -> None:
    for number in range(first, last + 1):
        data = b'{"text":"%b"}' % (b"x" * size)
        engine.commit(
            [[StreamWrite(A, number - 1, [NewEvent(UUID(int=ids + number), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), data)])]]
        )


def ids(engine: FileStore) -> list[int]:
    found, is_end = list[int](), False
    while not is_end:
        page = engine.read_stream(A, after=len(found), limit=500)
        found += [event.event_id.int for event in page.events]
        is_end = page.is_end
    return found


def test_a_clean_stop_spares_the_next_one_most_of_the_current_segment(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    append(engine, 1, 12, size=100_000)
    engine.close()
    index = tmp_path / "journal" / f"{FIRST}.idx"
    written = index.read_bytes()
    engine = open_engine(tmp_path)
    assert [type(table) for table in engine._index._tables] == [GrowingTable, SealedTable]
    append(engine, 13, 14)
    engine.close()
    assert index.read_bytes() == written, "little was added: reading it again costs less than writing the file"
    engine = open_engine(tmp_path)
    assert ids(engine) == list(range(1, 15))
    append(engine, 15, 26, size=100_000)
    engine.close()
    assert index.read_bytes() != written
    assert list(verify(tmp_path)) == []
    engine = open_engine(tmp_path, segment_bytes=1)
    append(engine, 27, 28)
    assert engine.tidy()
    assert ids(engine) == list(range(1, 29))
    engine.close()
    assert list(verify(tmp_path)) == []


def test_a_file_of_the_past_of_a_finished_segment_is_made_again(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    append(engine, 1, 12, size=100_000)
    engine.close()
    index = tmp_path / "journal" / f"{FIRST}.idx"
    past = index.read_bytes()
    engine = open_engine(tmp_path, segment_bytes=1_300_000)
    append(engine, 13, 15, size=100_000)
    engine.close()
    assert index.read_bytes() != past
    index.write_bytes(past)
    assert [finding.problem for finding in verify(tmp_path)] == ["the index file covers only a part of its segment"]
    engine = open_engine(tmp_path)
    assert ids(engine) == list(range(1, 16))
    engine.close()
    assert list(verify(tmp_path)) == []


def find_table(path: Path) -> SealedTable:
    return SealedTable(memoryview((path / "journal" / f"{FIRST}.idx").read_bytes()))


def test_a_table_that_is_made_anew_says_of_which_segment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = open_engine(tmp_path, segment_bytes=1)
    append(engine, 1, 3)
    engine.close()
    (tmp_path / "journal" / f"{2:020d}.idx").unlink()
    engine = open_engine(tmp_path, segment_bytes=1)
    assert ids(engine) == [1, 2, 3]
    engine.close()
    (said,) = [record for record in caplog.records if record.message == "index_rebuilt"]
    assert (said.__dict__["store"], said.__dict__["segment"]) == (engine.name, 2)


def test_a_file_of_another_history_is_not_used(tmp_path: Path) -> None:
    for name, offset in (("one", 0), ("other", 100)):
        engine = open_engine(tmp_path / name, segment_bytes=700)
        append(engine, 1, 6, ids=offset)
        engine.close()
    (tmp_path / "one" / "journal" / f"{FIRST}.idx").write_bytes((tmp_path / "other" / "journal" / f"{FIRST}.idx").read_bytes())
    engine = open_engine(tmp_path / "one", segment_bytes=700)
    assert ids(engine) == [1, 2, 3, 4, 5, 6]
    assert engine.find_events(A, [UUID(int=101)]) == []
    engine.close()


def test_a_draft_that_a_crash_left_is_written_over(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, segment_bytes=1)
    append(engine, 1, 1)
    (tmp_path / "journal" / f"{FIRST}.idx.draft").write_bytes(b"half")
    append(engine, 2, 2)
    engine.close()
    assert (tmp_path / "journal" / f"{FIRST}.idx").exists()
    assert not (tmp_path / "journal" / f"{FIRST}.idx.draft").exists()


@pytest.mark.parametrize("read", ["stream", "feed"])
def test_an_index_that_names_the_wrong_event_is_found_out(tmp_path: Path, read: str) -> None:
    engine = open_engine(tmp_path, segment_bytes=900)
    append(engine, 1, 5)
    engine.close()
    good = find_table(tmp_path)
    swapped = GrowingTable(1, 1, good.end)
    rows = [1, 0, *range(2, len(good.places))]
    for version, row in enumerate(rows, 1):
        place, length = tables.unpack_place(good.places[row])
        swapped.add([IndexedEvent("s-a", version, good.keys[row], good.checksums[row], length)], place)
    seed = find_folder(OperatingSystem(), str(tmp_path)).seed
    (tmp_path / "journal" / f"{FIRST}.idx").write_bytes(pack_table(swapped, seed=seed))
    engine = open_engine(tmp_path)
    with pytest.raises(CorruptStoreError, match="belongs there"):
        engine.read_stream(A, limit=9) if read == "stream" else engine.read_all(after=0, limit=9)
    engine.close()


def test_an_index_that_takes_one_stream_for_another_is_found_out(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, segment_bytes=1)
    append(engine, 1, 2)
    engine.close()
    good = find_table(tmp_path)
    renamed = GrowingTable(1, 1, good.end)
    place, length = tables.unpack_place(good.places[0])
    renamed.add([IndexedEvent("s-b", 1, good.keys[0], good.checksums[0], length)], place)
    seed = find_folder(OperatingSystem(), str(tmp_path)).seed
    (tmp_path / "journal" / f"{FIRST}.idx").write_bytes(pack_table(renamed, seed=seed))
    engine = open_engine(tmp_path)
    with pytest.raises(CorruptStoreError, match="event 1 of s-b belongs there"):
        engine.read_stream(B, limit=9)
    engine.close()


def test_streams_whose_keys_collide_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (tables, store_index):
        monkeypatch.setattr(module, "stream_key", lambda _name: 5)
    table = GrowingTable(1, 1, END)
    for row, name in enumerate(("s-a", "s-b", "s-c")):
        table.add([IndexedEvent(name, 1, row, 0, 1)], row)
    sealed = SealedTable(memoryview(pack_table(table, seed=1)))
    assert [list(run.rows) for name in ("s-a", "s-b", "s-c") if (run := sealed.stream(name, 5)) is not None] == [[0], [1], [2]]
    assert sealed.stream("s-d", 5) is None


@pytest.mark.parametrize("change", [1, -1, 8, 1 << 20])
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, change: int) -> None:
    table = GrowingTable(1, 1, END)
    table.add([IndexedEvent("s-a", 1, 2, 3, 5)], 4)
    content = pack_table(table, seed=1)
    fields = list(tables._HEADER.unpack_from(content))
    fields[7] += change
    header = tables._HEADER.pack(*fields)[:-4]
    (tmp_path / "idx").write_bytes(header + crc32(header).to_bytes(4, "little") + content[tables._HEADER.size :])
    file = OperatingSystem().open(str(tmp_path / "idx"), "read")
    assert tables.load_table(file, segment=1, seed=1) is None
    file.close()


EVENT_AT_7 = (
    b'{"events":[{"event_id":"0f8fad5b-d9cb-469f-a165-70867728950e","event_type":"x","schema_version":1,"stream":"s-a",'
    b'"version":1,"position":7,"recorded_at":"2026-01-05T09:00:00.000000Z","data":{},"metadata":{}}]'
)


@pytest.mark.parametrize(
    "body, problem",
    [
        (b'{"something":"else"', "a line holds no events"),
        (
            EVENT_AT_7,
            "position 7 stands where 1 belongs",
        ),
    ],
)
def test_a_good_line_that_makes_no_sense_is_damage(tmp_path: Path, body: bytes, problem: str) -> None:
    open_engine(tmp_path).close()
    folder = find_folder(OperatingSystem(), str(tmp_path))
    journal = Journal(
        OperatingSystem(), folder.journal, folder.lock, seed=folder.seed, segment_bytes=1 << 20, last_position=last_position, name="x"
    )
    with journal.exclusive() as tail:
        journal.append(tail, body, position=1)
    journal.close()
    with pytest.raises(CorruptStoreError, match=problem):
        open_engine(tmp_path)
    (finding,) = verify(tmp_path)
    assert (finding.concern, finding.line) == ("journal", 1)


def test_a_sealed_segment_cut_short_under_an_open_store_is_found_out(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, segment_bytes=1)
    append(engine, 1, 3)
    (tmp_path / "journal" / f"{FIRST}.jsonl").write_bytes(b"")
    with pytest.raises(CorruptStoreError, match="the segment ends before it"):
        ids(engine)
    assert [event.version for event in engine.read_stream(A, after=1, limit=9).events] == [2, 3]


def test_the_end_of_the_segment_before_must_be_whole(tmp_path: Path) -> None:
    engine = open_engine(tmp_path, segment_bytes=1)
    append(engine, 1, 2)
    engine.close()
    first = tmp_path / "journal" / f"{FIRST}.jsonl"
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(CorruptStoreError, match="does not end in a whole line"):
        open_engine(tmp_path)


@pytest.mark.parametrize("stream, after", [(B, 0), (A, 3)], ids=["a stream that is not there", "past the end"])
def test_a_place_that_the_index_does_not_have_is_damage(tmp_path: Path, stream: StreamId, after: int) -> None:
    engine = open_engine(tmp_path)
    append(engine, 1, 3)
    with pytest.raises(CorruptStoreError, match=f"stream {stream}.*the index has no place for version {after + 1}"):
        engine._index.stream(stream.text, after=after, before=after + 2)
    engine.close()
