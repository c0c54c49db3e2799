"""Something odd in the place of a derived file or folder, or nothing at all, never takes the store down."""

import os
import shutil
import socket
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from inventory_es.adapters.file import FileStore, repair, verify
from inventory_es.ports.errors import CorruptStoreError, IncompatibleStoreError
from inventory_es.ports.records import AppendResult
from tests.unit.adapters.file.test_file_store import A, B, versions, write

Make = Callable[[Path], object]


def open_store(path: Path) -> FileStore:
    return FileStore.open(str(path), creation_id="1", segment_bytes=700)


def fill(path: Path) -> None:
    with closing(open_store(path)) as engine:
        for number in range(1, 12):
            engine.commit([write(A, number - 1, number)])
        engine.commit([write(B, 0, 12)])


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)


ODD: dict[str, Make] = {
    "a link to nothing": lambda place: place.symlink_to(place.parent / "nowhere"),
    "a link to itself": lambda place: place.symlink_to(place),
    "a link to a file": lambda place: place.symlink_to(place.parent.parent / "precious"),
    "a link to a device": lambda place: place.symlink_to("/dev/zero"),
    "a pipe": os.mkfifo,
    "a socket": make_socket,
    "a folder": Path.mkdir,
    "a full folder": lambda place: (place / "x").mkdir(parents=True),
    "an empty file": lambda place: place.write_bytes(b""),
    "garbage": lambda place: place.write_bytes(b"\xff\x00garbage\n" * 99),
    "nested brackets": lambda place: place.write_bytes(b"[" * 100_000 + b"\n"),
    "a huge file": make_huge,
    "nothing": lambda _place: None,
}
PLACES = {
    "the first index file": lambda path: path / "journal" / f"{1:020d}.idx",
    "the last index file": lambda path: path / "journal" / f"{7:020d}.idx",
    "an index file of the current segment": lambda path: path / "journal" / f"{10:020d}.idx",
    "the draft of an index file": lambda path: path / "journal" / f"{10:020d}.idx.draft",
    "a readable copy": lambda path: next(path.glob("events/inventory-a-*.jsonl")),
    "the mark of the readable copies": lambda path: path / "events" / ".lock",
    "the folder of the readable copies": lambda path: path / "events",
}


def take(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_whatever_is_in_the_place_of_a_derived_file_the_store_serves(tmp_path: Path, place: Callable[[Path], Path], make: Make) -> None:
    stock = tmp_path / "stock"
    fill(stock)
    (stock / "precious").write_bytes(b"precious")
    at = place(stock)
    take(at)
    make(at)
    for number in range(12, 18):
        with closing(open_store(stock)) as engine:
            assert versions(engine, A) == list(range(1, number))
            assert versions(engine, B) == [12]
            assert engine.commit([write(A, 0, 1)]) == [AppendResult(1, {A: 1}, replayed=True)]
            engine.commit([write(A, number - 1, number)])
            assert engine.tidy()
            assert versions(engine, A) == list(range(1, number + 1))
    assert (stock / "precious").read_bytes() == b"precious"
    left = repair(stock)
    assert all(at in (Path(finding.path), Path(finding.path).parent) for finding in left), "a folder is left for its owner to remove"
    assert not left or at.is_dir()
    take(at)
    (stock / "precious").unlink()
    repair(stock)
    assert list(verify(stock)) == []
    lines = next(stock.glob("events/inventory-a-*.jsonl")).read_bytes().splitlines()
    assert len(lines) == 17


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
@pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
def test_it_may_come_while_the_store_is_open(tmp_path: Path, place: Callable[[Path], Path], make: Make) -> None:
    fill(tmp_path)
    (tmp_path.parent / "precious").write_bytes(b"precious")
    with closing(open_store(tmp_path)) as engine:
        at = place(tmp_path)
        take(at)
        make(at)
        for number in range(12, 18):
            engine.commit([write(A, number - 1, number)])
            assert engine.tidy()
        assert versions(engine, A) == list(range(1, 18))
    with closing(open_store(tmp_path)) as engine:
        assert versions(engine, A) == list(range(1, 18))


@pytest.mark.parametrize("name", ["events", ".lock", "events/.lock", "journal/*.idx", "events/*.jsonl", "events/*"])
def test_a_store_without_what_is_derived_is_repaired(tmp_path: Path, name: str) -> None:
    fill(tmp_path)
    for place in tmp_path.glob(name):
        take(place)
    list(verify(tmp_path))
    assert repair(tmp_path) == []
    lines = next((tmp_path / "events").glob("inventory-a-*.jsonl")).read_bytes().splitlines()
    assert len(lines) == 11


def test_what_is_not_derived_is_not_repaired(tmp_path: Path) -> None:
    fill(tmp_path)
    content = (tmp_path / "format.json").read_bytes()
    (tmp_path / "format.json").unlink()
    with pytest.raises(IncompatibleStoreError):
        repair(tmp_path)
    (tmp_path / "format.json").write_bytes(content)
    shutil.rmtree(tmp_path / "journal")
    with pytest.raises(CorruptStoreError):
        repair(tmp_path)


def test_a_torn_tail_is_kept_whatever_stands_where_it_would_be_put(tmp_path: Path) -> None:
    fill(tmp_path)
    current = max((tmp_path / "journal").glob("*.jsonl"))
    place = current.with_name(f"{current.name}.torn-{current.stat().st_size}")
    place.mkdir()
    with current.open("ab") as file:
        file.write(b'{"events":[')
    with closing(open_store(tmp_path)) as engine:
        assert versions(engine, A) == list(range(1, 12))
    assert place.with_name(f"{place.name}x").read_bytes() == b'{"events":['


def test_readable_copies_of_a_journal_that_was_restored_are_written_again(tmp_path: Path) -> None:
    stock, older = tmp_path / "stock", tmp_path / "older"
    fill(stock)
    shutil.copytree(stock, older)
    with closing(open_store(stock)) as engine:
        for number in range(12, 20):
            engine.commit([write(A, number - 1, number)])
    shutil.rmtree(stock / "journal")
    shutil.copytree(older / "journal", stock / "journal")
    shutil.copy(older / ".lock", stock / ".lock")
    with closing(open_store(stock)) as engine:
        engine.commit([write(B, 1, 90)])
    assert len(next(stock.glob("events/inventory-b-*.jsonl")).read_bytes().splitlines()) == 2


def written_over(filler: bytes, path: Path) -> None:
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.write((filler * size)[:size])


IN_PLACE: dict[str, Callable[[Path], object]] = {
    "ff": partial(written_over, b"\xff"),
    "01": partial(written_over, b"\x01"),
    "80": partial(written_over, b"\x80"),
    "01000000": partial(written_over, b"\x01\x00\x00\x00"),
    "emptied": lambda path: os.truncate(path, 0),
    "shortened": lambda path: os.truncate(path, path.stat().st_size - 1),
}


@pytest.mark.parametrize("damage", IN_PLACE.values(), ids=IN_PLACE.keys())
def test_an_index_file_that_is_changed_in_its_place_while_it_is_open_gives_no_other_answer(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    """One that is shortened would end the process (SIGBUS), if what was cut off were read."""
    fill(tmp_path / "s")
    with closing(open_store(tmp_path / "s")) as engine:
        reads: list[Callable[[], object]] = [
            lambda: engine.read_stream(A, after=0, limit=99),
            lambda: engine.read_stream_backwards(A, limit=99),
            lambda: engine.find_events(A, [write(A, 0, 1)[0].events[0].event_id]),
            lambda: engine.streams("", limit=99),
            lambda: engine.read_all(after=0, limit=3),
        ]
        right = [repr(read()) for read in reads]
        for index in (tmp_path / "s" / "journal").glob("*.idx"):
            damage(index)
        told = [said(read) for read in reads]
        assert "refused" in told
        assert [answer for answer, before in zip(told, right, strict=True) if answer not in {"refused", before}] == []
    with closing(open_store(tmp_path / "s")) as engine:
        assert versions(engine, A) == list(range(1, 12))


def said(read: Callable[[], object]) -> str:
    try:
        return repr(read())
    except CorruptStoreError:
        return "refused"
