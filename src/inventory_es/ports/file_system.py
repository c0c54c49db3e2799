"""The port of a file system: all that the file adapters may do to a disk.

Small, so that a crash simulator and a fault injector can stand in for the operating system. Synchronous: the adapters call
it from worker threads. Every failure is an ``OSError`` with its ``errno``, as the operating system raises it.
"""

import errno
from collections.abc import Sequence
from typing import Literal, Protocol

OpenMode = Literal["read", "write", "create"]
_FOREIGN = {errno.ELOOP, errno.EISDIR, errno.ENXIO, None}


class File(Protocol):
    """An open regular file, addressed by offset. It has no position of its own."""

    def read(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; fewer only at the end of the file."""
        ...

    def write(self, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``. Not durable before :meth:`sync`."""
        ...

    def sync(self) -> None:
        """Make the content and size durable. After a failure nothing is known about what was written since the last success."""
        ...

    def truncate(self, size: int) -> None:
        """Cut or extend with zeros to ``size`` bytes. Not durable before :meth:`sync`."""
        ...

    def size(self) -> int:
        """Length in bytes."""
        ...

    def is_at(self, path: str) -> bool:
        """True if ``path`` leads to this very file. False if nothing is there, another file, or a symbolic link."""
        ...

    def map(self) -> memoryview:
        """The whole content as read-only memory, for files that never change again. It stays readable after :meth:`close`."""
        ...

    def close(self) -> None:
        """Release the handle, as dropping the last reference to it does. Nothing is synced. Closing twice is fine."""
        ...


class LockFile(File, Protocol):
    """A file with an exclusive advisory lock, which belongs to this open handle.

    Another handle waits, in the same process too. The lock of a process that dies is free, and so is that of a closed handle.
    """

    def acquire(self, *, timeout: float) -> bool:
        """Take the lock.

        Args:
            timeout: the longest wait until it is free, in seconds; 0 gives up at once.

        Returns:
            Whether it is held now.
        """
        ...

    def release(self) -> None:
        """Free the lock, which this handle holds."""
        ...


class FileSystem(Protocol):
    """Directories, files and locks below one root that the adapter chose. Paths are absolute texts."""

    def open(self, path: str, mode: OpenMode) -> File:
        """Open a regular file without following a symbolic link.

        Args:
            path: where.
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
        """Names in the directory, sorted. A symbolic link in place of the directory is refused."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is anything at ``path``, a broken link included."""
        ...

    def resolve(self, path: str) -> str:
        """Return ``path`` with every symbolic link in it followed. What is missing stays as it is."""
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
    """True if a file could not be opened because its path leads to something else: a directory, a link, a pipe, a device."""
    return problem.errno in _FOREIGN


def is_missing(problem: OSError) -> bool:
    """True if a derived file or folder is as good as missing: nothing is there, something else, or nothing that may be read."""
    return isinstance(problem, FileNotFoundError | NotADirectoryError | PermissionError) or is_foreign(problem)
