"""Segments of a journal that are missing, emptied, cut, swapped, doubled or foreign: such a store never answers."""

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from inventory_es.adapters.file import FileStore, back_up
from inventory_es.ports.errors import CorruptStoreError
from tests.unit.adapters.file.test_file_bus import event as published
from tests.unit.adapters.file.test_file_bus import open_engine as open_bus
from tests.unit.adapters.file.test_file_store import A, B, versions, write

Damage = Callable[[Path], object]


def open_store(path: Path) -> FileStore:
    return FileStore.open(str(path), creation_id="1", segment_bytes=700)


def fill(path: Path, *, events: int = 11) -> None:
    with closing(open_store(path)) as engine:
        for number in range(1, events + 1):
            engine.commit([write(A, number - 1, number)])


def segment(path: Path, number: int) -> Path:
    """The segment with this number; the last ones have negative numbers."""
    return sorted((path / "journal").glob("*.jsonl"))[number]


def named(path: Path, position: int) -> Path:
    return path / "journal" / f"{position:020d}.jsonl"


def deleted(number: int) -> Damage:
    return lambda path: segment(path, number).unlink()


def all_deleted(path: Path) -> None:
    shutil.rmtree(path / "journal")
    (path / "journal").mkdir()


def emptied(number: int) -> Damage:
    return lambda path: segment(path, number).write_bytes(b"")


def cut(number: int, *, lines: int = 0, size: int = 0) -> Damage:
    def damage(path: Path) -> None:
        kept = segment(path, number).read_bytes().splitlines(keepends=True)
        content = b"".join(kept[: len(kept) - lines])
        segment(path, number).write_bytes(content[: len(content) - size])

    return damage


def without_its_first_line(number: int) -> Damage:
    def damage(path: Path) -> None:
        segment(path, number).write_bytes(b"".join(segment(path, number).read_bytes().splitlines(keepends=True)[1:]))

    return damage


def swapped(one: int, other: int) -> Damage:
    def damage(path: Path) -> None:
        left, right = segment(path, one), segment(path, other)
        contents = left.read_bytes(), right.read_bytes()
        left.write_bytes(contents[1])
        right.write_bytes(contents[0])

    return damage


def renamed(number: int, position: int) -> Damage:
    return lambda path: segment(path, number).rename(named(path, position))


def doubled(number: int, position: int) -> Damage:
    return lambda path: shutil.copy(segment(path, number), named(path, position))


def of_another_store(number: int) -> Damage:
    def damage(path: Path) -> None:
        other = path.with_name("other")
        with closing(FileStore.open(str(other), creation_id="2", segment_bytes=700)) as engine:
            for event in range(1, 12):
                engine.commit([write(A, event - 1, event)])
        shutil.copy(segment(other, number), segment(path, number))

    return damage


def of_another_history(number: int) -> Damage:
    """A segment that another copy of the store wrote: every line is good, and other events stand in it."""

    def damage(path: Path) -> None:
        other = path.with_name("other")
        with closing(open_store(other)) as engine:
            for event in range(1, 12):
                engine.commit([write(B, event - 1, event)])
        shutil.copy(segment(other, number), segment(path, number))

    return damage


def made_something_else(number: int, make: Callable[[Path], object]) -> Damage:
    def damage(path: Path) -> None:
        place = segment(path, number)
        place.rename(place.with_name("aside"))
        make(place)

    return damage


MIDDLE = {
    "the first deleted": deleted(0),
    "a middle one deleted": deleted(1),
    "the first two deleted": lambda path: (deleted(0)(path), deleted(0)(path)),
    "the first emptied": emptied(0),
    "a middle one emptied": emptied(1),
    "the last finished one emptied": emptied(-2),
    "the first cut by a line": cut(0, lines=1),
    "a middle one cut by a line": cut(1, lines=1),
    "the last finished one cut by a line": cut(-2, lines=1),
    "a middle one cut in a line": cut(1, size=9),
    "a middle one cut by its line break": cut(1, size=1),
    "the first without its first line": without_its_first_line(0),
    "a middle one without its first line": without_its_first_line(1),
    "two swapped": swapped(0, 1),
    "two others swapped": swapped(1, 2),
    "the first renamed": renamed(0, 2),
    "the first begins at 0": renamed(0, 0),
    "a middle one renamed": renamed(1, 5),
    "one doubled between": doubled(0, 2),
    "one doubled at the front": doubled(0, 0),
    "one doubled before the last": doubled(1, 9),
    "one of another store": of_another_store(1),
    "the first of another store": of_another_store(0),
    "one of another history": of_another_history(1),
    "a link in a segment's place": made_something_else(1, lambda place: place.symlink_to(place.with_name("aside"))),
    "a folder in a segment's place": made_something_else(1, Path.mkdir),
    "a pipe in a segment's place": made_something_else(1, os.mkfifo),
}
END = {
    "the last deleted": deleted(-1),
    "the last two deleted": lambda path: (deleted(-1)(path), deleted(-1)(path)),
    "the last emptied": emptied(-1),
    "the last cut by a line": cut(-1, lines=1),
    "the last cut in a line": cut(-1, size=9),
    "all deleted": all_deleted,
}
KNOWN_BY_THE_LOCK = {
    "one doubled behind the end": doubled(1, 13),
    "a segment far behind the end": doubled(1, 900),
    "the last of another history": of_another_history(-1),
    "a link in the last one's place": made_something_else(-1, lambda place: place.symlink_to(place.with_name("aside"))),
    "a folder in the last one's place": made_something_else(-1, Path.mkdir),
}


def contents(path: Path) -> dict[str, bytes]:
    files = [file for file in path.rglob("*") if file.is_file() and "events" not in file.parts]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def assert_refused(path: Path) -> None:
    before = contents(path)
    for _ in range(2):
        with pytest.raises(CorruptStoreError):
            open_store(path)
        after = contents(path)
        assert {name: after[name] for name in before} == before, "a store that is refused is not changed"


@pytest.mark.parametrize("damage", (MIDDLE | END | KNOWN_BY_THE_LOCK).values(), ids=(MIDDLE | END | KNOWN_BY_THE_LOCK).keys())
@pytest.mark.parametrize("derived", [True, False], ids=["with its index", "without"])
def test_a_store_whose_segments_do_not_follow_each_other_is_not_opened(tmp_path: Path, damage: Damage, derived: bool) -> None:
    stock = tmp_path / "stock"
    fill(stock)
    assert len(list((stock / "journal").glob("*.jsonl"))) == 4
    if not derived:
        for index in (stock / "journal").glob("*.idx"):
            index.unlink()
        shutil.rmtree(stock / "events")
    damage(stock)
    assert_refused(stock)


@pytest.mark.parametrize("damage", (MIDDLE | END).values(), ids=(MIDDLE | END).keys())
@pytest.mark.parametrize("lock", ["missing", "emptied", "garbage"])
def test_likewise_without_a_lock_file(tmp_path: Path, damage: Damage, lock: str) -> None:
    stock = tmp_path / "stock"
    fill(stock)
    damage(stock)
    if lock == "missing":
        (stock / ".lock").unlink()
    else:
        (stock / ".lock").write_bytes(b"" if lock == "emptied" else b"x" * 151)
    assert_refused(stock)


def test_without_a_lock_file_the_index_alone_tells_that_the_end_is_missing(tmp_path: Path) -> None:
    fill(tmp_path)
    shutil.rmtree(tmp_path / "events")
    (tmp_path / ".lock").unlink()
    cut(-2, lines=1)(tmp_path)
    deleted(-1)(tmp_path)
    with pytest.raises(CorruptStoreError, match=r"00000000000000000007\.idx was made of position 9"):
        open_store(tmp_path)


def test_without_a_lock_file_a_sound_store_is_opened(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / ".lock").unlink()
    with closing(open_store(tmp_path)) as engine:
        assert versions(engine, A) == list(range(1, 12))


def test_an_older_journal_that_was_restored_with_its_lock_file_is_opened(tmp_path: Path) -> None:
    stock, older = tmp_path / "stock", tmp_path / "older"
    fill(stock, events=4)
    shutil.copytree(stock, older)
    with closing(open_store(stock)) as engine:
        for number in range(5, 12):
            engine.commit([write(A, number - 1, number)])
    for file in (stock / "journal").glob("*.jsonl"):
        file.unlink()
    for file in (older / "journal").glob("*.jsonl"):
        shutil.copy(file, stock / "journal" / file.name)
    shutil.copy(older / ".lock", stock / ".lock")
    with closing(open_store(stock)) as engine:
        assert versions(engine, A) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "damage",
    [emptied(0), cut(0, lines=1), cut(0, size=90), deleted(0), without_its_first_line(0)],
    ids=["emptied", "cut by a line", "cut in a line", "deleted", "without its first line"],
)
@pytest.mark.parametrize("derived", [True, False], ids=["with its index", "without"])
@pytest.mark.parametrize("is_known", [True, False], ids=["read before", "not read before"])
def test_a_finished_segment_that_is_damaged_while_the_store_is_open_is_noticed_by_who_needs_it(
    tmp_path: Path, damage: Damage, derived: bool, is_known: bool
) -> None:
    fill(tmp_path)
    if not derived:
        for index in (tmp_path / "journal").glob("*.idx"):
            index.unlink()
    with closing(open_store(tmp_path)) as engine:
        if is_known:
            assert versions(engine, A) == list(range(1, 12))
        damage(tmp_path)
        uses: list[Callable[[], object]] = [
            lambda: engine.read_stream(A, limit=100),
            lambda: engine.read_stream_backwards(A, before=5, limit=100),
            lambda: engine.read_all(after=0, limit=100),
        ]
        if not is_known:
            uses += [lambda: engine.read_stream(B, limit=100), lambda: engine.commit([write(B, 0, 90)])]
        for use in uses:
            with pytest.raises(CorruptStoreError):
                use()


def test_a_finished_segment_that_is_emptied_behind_the_people_s_files_ends_their_work(tmp_path: Path) -> None:
    fill(tmp_path)
    with closing(open_store(tmp_path)) as engine:
        engine.rebuild()
        emptied(1)(tmp_path)
        assert engine.tidy()
        with pytest.raises(CorruptStoreError):
            versions(engine, A)


@pytest.mark.parametrize("number", [0, 1, -2], ids=["first", "middle", "last finished"])
@pytest.mark.parametrize("derived", [True, False], ids=["with its index", "without"])
def test_a_segment_of_another_history_that_is_put_into_an_open_store_is_noticed(tmp_path: Path, number: int, derived: bool) -> None:
    stock = tmp_path / "stock"
    fill(stock)
    with closing(open_store(stock)) as engine:
        of_another_history(number)(stock)
        place, other = segment(stock, number).with_suffix(".idx"), segment(tmp_path / "other", number).with_suffix(".idx")
        place.unlink()
        if derived:
            shutil.copy(other, place)
        for stream in (A, B):
            with pytest.raises(CorruptStoreError):
                engine.read_stream(stream, limit=100)


@pytest.mark.parametrize("events", [4, 11], ids=["shorter", "as long"])
def test_an_older_journal_that_is_copied_over_an_open_one_is_noticed_by_everybody(tmp_path: Path, events: int) -> None:
    stock, other = tmp_path / "stock", tmp_path / "other"
    fill(stock)
    with closing(open_store(other)) as engine:
        for number in range(1, events + 1):
            engine.commit([write(A, number - 1, number + 100)])
    with closing(open_store(stock)) as engine:
        assert versions(engine, A) == list(range(1, 12))
        for file in (stock / "journal").glob("*.jsonl"):
            file.unlink()
        for file in (other / "journal").glob("*.jsonl"):
            shutil.copy(file, stock / "journal" / file.name)
        (stock / ".lock").write_bytes((other / ".lock").read_bytes())
        assert engine.glance_version(A) is None
        for use in (
            lambda: engine.read_stream(B, limit=1),
            lambda: engine.read_stream(A, after=11, limit=1),
            lambda: engine.streams("", limit=1),
            lambda: engine.commit([write(A, 11, 12)]),
        ):
            with pytest.raises(CorruptStoreError):
                use()


def test_a_bus_whose_segments_do_not_follow_each_other_is_not_opened(tmp_path: Path) -> None:
    with closing(open_bus(tmp_path)) as bus:
        for number in range(1, 40):
            bus.publish([published("a", number, data=b'{"x":"%b"}' % (b"x" * 300))])
    deleted(1)(tmp_path)
    with pytest.raises(CorruptStoreError):
        open_bus(tmp_path)


@pytest.mark.parametrize("damage", [deleted(0), emptied(1), cut(1, lines=1)], ids=["deleted", "emptied", "cut"])
def test_a_store_whose_segments_do_not_follow_each_other_is_not_backed_up(tmp_path: Path, damage: Damage) -> None:
    fill(tmp_path / "stock")
    damage(tmp_path / "stock")
    with pytest.raises(CorruptStoreError):
        back_up(tmp_path / "stock", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
