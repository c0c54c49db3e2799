"""A backup through the port of the file system: what of it is durable, what it copies, and that it lets go of everything."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from inventory_es.adapters.file import FileStoreEngine, back_up
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.file_system import File, FileSystem, LockFile, OpenMode
from inventory_es.ports.records import NewEvent, StreamWrite
from inventory_es.testing.crash.simfs import SimFS

SHELF = StreamId("inventory", "a", "x")
COUNT = 11


class Watched(SimFS):
    """Knows every file that was opened on it."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[File] = []

    def open(self, path: str, mode: OpenMode) -> File:
        self.opened.append(super().open(path, mode))
        return self.opened[-1]

    def open_lock(self, path: str) -> LockFile:
        lock = super().open_lock(path)
        self.opened.append(lock)
        return lock


def open_engine(path: str, disk: FileSystem) -> FileStoreEngine:
    return FileStoreEngine.open(path, creation_id="1", segment_bytes=800, file_system=disk)


@pytest.fixture
def disk() -> Watched:
    """With a store in several segments, of which the last is the shortest, and a folder for copies."""
    disk = Watched()
    disk.make_directory("/copies")
    engine = open_engine("/stock", disk)
    for number in range(COUNT):
        event = NewEvent(UUID(int=number), "Happened", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}")
        engine.commit([[StreamWrite(SHELF, number, [event])]])
    engine.close()
    sizes = [disk.open(f"/stock/journal/{name}", "read").size() for name in disk.list_directory("/stock/journal") if name.endswith("l")]
    assert len(sizes) > 2
    assert sizes[-1] < min(sizes[:-1])
    disk.opened.clear()
    return disk


@pytest.mark.parametrize("place", ["/copy", "/copies/copy"])
def test_a_backup_survives_a_power_cut(disk: Watched, place: str) -> None:
    disk.sync_directory("/")
    assert back_up("/stock", place, file_system=disk) == COUNT
    left = SimFS(disk.disk.cut({}, {}))
    copy = open_engine(place, left)
    positions: list[int] = []
    while positions[-1:] != [copy.head()]:
        positions += [event.position for event in copy.read_all(after=len(positions), limit=99).events]
    assert positions == list(range(1, COUNT + 1))
    copy.close()


def test_a_backup_holds_no_file_open(disk: Watched) -> None:
    back_up("/stock", "/copy", file_system=disk)
    assert len(disk.opened) > 4
    for file in disk.opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            file.size()


def test_a_backup_takes_nothing_but_the_journal(disk: Watched) -> None:
    disk.open("/stock/journal/0notes.txt", "create").write(b"somebody's own", 0)
    back_up("/stock", "/copy", file_system=disk)
    journal = [name for name in disk.list_directory("/stock/journal") if name.endswith(".jsonl")]
    assert list(disk.list_directory("/copy/journal")) == journal
    assert list(disk.list_directory("/copy/events")) == []
