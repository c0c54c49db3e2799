"""The operating system's file system, for Linux and macOS.

``sync`` is ``fdatasync`` on Linux. On macOS it is ``F_FULLFSYNC``, since ``fsync`` there leaves data in the drive's cache.
"""

import mmap
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar
from weakref import WeakSet

from inventory_es.ports.errors import UnsupportedCapabilityError
from inventory_es.ports.file_system import File, FileSystem, LockFile, OpenMode

try:
    import fcntl
except ImportError:
    _MISSING = "flock"
else:
    _MISSING = next((name for name in ("O_NOFOLLOW", "O_DIRECTORY", "pread", "pwrite", "register_at_fork") if not hasattr(os, name)), "")

_T = TypeVar("_T")
_FIRST_PAUSE = 0.000_05
_COMMON = 0 if _MISSING else os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # not blocking on a pipe in its place; no effect on regular files
_FLAGS: dict[OpenMode, int] = {
    "read": os.O_RDONLY | _COMMON,
    "write": os.O_RDWR | _COMMON,
    "create": os.O_RDWR | os.O_CREAT | os.O_EXCL | _COMMON,
}


class OperatingSystemFile(File):
    """An open regular file. Any number of threads may read it at once. A file without a reference closes itself."""

    _descriptor: int = -1

    def __init__(self, path: str, flags: int) -> None:
        self._descriptor = os.open(path, flags, 0o600)
        found = os.fstat(self._descriptor)
        self._identity = found.st_dev, found.st_ino
        if not stat.S_ISREG(found.st_mode):
            self.close()
            msg = "not a regular file"
            raise OSError(msg)

    def read(self, size: int, offset: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer only at the end of the file."""
        data = os.pread(self._descriptor, size, offset)
        while 0 < len(data) < size:
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        written = os.pwrite(self._descriptor, data, offset)
        while written < len(data):
            written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)

    def sync(self) -> None:
        """Make content and size durable."""
        if sys.platform == "darwin":
            _full_sync(self._descriptor)
        else:
            os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        """Cut or extend to ``size`` bytes."""
        os.ftruncate(self._descriptor, size)

    def size(self) -> int:
        """Return the length in bytes."""
        return os.lseek(self._descriptor, 0, os.SEEK_END)  # a fifth of an fstat; nothing reads at the offset that it moves

    def is_at(self, path: str) -> bool:
        """Return True if ``path`` leads to this very file; see the port."""
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def map(self) -> memoryview:
        """Return the whole content as read-only memory; it stays readable after :meth:`close`."""
        if self.size() == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(self._descriptor, 0, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED))

    def close(self) -> None:
        """Release the handle."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


class OperatingSystemLockFile(OperatingSystemFile, LockFile):
    """A file with a ``flock``.

    A child made by ``fork`` shares the lock of its parent. Its copies are closed at once, or a lock would outlive a parent that died.
    """

    _open: ClassVar[WeakSet["OperatingSystemLockFile"] | None] = None

    def __init__(self, path: str) -> None:
        super().__init__(path, os.O_RDWR | os.O_CREAT | _COMMON)
        cls = OperatingSystemLockFile
        if cls._open is None:
            cls._open = WeakSet()
            os.register_at_fork(after_in_child=cls.close_all)
        cls._open.add(self)

    @classmethod
    def close_all(cls) -> None:
        """Close every lock file of this process, as a fresh child does."""
        for file in tuple(cls._open or ()):
            file.close()

    def acquire(self, *, timeout: float) -> bool:
        """Take the lock; see the port. ``flock`` has no timeout, so it is called repeatedly, at growing intervals."""
        started = time.monotonic() if timeout else 0.0
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = time.monotonic() - started if timeout else 0.0
                if waited >= timeout:
                    return False
                time.sleep(min(_FIRST_PAUSE + waited / 16, timeout - waited))  # noqa: TID251 - in a thread, and short: the adapters look up between two waits
            else:
                return True

    def release(self) -> None:
        """Free the lock."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)


class OperatingSystem(FileSystem):
    """The operating system behind the :class:`~inventory_es.ports.file_system.FileSystem` port. Stateless.

    Raises:
        UnsupportedCapabilityError: this platform, such as Windows, lacks a call that the file adapters need.
    """

    def __init__(self) -> None:
        if _MISSING:
            way_out = "use 'sqlite:', which works everywhere"
            raise UnsupportedCapabilityError(store=f"the file system of {sys.platform}", capability=_MISSING, way_out=way_out)

    def open(self, path: str, mode: OpenMode) -> File:
        """Open a regular file; see the port."""
        return OperatingSystemFile(path, _FLAGS[mode])

    def make_directory(self, path: str) -> None:
        """Create one directory, mode 0700."""
        Path(path).mkdir(mode=0o700)

    def sync_directory(self, path: str) -> None:
        """Make the directory's entries durable."""
        _in_directory(path, _full_sync if sys.platform == "darwin" else os.fsync)

    def list_directory(self, path: str) -> Sequence[str]:
        """Return the names in the directory, sorted."""
        return sorted(_in_directory(path, os.listdir))

    def exists(self, path: str) -> bool:
        """Return True if there is anything at ``path``, a broken link included."""
        return os.path.lexists(path)

    def resolve(self, path: str) -> str:
        """Return ``path`` with every symbolic link in it followed."""
        return os.path.realpath(path)

    def rename(self, source: str, target: str) -> None:
        """Replace ``target`` by ``source`` atomically."""
        Path(source).replace(target)

    def remove(self, path: str) -> None:
        """Remove a file."""
        Path(path).unlink()

    def open_lock(self, path: str) -> LockFile:
        """Open a file to lock; see the port."""
        return OperatingSystemLockFile(path)


def new_creation_id() -> str:
    """Return 128 random bits of the operating system, which tell one store from every other."""
    return os.urandom(16).hex()  # noqa: TID251 - an argument in the engine; this is where it comes from


def _in_directory(path: str, work: Callable[[int], _T]) -> _T:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _COMMON)
    try:
        return work(descriptor)
    finally:
        os.close(descriptor)


def _full_sync(descriptor: int) -> None:
    if sys.platform == "darwin":  # the constant exists there alone
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
