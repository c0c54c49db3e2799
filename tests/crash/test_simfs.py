"""The simulated file system behaves like the real one without crashes, and loses what a disk may lose in a crash."""

import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.ports.file_system import File, FileSystem
from inventory_es.testing.crash.disk import Disk
from inventory_es.testing.crash.power import MODELS, images, power_cuts
from inventory_es.testing.crash.simfs import FailNth, Failure, SimFS, StarvedError

names = st.sampled_from(["a", "b", "c"])
folders = st.sampled_from(["", "/d", "/e"])
contents = st.binary(max_size=12)
offsets = st.integers(0, 20)


def try_to_lock(file: Any) -> bool | None:
    return file.acquire(timeout=0) if hasattr(file, "acquire") else None


def unlock(file: Any) -> None:
    if hasattr(file, "release"):
        file.release()


class SameAsTheOperatingSystem(RuleBasedStateMachine):
    """A machine that runs each operation on both file systems. Results, kinds of errors and bytes must agree."""

    handles = Bundle("handles")

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.mkdtemp()
        self.real: FileSystem = OperatingSystem()
        self.simulated = SimFS()

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    def both(self, work: Callable[[FileSystem, str], Any]) -> tuple[Any, Any]:
        outcomes = []
        for file_system, root in ((self.real, self.place), (self.simulated, "")):
            try:
                outcomes.append(work(file_system, root))
            except OSError as problem:
                outcomes.append((type(problem), problem.errno))
        return outcomes[0], outcomes[1]

    def agree(self, work: Callable[[FileSystem, str], Any]) -> None:
        real, simulated = self.both(work)
        assert simulated == real

    @rule(target=handles, folder=folders, name=names, mode=st.sampled_from(["read", "write", "create", "lock"]))
    def open(self, folder: str, name: str, mode: Any) -> tuple[Any, Any]:
        def work(file_system: FileSystem, root: str) -> File:
            path = f"{root}{folder}/{name}"
            return file_system.open_lock(path) if mode == "lock" else file_system.open(path, mode)

        real, simulated = self.both(work)
        if isinstance(real, tuple):
            assert simulated == real
        return real, simulated

    def on_file(self, pair: tuple[Any, Any], work: Callable[[File], Any]) -> None:
        if isinstance(pair[0], tuple):
            return
        outcomes: list[Any] = []
        for file in pair:
            try:
                outcomes.append(work(file))
            except OSError as problem:
                outcomes.append(problem.errno)
        assert outcomes[1] == outcomes[0]

    @rule(pair=handles, offset=offsets, data=contents)
    def write(self, pair: tuple[Any, Any], offset: int, data: bytes) -> None:
        self.on_file(pair, lambda file: file.write(data, offset) if data else None)

    @rule(pair=handles, offset=offsets, size=offsets)
    def read(self, pair: tuple[Any, Any], offset: int, size: int) -> None:
        self.on_file(pair, lambda file: (file.read(size, offset), file.size()))

    @rule(pair=handles, size=offsets)
    def truncate(self, pair: tuple[Any, Any], size: int) -> None:
        self.on_file(pair, lambda file: file.truncate(size))

    @rule(pair=handles)
    def sync(self, pair: tuple[Any, Any]) -> None:
        self.on_file(pair, lambda file: file.sync())

    @rule(pair=handles)
    def map(self, pair: tuple[Any, Any]) -> None:
        self.on_file(pair, lambda file: bytes(file.map()))

    @rule(pair=handles, folder=folders, name=names)
    def is_at(self, pair: tuple[Any, Any], folder: str, name: str) -> None:
        if not isinstance(pair[0], tuple):
            real, simulated = pair
            assert simulated.is_at(f"{folder}/{name}") == real.is_at(f"{self.place}{folder}/{name}")

    @rule(pair=handles)
    def lock(self, pair: tuple[Any, Any]) -> None:
        self.on_file(pair, try_to_lock)

    @rule(pair=handles)
    def unlock(self, pair: tuple[Any, Any]) -> None:
        self.on_file(pair, unlock)

    @rule(pair=consumes(handles))
    def close(self, pair: tuple[Any, Any]) -> None:
        self.on_file(pair, lambda file: file.close())

    @rule(folder=folders)
    def make_directory(self, folder: str) -> None:
        self.agree(lambda file_system, root: file_system.make_directory(f"{root}{folder or '/f'}"))

    @rule(folder=folders)
    def sync_directory(self, folder: str) -> None:
        self.agree(lambda file_system, root: file_system.sync_directory(f"{root}{folder}"))

    @rule(folder=folders, old=names, new=names)
    def rename(self, folder: str, old: str, new: str) -> None:
        self.agree(lambda file_system, root: file_system.rename(f"{root}{folder}/{old}", f"{root}{folder}/{new}"))

    @rule(folder=folders, name=names)
    def remove(self, folder: str, name: str) -> None:
        self.agree(lambda file_system, root: file_system.remove(f"{root}{folder}/{name}"))

    @rule(folder=folders, name=names)
    def look(self, folder: str, name: str) -> None:
        self.agree(lambda file_system, root: file_system.exists(f"{root}{folder}/{name}"))
        self.agree(lambda file_system, root: file_system.list_directory(f"{root}{folder}"))
        self.agree(lambda file_system, root: file_system.list_directory(f"{root}{folder}/{name}"))

    @invariant()
    def every_byte_agrees(self) -> None:
        place = Path(self.place)
        found = {f"/{path.relative_to(place)}": None if path.is_dir() else path.read_bytes() for path in place.rglob("*")}
        assert dict(self.simulated.disk.paths()) == found


TestSameAsTheOperatingSystem = SameAsTheOperatingSystem.TestCase
TestSameAsTheOperatingSystem.settings = settings(max_examples=60, stateful_step_count=40)


def prepared(content: bytes = b"old") -> tuple[SimFS, File]:
    """Return a disk with a file whose content and entry are durable."""
    simulated = SimFS()
    file = simulated.open("/f", "create")
    file.write(content, 0)
    file.sync()
    simulated.sync_directory("/")
    return simulated, file


def left(disk: Disk, path: str = "/f") -> dict[str, set[bytes | None]]:
    states = {model: power_cuts(disk, model, Random(1), most=10_000) for model in MODELS}
    return {model: {dict(state.paths()).get(path, b"(absent)") for state in found} for model, found in states.items()}


def mixtures(file: File, *, sector: int = 4) -> set[bytes]:
    simulated: Any = file
    return set(images(simulated._fs.disk.files[simulated._number], "blocks", sector=sector))


def test_synced_bytes_stay() -> None:
    simulated, _ = prepared()
    assert left(simulated.disk) == {"prefix": {b"old"}, "blocks": {b"old"}}


def test_unsynced_bytes_are_cut_at_every_byte() -> None:
    simulated, file = prepared()
    file.write(b"XYZ", 3)
    assert left(simulated.disk)["prefix"] == {b"old", b"oldX", b"oldXY", b"oldXYZ"}


def test_bytes_written_in_place_are_partly_old_and_partly_new() -> None:
    simulated, file = prepared(b"abcd")
    file.write(b"XY", 1)
    assert left(simulated.disk)["prefix"] == {b"abcd", b"aXcd", b"aXYd"}


def test_sectors_reach_the_disk_in_any_order() -> None:
    _simulated, file = prepared(b"abcdefgh")
    file.write(b"ABCDEFGH", 0)
    assert mixtures(file) == {b"abcdefgh", b"ABCDefgh", b"abcdEFGH", b"ABCDEFGH"}


def test_a_missing_sector_holds_zeros_garbage_or_old_bytes() -> None:
    _simulated, file = prepared(b"1234")
    file.write(b"ABCD", 4)
    file.write(b"EFGH", 8)
    states = mixtures(file)
    assert {b"1234", b"1234ABCDEFGH", b"1234\0\0\0\0EFGH", b"12341234EFGH", b"1234ABCD\0\0\0\0", b"1234\0\0\0\0"} <= states
    assert any(state.startswith(b"1234\xa5") for state in states)
    assert all(state.startswith(b"1234") for state in states)


def test_a_sector_has_any_of_its_contents_since_the_sync() -> None:
    _simulated, file = prepared(b"aaaa")
    file.write(b"bbbb", 0)
    file.write(b"cccc", 0)
    assert mixtures(file) == {b"aaaa", b"bbbb", b"cccc"}


def test_a_truncate_happened_or_not() -> None:
    simulated, file = prepared(b"abcdefgh")
    file.truncate(6)
    assert left(simulated.disk)["prefix"] == mixtures(file) == {b"abcdefgh", b"abcdef"}


def test_an_entry_needs_a_sync_of_its_directory() -> None:
    simulated = SimFS()
    file = simulated.open("/f", "create")
    file.write(b"x", 0)
    file.sync()
    assert left(simulated.disk)["prefix"] == {b"(absent)", b"x"}
    simulated.sync_directory("/")
    assert left(simulated.disk)["prefix"] == {b"x"}


def test_entries_reach_the_disk_in_order() -> None:
    simulated, _ = prepared()
    for name in ("/g", "/h"):
        simulated.open(name, "create")
    simulated.remove("/f")
    states = {tuple(path for path, _ in state.paths()) for state in power_cuts(simulated.disk, "prefix", Random(1), most=100)}
    assert states == {("/f",), ("/f", "/g"), ("/f", "/g", "/h"), ("/g", "/h")}


def test_a_rename_is_atomic() -> None:
    simulated, file = prepared(b"new")
    other = simulated.open("/target", "create")
    other.write(b"old", 0)
    other.sync()
    simulated.sync_directory("/")
    simulated.rename("/f", "/target")
    assert left(simulated.disk, "/target") == {"prefix": {b"old", b"new"}, "blocks": {b"old", b"new"}}
    assert file.read(9, 0) == b"new"


def test_states_of_two_files_are_independent() -> None:
    simulated, file = prepared(b"")
    other = simulated.open("/g", "create")
    other.sync()
    simulated.sync_directory("/")
    file.write(b"1", 0)
    other.write(b"2", 0)
    states = {tuple(content for _, content in state.paths()) for state in power_cuts(simulated.disk, "prefix", Random(1), most=100)}
    assert states == {(b"", b""), (b"1", b""), (b"", b"2"), (b"1", b"2")}


def test_too_many_states_are_drawn_and_every_file_still_has_all_of_its_own() -> None:
    simulated, file = prepared(b"")
    other = simulated.open("/g", "create")
    simulated.sync_directory("/")
    file.write(bytes(range(100)), 0)
    other.write(bytes(range(100)), 0)
    states = list(power_cuts(simulated.disk, "prefix", Random(1), most=500))
    assert len(states) == 500
    assert {dict(state.paths())["/f"] for state in states} >= {bytes(range(size)) for size in range(101)}


def test_a_kill_keeps_the_cache_and_frees_the_locks() -> None:
    simulated, file = prepared()
    file.write(b"!", 3)
    lock = simulated.open_lock("/lock")
    assert lock.acquire(timeout=0)
    survivor = SimFS(simulated.disk.killed())
    assert survivor.open("/f", "read").read(9, 0) == b"old!"
    assert survivor.open_lock("/lock").acquire(timeout=0)
    assert left(survivor.disk)["prefix"] == {b"old", b"old!"}


def test_a_copy_does_not_see_what_happens_later() -> None:
    simulated, file = prepared()
    copy = simulated.disk.killed()
    file.write(b"!", 3)
    simulated.remove("/f")
    assert dict(copy.paths()) == {"/f": b"old"}


@pytest.mark.parametrize("failure", ["dropped", "half dropped"])
def test_a_failed_sync_forgets_the_bytes_and_keeps_showing_them(failure: Failure) -> None:
    simulated, file = prepared()
    file.write(b"ABCD", 3)
    simulated.faults = FailNth(1, failure)
    with pytest.raises(OSError, match="Input/output") as caught:
        file.sync()
    assert caught.value.errno == errno.EIO
    file.sync()
    assert file.read(9, 0) == b"oldABCD"
    assert left(simulated.disk)["prefix"] == {b"old" if failure == "dropped" else b"oldAB"}


def test_bytes_that_a_failed_sync_forgot_are_durable_once_written_again() -> None:
    simulated, file = prepared()
    file.write(b"ABCD", 3)
    simulated.faults = FailNth(1, "dropped")
    with pytest.raises(OSError, match="Input/output"):
        file.sync()
    file.write(b"ABCD", 3)
    file.sync()
    assert left(simulated.disk) == {"prefix": {b"oldABCD"}, "blocks": {b"oldABCD"}}


def test_a_failed_sync_of_a_directory_forgets_the_entry() -> None:
    simulated, _ = prepared()
    simulated.open("/g", "create")
    simulated.faults = FailNth(1, "dropped")
    with pytest.raises(OSError, match="Input/output"):
        simulated.sync_directory("/")
    simulated.sync_directory("/")
    assert simulated.exists("/g")
    assert left(simulated.disk, "/g")["prefix"] == {b"(absent)"}
    simulated.remove("/g")
    simulated.open("/g", "create")
    simulated.sync_directory("/")
    assert left(simulated.disk, "/g")["prefix"] == {b""}


def test_a_short_write_leaves_its_half() -> None:
    simulated, file = prepared()
    simulated.faults = FailNth(1, "short write")
    with pytest.raises(OSError, match="No space") as caught:
        file.write(b"ABCD", 3)
    assert caught.value.errno == errno.ENOSPC
    assert file.read(9, 0) == b"oldAB"


def test_the_nth_operation_fails_once_or_for_good() -> None:
    simulated, file = prepared()
    once = simulated.faults = FailNth(2, "EIO")
    file.size()
    with pytest.raises(OSError, match="Input/output"):
        file.size()
    assert (file.size(), once.hits) == (3, 1)
    for_good = simulated.faults = FailNth(1, "EIO", is_persistent=True)
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output"):
            file.sync()
    for_good.mend()
    file.sync()
    assert for_good.hits == 3


def test_waiting_for_a_lock_that_nobody_frees_is_told() -> None:
    simulated = SimFS()
    assert simulated.open_lock("/lock").acquire(timeout=0)
    with pytest.raises(StarvedError, match="/lock"):
        SimFS(simulated.disk).open_lock("/lock").acquire(timeout=1)


def test_every_change_is_a_crash_point() -> None:
    seen: list[str] = []
    simulated = SimFS(observer=lambda primitive: seen.append(primitive.kind))
    simulated.make_directory("/d")
    file = simulated.open("/d/f", "create")
    file.write(b"x", 0)
    file.truncate(0)
    file.sync()
    simulated.rename("/d/f", "/d/g")
    simulated.remove("/d/g")
    simulated.sync_directory("/d")
    assert seen == ["make_directory", "create", "write", "truncate", "sync", "rename", "remove", "sync_directory"]


def test_equal_disks_have_equal_fingerprints_however_they_came_about() -> None:
    def build(*, names_in_order: str) -> Disk:
        simulated = SimFS()
        for name in names_in_order:
            file = simulated.open(f"/{name}", "create")
            file.write(name.encode(), 0)
            file.sync()
        simulated.sync_directory("/")
        return simulated.disk

    assert build(names_in_order="ab").fingerprint() == build(names_in_order="ba").fingerprint()
    different = SimFS(build(names_in_order="ab"))
    different.open("/a", "write").write(b"a", 0)
    assert different.disk.fingerprint() != build(names_in_order="ab").fingerprint()
