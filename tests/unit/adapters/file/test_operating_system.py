import errno
import fcntl
import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from inventory_es.adapters.file.operating_system import OperatingSystem, OperatingSystemFile, OperatingSystemLockFile, new_creation_id
from inventory_es.ports.file_system import OpenMode

FS = OperatingSystem()


def test_files_and_folders_are_the_owner_s_alone(tmp_path: Path) -> None:
    FS.make_directory(f"{tmp_path}/d")
    FS.open(f"{tmp_path}/f", "create").close()
    FS.open_lock(f"{tmp_path}/l").close()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"d": 0o700, "f": 0o600, "l": 0o600}


@pytest.mark.parametrize("mode", ["read", "write", "create"])
def test_links_are_not_followed(tmp_path: Path, mode: OpenMode) -> None:
    (tmp_path / "real").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(OSError, match=r"symbolic links|File exists"):
        FS.open(f"{tmp_path}/link", mode)
    with pytest.raises(OSError, match="symbolic links"):
        FS.open_lock(f"{tmp_path}/link")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder_link").symlink_to(tmp_path / "folder")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        FS.list_directory(f"{tmp_path}/folder_link")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError, match="not a regular file"):
            FS.open(str(path), "read")


def test_create_refuses_what_is_there_and_open_what_is_not(tmp_path: Path) -> None:
    FS.open(f"{tmp_path}/f", "create").close()
    with pytest.raises(FileExistsError):
        FS.open(f"{tmp_path}/f", "create")
    with pytest.raises(FileExistsError):
        FS.make_directory(f"{tmp_path}/f")
    with pytest.raises(FileNotFoundError):
        FS.open(f"{tmp_path}/missing", "write")


def test_content_is_addressed_by_offset(tmp_path: Path) -> None:
    file = FS.open(f"{tmp_path}/f", "create")
    file.write(b"world", 6)
    file.write(b"hello ", 0)
    file.sync()
    assert file.read(100, 0) == b"hello world"
    assert file.read(3, 4) == b"o w"
    assert file.read(3, 100) == b""
    file.truncate(5)
    assert file.size() == 5
    view = file.map()
    file.close()
    file.close()
    assert bytes(view) == b"hello"


def test_an_empty_file_maps_to_nothing(tmp_path: Path) -> None:
    file = FS.open(f"{tmp_path}/f", "create")
    assert bytes(file.map()) == b""
    file.close()


def test_short_reads_and_writes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_read, real_write = os.pread, os.pwrite
    file = FS.open(f"{tmp_path}/f", "create")
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real_write(fd, bytes(data[:2]), offset))
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: real_read(fd, min(size, 2), offset))
    file.write(b"abcdefg", 0)
    assert file.read(7, 0) == b"abcdefg"
    assert file.read(100, 3) == b"defg"
    file.close()


def test_names_are_listed_sorted_and_renamed_and_removed(tmp_path: Path) -> None:
    for name in ("b", "a"):
        FS.open(f"{tmp_path}/{name}", "create").close()
    FS.rename(f"{tmp_path}/b", f"{tmp_path}/c")
    FS.sync_directory(str(tmp_path))
    assert FS.list_directory(str(tmp_path)) == ["a", "c"]
    FS.remove(f"{tmp_path}/a")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    assert [FS.exists(f"{tmp_path}/{name}") for name in ("a", "c", "broken")] == [False, True, True]


def test_a_lock_belongs_to_its_handle(tmp_path: Path) -> None:
    one, other = FS.open_lock(f"{tmp_path}/l"), FS.open_lock(f"{tmp_path}/l")
    assert one.acquire(timeout=0)
    assert not other.acquire(timeout=0)
    one.release()
    assert other.acquire(timeout=0)
    assert not one.acquire(timeout=0)
    other.close()
    assert one.acquire(timeout=0)
    one.close()


def test_a_child_keeps_no_lock_of_its_parent(tmp_path: Path) -> None:
    ready, go = os.pipe(), os.pipe()
    lock = FS.open_lock(f"{tmp_path}/l")
    lock.acquire(timeout=0)
    child = os.fork()
    if child == 0:
        try:
            lock.read(1, 0)
            outcome = b"open"
        except OSError as problem:
            outcome = b"closed" if problem.errno == errno.EBADF else b"other"
        os.write(ready[1], outcome)
        os.read(go[0], 1)
        os._exit(0)
    assert os.read(ready[0], 10) == b"closed"
    lock.close()  # without release, as when the parent dies
    other = FS.open_lock(f"{tmp_path}/l")
    assert other.acquire(timeout=0)
    other.close()
    os.write(go[1], b"x")
    os.waitpid(child, 0)
    for end in (*ready, *go):
        os.close(end)


def test_creation_ids_differ() -> None:
    assert len({new_creation_id() for _ in range(100)}) == 100


def test_on_macos_a_sync_goes_through_to_the_drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda _descriptor, request: asked.append(request))
    file = FS.open(f"{tmp_path}/f", "create")
    file.sync()
    FS.sync_directory(str(tmp_path))
    file.close()
    assert asked == [51, 51]


def test_a_file_that_nobody_holds_is_closed(tmp_path: Path) -> None:
    file = FS.open(f"{tmp_path}/f", "create")
    assert isinstance(file, OperatingSystemFile)
    descriptor = file._descriptor
    os.fstat(descriptor)
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_another_platform_is_told_what_to_use() -> None:
    program = """if True:
        import ssl, sys  # anyio may import it, and it loads what the platform it was built for has
        sys.modules['fcntl'] = None
        sys.platform = 'win32'
        from inventory_es.adapters.file.operating_system import OperatingSystem
        OperatingSystem()
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "UnsupportedCapabilityError: the file system of win32 has no flock: use 'sqlite:', which works everywhere" in done.stderr


def test_what_a_child_does_first_is_to_close_inherited_locks(tmp_path: Path) -> None:
    lock = FS.open_lock(f"{tmp_path}/l")
    OperatingSystemLockFile.close_all()
    with pytest.raises(OSError, match="Bad file descriptor"):
        lock.size()


def test_a_child_holds_none_of_the_locks_of_its_parent(tmp_path: Path) -> None:
    locks = [OperatingSystem().open_lock(str(tmp_path / name)) for name in "abc"]
    child = os.fork()
    if child == 0:
        still_open = 0
        for lock in locks:
            with suppress(OSError):
                lock.size()
                still_open += 1
        os._exit(still_open)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [lock.size() for lock in locks] == [0, 0, 0]
