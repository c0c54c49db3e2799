"""The port of a file system: the operations of the file adapters on a disk.

The port is small, so that a crash simulator and a fault injector can replace the operating system. It is synchronous, because the adapters
call it from worker threads. Every failure is an ``OSError`` with its ``errno``, as the operating system raises it.
"""

import errno
from collections.abc import Sequence
from typing import Literal, Protocol

OpenMode = Literal["read", "write", "create"]
_FOREIGN = {errno.ELOOP, errno.EISDIR, errno.ENXIO, None}


class File(Protocol):
    """An open regular file, addressed by offset. It has no position of its own."""

    def read(self, size: int, offset: int) -> bytes:
        """Read up to ``size`` bytes from ``offset``; fewer only at the end of the file."""
        ...

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``. Not durable before :meth:`sync`."""
        ...

    def sync(self) -> None:
        """Make the content and size durable. After a failure, the state of everything written since the last success is unknown."""
        ...

    def truncate(self, size: int) -> None:
        """Cut or extend with zeros to ``size`` bytes. Not durable before :meth:`sync`."""
        ...

    def size(self) -> int:
        """Return the length in bytes."""
        ...

    def is_at(self, path: str) -> bool:
        """Return True if ``path`` leads to this very file, and False for a missing path, another file, or a symbolic link."""
        ...

    def map(self) -> memoryview:
        """Return the whole content as read-only memory, for files that never change again. It stays readable after :meth:`close`."""
        ...

    def close(self) -> None:
        """Release the handle, as dropping its last reference does. Nothing is synced. Idempotent."""
        ...


class LockFile(File, Protocol):
    """A file with an exclusive advisory lock, which belongs to this open handle.

    Another handle waits, in the same process too. The death of a process frees its locks, and so does closing the handle.
    """

    def acquire(self, *, timeout: float) -> bool:
        """Take the lock.

        Args:
            timeout: the longest wait for the lock, in seconds; 0 gives up at once.

        Returns:
            True if this handle holds the lock now.
        """
        ...

    def release(self) -> None:
        """Release the lock, which this handle holds."""
        ...


class FileSystem(Protocol):
    """Directories, files and locks below one root that the adapter chose. Paths are absolute texts."""

    def open(self, path: str, mode: OpenMode) -> File:
        """Open a regular file without following a symbolic link.

        Args:
            path: of the file.
            mode: ``read`` an existing file; ``write`` an existing one; ``create`` a new one, mode 0600 (``FileExistsError`` if there
                is one).
        """
        ...

    def make_directory(self, path: str) -> None:
        """Create one directory, mode 0700, and fail if there is one. Durable after :meth:`sync_directory` of its parent."""
        ...

    def sync_directory(self, path: str) -> None:
        """Make the directory's entries durable: files created, renamed and removed in it."""
        ...

    def list_directory(self, path: str) -> Sequence[str]:
        """List the names in the directory, sorted. A symbolic link in place of the directory is refused."""
        ...

    def exists(self, path: str) -> bool:
        """Return True if there is anything at ``path``, including a broken link."""
        ...

    def resolve(self, path: str) -> str:
        """Return ``path`` with every symbolic link in it followed. Missing parts stay unchanged."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Replace ``target`` by ``source`` atomically, within one directory. Durable after :meth:`sync_directory`."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file. Durable after :meth:`sync_directory`."""
        ...

    def open_lock(self, path: str) -> LockFile:
        """Open a file to lock, mode 0600, created empty if missing, without following a symbolic link. It is not locked yet."""
        ...


def is_foreign(problem: OSError) -> bool:
    """Return True if a file could not be opened because its path leads to a directory, a link, a pipe or a device."""
    return problem.errno in _FOREIGN


def is_missing(problem: OSError) -> bool:
    """Return True if a derived file or folder counts as missing: it is absent, not a regular file, or not readable."""
    return isinstance(problem, FileNotFoundError | NotADirectoryError | PermissionError) or is_foreign(problem)
