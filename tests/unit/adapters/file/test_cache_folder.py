"""The file cache on disk: bounds over several handles, writers that die, foreign files, permissions, processes."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.adapters.file.cache import CacheFolder, entry_name
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.ports import CacheEntry
from inventory_es.ports.errors import CacheUnavailableError, IncompatibleStoreError, StoreClosedError
from inventory_es.ports.file_system import FileSystem, LockFile

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)

WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from inventory_es.adapters.file.cache import CacheFolder
from inventory_es.adapters.file.operating_system import OperatingSystem
path, start, keys = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
now = datetime(2026, 1, 5, 9, tzinfo=UTC)
bounds = {"max_entries": 8, "max_bytes": 1 << 20, "max_value_bytes": 1 << 10}
engine = CacheFolder(path, file_system=OperatingSystem(), creation_id="1", **bounds)
for version in range(start, 300, 3):
    engine.set("shared", b"%d" % version, version=version, since=now, until=now + timedelta(hours=1))
    engine.set(f"own-{version % keys}", b"x", version=1, since=now, until=now + timedelta(hours=1))
"""


class DyingDisk(OperatingSystem):
    """Refuses to rename, or to remove, while it is told to."""

    dies = ""

    def rename(self, source: str, target: str) -> None:
        if self.dies == "rename":
            raise OSError(28, "No space left on device")
        super().rename(source, target)

    def remove(self, path: str) -> None:
        if self.dies == "remove":
            raise OSError(5, "Input/output error")
        super().remove(path)


def open_engine(folder: Path, *, disk: FileSystem | None = None, max_entries: int = 4, max_bytes: int = 1 << 20) -> CacheFolder:
    return CacheFolder(
        folder,
        file_system=OperatingSystem() if disk is None else disk,
        creation_id="1",
        max_entries=max_entries,
        max_bytes=max_bytes,
        max_value_bytes=1 << 10,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def engine(folder: Path) -> Iterator[CacheFolder]:
    with closing(open_engine(folder)) as opened:
        yield opened


def put(engine: CacheFolder, key: str, value: bytes = b"v", *, version: int = 1, since: datetime = T0) -> None:
    engine.set(key, value, version=version, since=since, until=since + HOUR)


def value(engine: CacheFolder, key: str) -> bytes | None:
    found = engine.get(key)
    return None if found is None else found[1].value


def on_disk(folder: Path) -> tuple[int, int]:
    sizes = [path.stat().st_size for path in (folder / "entries").glob("*.entry")]
    return len(sizes), sum(sizes)


def written_total(folder: Path) -> tuple[int, int]:
    words = (folder / ".lock").read_bytes().splitlines()[0].split()
    return int(words[0]), int(words[2])


def test_two_handles_share_entries_versions_and_bounds(folder: Path, engine: CacheFolder) -> None:
    with closing(open_engine(folder)) as other:
        for number in range(4):
            put(engine, f"k{number}", version=5)
        put(other, "k0", b"old", version=4)
        assert value(other, "k0") == b"v"
        put(other, "new")
        put(other, "newer")

        assert on_disk(folder)[0] == 4
        assert value(engine, "newer") == b"v"
        other.invalidate(["newer"])
        assert value(engine, "newer") is None
        assert written_total(folder) == on_disk(folder)


def test_an_entry_of_the_same_version_replaces_the_one_that_is_there(engine: CacheFolder) -> None:
    for value in (b"one", b"two"):
        engine.set("k", value, version=7, since=T0, until=T0 + HOUR)
    found = engine.get("k")
    assert found is not None
    assert found[1] == CacheEntry(b"two", 7)


def test_after_a_restart_the_oldest_goes_first(folder: Path) -> None:
    with closing(open_engine(folder)) as engine:
        for number, name in enumerate(["b", "d", "a", "c"]):
            put(engine, name, since=T0 + timedelta(milliseconds=500 * number))
    with closing(open_engine(folder)) as engine:
        put(engine, "e")

        assert [name for name in "abcde" if value(engine, name) is None] == ["b"]


def test_bytes_are_bounded_too(folder: Path) -> None:
    with closing(open_engine(folder, max_entries=100, max_bytes=2_048)) as engine:
        for number in range(6):
            put(engine, f"k{number}", b"x" * 700)
            assert on_disk(folder)[1] <= 2_048

        assert value(engine, "k5") is not None
        assert written_total(folder) == on_disk(folder)


def test_files_that_somebody_takes_away_cost_no_room(folder: Path, engine: CacheFolder) -> None:
    for name in "abcd":
        put(engine, name)
    for path in (folder / "entries").glob("*.entry"):
        path.unlink()
    for name in "efgh":
        put(engine, name)

    assert [name for name in "abcdefgh" if value(engine, name) is not None] == list("efgh")
    assert written_total(folder) == on_disk(folder)


def test_after_a_restart_what_begins_no_entry_goes_before_the_oldest(folder: Path) -> None:
    with closing(open_engine(folder)) as engine:
        for number, name in enumerate("abcd"):
            put(engine, name, since=T0 + timedelta(seconds=number))
    (folder / "entries" / entry_name("d")).write_bytes(b"\xff\n")
    with closing(open_engine(folder)) as engine:
        put(engine, "e", since=T0 + HOUR)

        assert not (folder / "entries" / entry_name("d")).exists()
        assert [name for name in "abcde" if value(engine, name) is None] == ["d"]


@given(st.lists(st.tuples(st.sampled_from("sic"), st.integers(0, 5), st.integers(0, 40)), max_size=15))
def test_the_total_is_that_of_the_disk(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]) -> None:
    folder = tmp_path_factory.mktemp("walk") / "cache"
    with closing(open_engine(folder, max_entries=3, max_bytes=2_048)) as one, closing(open_engine(folder, max_entries=3)) as two:
        for step, number, size in steps:
            engine = (one, two)[size % 2]
            match step:
                case "s":
                    put(engine, f"k{number}", b"x" * size, version=size)
                case "i":
                    engine.invalidate([f"k{number}", "missing"])
                case _:
                    engine.clear()
            assert written_total(folder) == on_disk(folder)
            assert on_disk(folder)[0] <= 3


def test_a_writer_that_fails_half_way_leaves_the_old_entry_and_no_wrong_total(folder: Path) -> None:
    disk = DyingDisk()
    with closing(open_engine(folder, disk=disk)) as engine:
        put(engine, "k", b"one")
        disk.dies = "rename"
        with pytest.raises(CacheUnavailableError, match="No space left"):
            put(engine, "k", b"two", version=2)
        disk.dies = ""
        assert value(engine, "k") == b"one"
        assert (folder / "entries" / "draft").exists()
        put(engine, "l")

        assert written_total(folder) == on_disk(folder) == (2, on_disk(folder)[1])


def test_a_writer_that_fails_after_the_change_leaves_no_wrong_total(folder: Path) -> None:
    disk = DyingDisk()
    with closing(open_engine(folder, disk=disk, max_entries=1)) as engine:
        put(engine, "k")
        disk.dies = "remove"
        with pytest.raises(CacheUnavailableError, match="Input/output"):
            put(engine, "l")
        disk.dies = ""
        assert on_disk(folder)[0] == 2
        put(engine, "m")

        assert written_total(folder) == on_disk(folder) == (1, on_disk(folder)[1])


@pytest.mark.parametrize("content", [b"", b"uncertain", b"uncertain0000 entries", b"\xff" * 60, b"9" * 20 + b" entries"], ids=range(5))
def test_an_unreadable_total_is_counted(folder: Path, engine: CacheFolder, content: bytes) -> None:
    put(engine, "k")
    (folder / ".lock").write_bytes(content)
    put(engine, "l")

    assert written_total(folder) == on_disk(folder)


@pytest.mark.parametrize("what", ["link", "directory", "pickle"])
def test_something_foreign_in_an_entrys_place_is_a_miss_and_never_followed(folder: Path, engine: CacheFolder, what: str) -> None:
    place = folder / "entries" / entry_name("k")
    secret = folder.parent / "secret"
    secret.write_bytes(b"secret")
    match what:
        case "link":
            place.symlink_to(secret)
        case "directory":
            place.mkdir()
        case _:
            place.write_bytes(b"\x80\x04N.")
    assert engine.get("k") is None
    if what != "directory":
        put(engine, "k", b"mine")
        assert value(engine, "k") == b"mine"
        assert not place.is_symlink()
    else:
        with pytest.raises(CacheUnavailableError):
            put(engine, "k", b"mine")
    assert secret.read_bytes() == b"secret"


def test_an_entry_under_another_name_is_a_miss(folder: Path, engine: CacheFolder) -> None:
    put(engine, "k", b"of k")
    entries = folder / "entries"
    (entries / entry_name("l")).write_bytes((entries / entry_name("k")).read_bytes())

    assert engine.get("l") is None
    assert value(engine, "k") == b"of k"


@pytest.mark.parametrize("at", range(0, 160, 7))
def test_an_entry_with_a_changed_byte_is_a_miss(folder: Path, engine: CacheFolder, at: int) -> None:
    put(engine, "k", b"value" * 10)
    place = folder / "entries" / entry_name("k")
    data = bytearray(place.read_bytes())
    data[at] ^= 1
    place.write_bytes(data)

    assert engine.get("k") is None


def test_clear_leaves_what_is_no_entry(folder: Path, engine: CacheFolder) -> None:
    put(engine, "k")
    note = folder / "entries" / "note.txt"
    note.write_text("mine")
    engine.clear()

    assert note.read_text() == "mine"
    assert on_disk(folder) == written_total(folder) == (0, 0)


def test_files_and_folders_are_private(folder: Path, engine: CacheFolder) -> None:
    put(engine, "k")
    modes = {path.relative_to(folder.parent).parts[-1]: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}

    assert modes == {"cache": 0o700, "entries": 0o700, ".lock": 0o600, "format.json": 0o600, entry_name("k"): 0o600}


def test_a_folder_of_something_else_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(IncompatibleStoreError, match="other files"):
        open_engine(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "content, problem",
    [
        ('{"format":"inventory_es.file_store","version":1,"creation_id":"1"}', "inventory_es.file_store"),
        ('{"format":"inventory_es.file_cache","version":2,"creation_id":"1"}', "format version 2"),
        ("", "something else"),
        ("[]", "something else"),
    ],
)
def test_another_format_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "format.json").write_text(content)
    with pytest.raises(IncompatibleStoreError, match=problem):
        open_engine(tmp_path)


def test_a_folder_whose_making_was_cut_short_is_finished(folder: Path) -> None:
    folder.mkdir()
    (folder / "entries").mkdir()
    (folder / "format.json.draft").write_text("{")
    with closing(open_engine(folder)) as engine:
        put(engine, "k")

    assert sorted(path.name for path in folder.iterdir()) == [".lock", "entries", "format.json"]


def test_a_folder_that_another_process_makes_first_is_shared(folder: Path) -> None:
    class Overtaken(OperatingSystem):
        others: ClassVar[list[CacheFolder]] = []

        def open_lock(self, path: str) -> LockFile:
            if not self.others:
                self.others.append(open_engine(folder))
                put(self.others[0], "k")
            return super().open_lock(path)

    with closing(open_engine(folder, disk=Overtaken())) as engine:
        assert value(engine, "k") == b"v"
    Overtaken.others[0].close()


def test_entries_without_a_format_are_refused_and_stay_as_they_are(folder: Path, engine: CacheFolder) -> None:
    put(engine, "k")
    (folder / "format.json").unlink()
    with pytest.raises(IncompatibleStoreError, match=r"entries is not empty: bring format\.json back"):
        open_engine(folder)
    assert value(engine, "k") == b"v"
    assert not (folder / "format.json").exists()


def test_threads_never_bring_an_older_version_back(engine: CacheFolder) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda version: put(engine, "k", b"%d" % version, version=version), [*range(0, 200, 2), *range(199, 0, -2)]))

    assert value(engine, "k") == b"199"


@pytest.mark.parametrize("keys,entries", [(6, 7), (300, 8)], ids=["within-the-bound", "beyond-the-bound"])
def test_processes_share_a_folder(folder: Path, keys: int, entries: int) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(start), str(keys)]) for start in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    with closing(open_engine(folder, max_entries=8)) as engine:
        assert on_disk(folder)[0] == entries
        assert written_total(folder) == on_disk(folder)
        if keys < 8:  # nothing was put out, so no older version can have come back
            assert value(engine, "shared") == b"299"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # of a test runner's own threads
def test_a_handle_that_a_fork_inherited_is_refused(engine: CacheFolder) -> None:
    child = os.fork()
    if child == 0:
        try:
            engine.get("k")
        except StoreClosedError as error:
            os._exit(7 if "fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    put(engine, "k")
    assert value(engine, "k") == b"v"
