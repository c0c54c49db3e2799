"""A backup through the port of the file system: what of it is durable, what it copies, and that it lets go of everything."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from inventory_es.adapters.file import FileStore, back_up
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.file_system import FileSystem
from inventory_es.ports.records import NewEvent, StreamWrite
from inventory_es.testing.crash.simfs import SimFS
from tests.unit.adapters.file.watched_disk import WatchedDisk

SHELF = StreamId("inventory", "a", "x")
COUNT = 11


def open_engine(path: str, disk: FileSystem, creation_id: str = "1") -> FileStore:
    return FileStore.open(path, creation_id=creation_id, segment_bytes=800, file_system=disk)


@pytest.fixture
def disk() -> WatchedDisk:
    """With a store in several segments, of which the last is the shortest, and a folder for copies."""
    disk = WatchedDisk()
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
def test_a_backup_survives_a_power_cut(disk: WatchedDisk, place: str) -> None:
    disk.sync_directory("/")
    assert back_up("/stock", place, file_system=disk) == COUNT
    left = SimFS(disk.disk.cut({}, {}))
    copy = open_engine(place, left, "not used: the copy has that of the original")
    positions: list[int] = []
    while positions[-1:] != [copy.head()]:
        positions += [event.position for event in copy.read_all(after=len(positions), limit=99).events]
    assert positions == list(range(1, COUNT + 1))
    copy.close()


def test_a_backup_holds_no_file_open(disk: WatchedDisk) -> None:
    back_up("/stock", "/copy", file_system=disk)
    disk.assert_all_closed()


def test_a_backup_takes_nothing_but_the_journal(disk: WatchedDisk) -> None:
    disk.open("/stock/journal/0notes.txt", "create").write(b"somebody's own", 0)
    back_up("/stock", "/copy", file_system=disk)
    journal = [name for name in disk.list_directory("/stock/journal") if name.endswith(".jsonl")]
    assert list(disk.list_directory("/copy/journal")) == journal
    assert list(disk.list_directory("/copy/events")) == []
