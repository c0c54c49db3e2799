"""The journal on a real folder: lines with a number each, `{"n":1,…}`."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from inventory_es.adapters.file.journal.journal import Journal, UncertainWriteError
from inventory_es.adapters.file.journal.segments import MAX_OPEN
from inventory_es.adapters.file.journal.stored_form import JournalTail, read_state, seal, write_state
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.file_system import FileSystem
from tests.unit.adapters.file.watched_disk import WatchedDisk

SEED = 99


def last_position(line: bytes) -> int:
    number: int = json.loads(line)["n"]
    return number


class Bench:
    """A folder, and every journal that was opened on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.segments = root / "journal"
        self.segments.mkdir()
        self.opened: list[Journal] = []

    def journal(self, *, segment_bytes: int = 1 << 20, file_system: FileSystem | None = None) -> Journal:
        journal = Journal(
            file_system or OperatingSystem(),
            str(self.segments),
            str(self.root / ".lock"),
            seed=SEED,
            segment_bytes=segment_bytes,
            last_position=last_position,
            name="test journal",
        )
        self.opened.append(journal)
        return journal

    def segment(self, first: int = 1) -> Path:
        return self.segments / f"{first:020d}.jsonl"

    def forget_state(self) -> None:
        (self.root / ".lock").write_bytes(b"")

    def set_state(self, tail: JournalTail, *, dirty: bool) -> None:
        file = OperatingSystem().open_lock(str(self.root / ".lock"))
        write_state(file, tail, dirty=dirty)
        file.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for journal in bench.opened:
        journal.close()


def write(journal: Journal, count: int) -> JournalTail:
    written = journal.start
    for _ in range(count):
        with journal.exclusive() as tail:
            written = journal.append(tail, b'{"n":%d' % (tail.position + 1), position=tail.position + 1)
    return written


def numbers(journal: Journal, end: JournalTail | None = None) -> list[int]:
    return [last_position(line.data) for _, line in journal.lines(journal.start, end or journal.tail())]


def test_an_empty_journal_has_position_0(bench: Bench) -> None:
    journal = bench.journal()
    with journal.exclusive(check_all=True) as tail:
        assert tail == journal.start == journal.tail()
    assert numbers(journal) == []
    assert list(bench.segments.iterdir()) == []
    again = bench.journal()
    with again.exclusive(check_all=True) as tail:
        assert tail == again.start
    assert not again.was_recovered


def test_lines_are_read_in_order_and_by_another_handle(bench: Bench) -> None:
    tail = write(bench.journal(), 5)
    reader = bench.journal()
    assert reader.tail() == tail
    assert numbers(reader) == [1, 2, 3, 4, 5]


def test_two_handles_take_turns(bench: Bench) -> None:
    one, other = bench.journal(), bench.journal()
    for journal in (one, other, other, one):
        write(journal, 1)
    assert numbers(one) == numbers(other) == [1, 2, 3, 4]


def test_a_segment_is_begun_when_the_current_one_is_full(bench: Bench) -> None:
    journal = bench.journal(segment_bytes=100)
    write(journal, 7)
    assert journal.segments.names() == [1, 3, 5, 7]
    assert numbers(journal) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(bench.journal(segment_bytes=100)) == [1, 2, 3, 4, 5, 6, 7]


def test_reading_stops_at_the_tail_and_begins_anywhere(bench: Bench) -> None:
    journal = bench.journal(segment_bytes=100)
    middle = write(journal, 3)
    end = write(journal, 4)
    assert numbers(journal, middle) == [1, 2, 3]
    assert [last_position(line.data) for _, line in journal.lines(middle, end)] == [4, 5, 6, 7]


def test_a_clean_journal_is_not_recovered(bench: Bench) -> None:
    write(bench.journal(), 2)
    journal = bench.journal()
    with journal.exclusive(check_all=True):
        assert not journal.was_recovered


@pytest.mark.parametrize("state", ["lost", "dirty", "older"])
def test_a_torn_tail_is_cut_off_wherever_it_was_torn(bench: Bench, state: str) -> None:
    journal = bench.journal()
    kept = write(journal, 2)
    write(journal, 1)
    whole = bench.segment().read_bytes()
    for size in range(kept.offset, len(whole)):
        bench.segment().write_bytes(whole[:size])
        if state == "lost":
            bench.forget_state()
        else:
            bench.set_state(kept, dirty=state == "dirty")
        recovered = bench.journal()
        with recovered.exclusive(check_all=True) as tail:
            assert tail == kept
        assert bench.segment().read_bytes() == whole[: kept.offset]
        torn = bench.segments / f"{1:020d}.jsonl.torn-{kept.offset}"
        if size > kept.offset:
            assert torn.read_bytes() == whole[kept.offset : size]
        assert numbers(recovered) == [1, 2]
        recovered.close()


def test_a_torn_tail_is_kept_beside_the_journal_durably() -> None:
    disk = WatchedDisk()
    disk.make_directory("/journal")
    disk.sync_directory("/")

    def open_journal() -> Journal:
        return Journal(disk, "/journal", "/.lock", seed=SEED, segment_bytes=1_000, last_position=last_position, name="test journal")

    journal = open_journal()
    kept = write(journal, 1)
    journal.close()
    segment, lock = disk.open("/journal/00000000000000000001.jsonl", "write"), disk.open_lock("/.lock")
    segment.write(b'{"n":', kept.offset)
    write_state(lock, kept, dirty=True)
    segment.close()
    lock.close()
    again = open_journal()
    with again.exclusive() as tail:
        assert tail == kept
    again.close()
    left = dict(disk.disk.cut({}, {}).paths())
    assert left[f"/journal/00000000000000000001.jsonl.torn-{kept.offset}"] == b'{"n":'
    disk.assert_all_closed()


@pytest.mark.parametrize("state", ["lost", "dirty", "older"])
def test_whole_lines_after_the_tail_are_kept(bench: Bench, state: str, caplog: pytest.LogCaptureFixture) -> None:
    known = write(bench.journal(segment_bytes=100), 1)
    end = write(bench.journal(segment_bytes=100), 6)
    if state == "lost":
        bench.forget_state()
    else:
        bench.set_state(known, dirty=state == "dirty")
    journal = bench.journal(segment_bytes=100)
    with caplog.at_level(logging.WARNING), journal.exclusive(check_all=True) as tail:
        assert tail == end
    assert journal.was_recovered
    (said,) = caplog.records
    assert said.message == "journal_recovered"
    assert (said.__dict__["journal"], said.__dict__["kept"], said.__dict__["tail"]) == (
        "test journal",
        3 if state == "lost" else 6,
        attrs.asdict(tail),
    )
    assert numbers(journal) == [1, 2, 3, 4, 5, 6, 7]
    write(journal, 1)
    assert numbers(journal)[-1] == 8


def test_a_bad_line_with_a_good_one_after_it_is_refused(bench: Bench) -> None:
    known = write(bench.journal(), 1)
    write(bench.journal(), 2)
    content = bytearray(bench.segment().read_bytes())
    content[known.offset + 3] ^= 1
    bench.segment().write_bytes(content)
    for forget in (True, False):
        bench.forget_state() if forget else bench.set_state(known, dirty=True)
        with pytest.raises(CorruptStoreError, match=f"byte {known.offset}.*good ones follow"), bench.journal().exclusive():
            pytest.fail("it must not open")
        assert bench.segment().read_bytes() == content


def test_an_old_line_in_the_tail_is_no_sign_of_damage(bench: Bench) -> None:
    tail = write(bench.journal(), 2)
    content = bench.segment().read_bytes()
    first_line = content[: content.index(b"\n") + 1]
    bench.segment().write_bytes(content + b"half\n" + first_line)
    journal = bench.journal()
    with journal.exclusive() as recovered:
        assert recovered == tail


def test_a_good_line_of_another_history_is_refused_by_whoever_reads_it(bench: Bench) -> None:
    journal = bench.journal()
    first = write(journal, 1)
    end = write(journal, 2)
    foreign, _ = seal(b'{"n":2', previous=first.checksum ^ 1, seed=SEED)
    content = bench.segment().read_bytes()
    bench.segment().write_bytes(content[: first.offset] + foreign + content[first.offset + len(foreign) :])
    with pytest.raises(CorruptStoreError, match=f"byte {first.offset}.*a line does not follow the one before it"):
        numbers(journal, end)


def test_a_good_line_in_the_wrong_place_is_refused(bench: Bench) -> None:
    known = write(bench.journal(), 1)
    write(bench.journal(), 2)
    lines = bench.segment().read_bytes().splitlines(keepends=True)
    bench.segment().write_bytes(lines[0] + lines[2])
    bench.set_state(known, dirty=True)
    with pytest.raises(CorruptStoreError, match="does not follow"), bench.journal().exclusive():
        pytest.fail("it must not open")


def test_a_damaged_line_before_the_tail_is_refused_when_read(bench: Bench) -> None:
    journal = bench.journal()
    write(journal, 3)
    content = bytearray(bench.segment().read_bytes())
    content[3] ^= 1
    bench.segment().write_bytes(content)
    with pytest.raises(CorruptStoreError, match=r"byte 0: a line is damaged"):
        numbers(journal)


def test_missing_durable_bytes_are_refused(bench: Bench) -> None:
    write(bench.journal(), 2)
    bench.segment().write_bytes(bench.segment().read_bytes()[:-1])
    with pytest.raises(CorruptStoreError, match="1 durable bytes are missing"), bench.journal().exclusive():
        pytest.fail("it must not open")


def test_durable_bytes_that_go_missing_are_refused_when_read(bench: Bench) -> None:
    journal = bench.journal()
    first = write(journal, 1)
    write(journal, 1)
    bench.segment().write_bytes(bench.segment().read_bytes()[: first.offset])
    with pytest.raises(CorruptStoreError, match=f"byte {first.offset}: {first.offset} durable bytes are missing"):
        numbers(journal)


def test_handles_of_old_segments_are_dropped(bench: Bench) -> None:
    journal = bench.journal(segment_bytes=1)
    write(journal, MAX_OPEN + 6)
    assert numbers(journal) == list(range(1, MAX_OPEN + 7))
    own = bench.segment(1).resolve().parent
    open_files = [entry.resolve() for entry in Path("/dev/fd").iterdir()]
    assert len([path for path in open_files if path.parent == own and path.suffix == ".jsonl"]) <= MAX_OPEN + 1
    assert numbers(journal) == list(range(1, MAX_OPEN + 7))


def test_a_missing_segment_is_refused(bench: Bench) -> None:
    write(bench.journal(segment_bytes=100), 7)
    bench.segment(7).unlink()
    with pytest.raises(CorruptStoreError, match="the segment is missing"), bench.journal().exclusive():
        pytest.fail("it must not open")
    bench.segment(1).unlink()
    with pytest.raises(CorruptStoreError, match="the segment is missing"):
        numbers(bench.journal())


def test_a_gap_between_segments_is_refused(bench: Bench) -> None:
    known = write(bench.journal(segment_bytes=100), 1)
    write(bench.journal(segment_bytes=100), 6)
    bench.segment(3).unlink()
    bench.set_state(known, dirty=False)
    with pytest.raises(CorruptStoreError, match="does not follow position 2"), bench.journal().exclusive(check_all=True):
        pytest.fail("it must not open")


def test_a_damaged_end_of_a_sealed_segment_is_refused(bench: Bench) -> None:
    write(bench.journal(segment_bytes=100), 7)
    content = bench.segment(3).read_bytes()
    bench.segment(3).write_bytes(content[:-4] + b"zz}\n")
    bench.forget_state()
    with pytest.raises(CorruptStoreError, match="does not end in a whole line"), bench.journal().exclusive():
        pytest.fail("it must not open")


@pytest.mark.parametrize("content", [b"", b'{"n":3,"prev'])
def test_a_segment_without_a_line_is_taken_away(bench: Bench, content: bytes) -> None:
    tail = write(bench.journal(segment_bytes=100), 2)
    bench.segment(3).write_bytes(content)
    for forget in (True, False):
        if forget:
            bench.forget_state()
        journal = bench.journal(segment_bytes=100)
        with journal.exclusive(check_all=True) as recovered:
            assert recovered == tail
        assert not bench.segment(3).exists()
        bench.segment(3).write_bytes(content)
    bench.segment(3).unlink()
    assert write(bench.journal(segment_bytes=100), 1).segment == 3


def test_a_first_segment_without_a_line_is_taken_away(bench: Bench) -> None:
    bench.segment().write_bytes(b"{")
    journal = bench.journal()
    with journal.exclusive(check_all=True) as tail:
        assert tail == journal.start
    assert not bench.segment().exists()
    assert write(journal, 1).position == 1


def test_the_mark_stands_while_writing_and_goes_after_success(bench: Bench) -> None:
    seen: list[bool] = []

    class Watched(OperatingSystem):
        def sync_directory(self, path: str) -> None:
            file = self.open(str(bench.root / ".lock"), "read")
            state = read_state(file)
            file.close()
            assert state is not None
            seen.append(state.dirty)
            super().sync_directory(path)

    journal = bench.journal(file_system=Watched())
    write(journal, 1)
    file = OperatingSystem().open(str(bench.root / ".lock"), "read")
    state = read_state(file)
    file.close()
    assert seen == [True]
    assert state is not None
    assert not state.dirty


def test_readers_don_t_pass_the_durable_end(bench: Bench) -> None:
    journal = bench.journal()
    tail = write(journal, 1)
    with journal.exclusive() as held:
        assert held == tail
        whole = bench.segment().read_bytes()
        bench.segment().write_bytes(whole * 2)
        assert bench.journal().tail() == tail
        assert numbers(bench.journal()) == [1]
        bench.segment().write_bytes(whole)


def test_an_unreadable_lock_file_makes_a_reader_recover(bench: Bench) -> None:
    tail = write(bench.journal(), 2)
    bench.forget_state()
    assert bench.journal().tail() == tail
    assert bench.journal().tail() == tail


def test_a_failed_write_leaves_the_mark_and_nothing_else_is_lost(bench: Bench) -> None:
    journal = bench.journal()
    tail = write(journal, 2)
    with journal.exclusive() as held:
        bench.segment().chmod(0o600)
        file = journal._opened(held.segment)
        file.close()
        with pytest.raises(UncertainWriteError):
            journal.append(held, b'{"n":3', position=3)
    assert journal.tail() == tail
    with journal.exclusive() as recovered:
        assert recovered == tail
    assert write(journal, 1).position == 3
    assert numbers(journal) == [1, 2, 3]
