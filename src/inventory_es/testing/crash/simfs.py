"""The FileSystem port over a simulated disk, for one process, and the plan of which operations fail.

Every operation that changes the disk is a crash point: the observer is called right after the operation, and may look at the disk.
Several instances over one disk are several processes, which share one cache and one set of locks.
"""

import errno
import os
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import attrs

from inventory_es.ports.file_system import File, FileSystem, LockFile, OpenMode
from inventory_es.testing.crash.disk import ROOT, Change, Content, Disk, EntryChange, Folder, Link, Move, Truncate, Unlink, Write

Failure = Literal["EIO", "ENOSPC", "short write", "dropped", "half dropped"]

_GROWING = frozenset({"create", "make_directory", "rename", "write", "truncate", "sync", "sync_directory"})
_SYNCING = frozenset({"sync", "sync_directory"})


class FaultPlan(Protocol):
    """A plan that decides about every operation of a :class:`~inventory_es.testing.crash.simfs.SimFS`."""

    def next(self, kind: str, path: str) -> Failure | None:
        """Return how the next operation fails; ``None`` if it succeeds.

        ``EIO`` and ``ENOSPC`` do nothing and raise. ``short write`` writes half, then raises ``ENOSPC``. ``dropped`` is a sync that
        raises ``EIO``, after which the changes are neither durable nor pending, and only the cache shows them. ``half dropped`` is the
        same, but some changes had been written.
        """
        ...


@attrs.define
class FailNth(FaultPlan):
    """A plan in which the n-th operation that can fail in this way fails.

    Attributes:
        number: number of the operation, starting at 1.
        failure: how the operation fails.
        is_persistent: True if every later operation fails too, until :meth:`mend`.
        hits: how many operations failed.
    """

    number: int
    failure: Failure
    is_persistent: bool = attrs.field(default=False, kw_only=True)
    hits: int = attrs.field(default=0, init=False)
    _seen: int = attrs.field(default=0, init=False)
    _is_mended: bool = attrs.field(default=False, init=False)

    def next(self, kind: str, path: str) -> Failure | None:  # noqa: ARG002  # a plan by path may look at it
        """Return how the next operation fails; see :class:`FaultPlan`."""
        if self._is_mended or not can_fail(kind, self.failure):
            return None
        self._seen += 1
        if self._seen != self.number and not (self.is_persistent and self._seen > self.number):
            return None
        self.hits += 1
        return self.failure

    def mend(self) -> None:
        """Let no operation fail from now on."""
        self._is_mended = True


def can_fail(kind: str, failure: Failure) -> bool:
    """Return True if an operation of this kind can fail in this way. ``close``, ``exists`` and ``release`` never fail."""
    match failure:
        case "EIO":
            return kind not in {"close", "exists", "release"}
        case "ENOSPC":
            return kind in _GROWING
        case "short write":
            return kind == "write"
        case _:
            return kind in _SYNCING


def error_of(failure: Failure, path: str) -> OSError:
    """Return the error that the operating system raises."""
    if failure in {"ENOSPC", "short write"}:
        return OSError(errno.ENOSPC, "No space left on device", path)
    return OSError(errno.EIO, "Input/output error", path)


class Primitive(NamedTuple):
    """One operation that changed the disk.

    Attributes:
        kind: ``create``, ``make_directory``, ``rename``, ``remove``, ``write``, ``truncate``, ``sync``, ``sync_directory``, ``acquire``
            or ``release``.
        path: the file or directory.
        write: the bytes and their place, if the kind is ``write``.
    """

    kind: str
    path: str
    write: Write | None = None


Observer = Callable[[Primitive], None]


class StarvedError(Exception):
    """A simulated process that would wait without end, because another process holds the lock and there is only one thread."""


class SimFS(FileSystem):
    """One process's view of a disk.

    Args:
        disk: the disk, which other processes may share; a new, empty one by default.
        faults: decides which operations fail.
        observer: called after each change.
    """

    def __init__(self, disk: Disk | None = None, *, faults: FaultPlan | None = None, observer: Observer | None = None) -> None:
        self.disk: Disk = disk if disk is not None else Disk()
        self.faults = faults
        self.observer = observer

    def open(self, path: str, mode: OpenMode) -> File:
        self.check("create" if mode == "create" else "open", path)
        parent, folder, name = self._parent(path)
        if mode == "create":
            if name in folder.cache:
                raise _error(errno.EEXIST, path)
            return SimFile(self, self._create(parent, name, path), path, is_writable=True)
        return SimFile(self, self._file(path, folder, name), path, is_writable=mode == "write")

    def open_lock(self, path: str) -> LockFile:
        parent, folder, name = self._parent(path)
        if name in folder.cache:
            self.check("open", path)
            return SimLockFile(self, self._file(path, folder, name), path, is_writable=True)
        self.check("create", path)
        return SimLockFile(self, self._create(parent, name, path), path, is_writable=True)

    def make_directory(self, path: str) -> None:
        self.check("make_directory", path)
        parent, folder, name = self._parent(path)
        if name in folder.cache:
            raise _error(errno.EEXIST, path)
        number = self.disk.new_number()
        self.disk.folders[number] = Folder({}, {})
        self._change_entries(parent, Link(name, number))
        self.changed(Primitive("make_directory", path))

    def sync_directory(self, path: str) -> None:
        number = self._folder(path)
        failure = self.failure("sync_directory", path)
        folders = self.disk.folders
        if failure in {"dropped", "half dropped"}:
            folders[number] = folders[number].dropped(folders)
        elif failure is None:
            folders[number] = folders[number].synced()
        self.changed(Primitive("sync_directory", path))
        if failure is not None:
            raise error_of(failure, path)

    def list_directory(self, path: str) -> Sequence[str]:
        self.check("list_directory", path)
        return sorted(self.disk.folders[self._folder(path)].cache)

    def exists(self, path: str) -> bool:
        try:
            _, folder, name = self._parent(path)
        except OSError:
            return False
        return name in folder.cache

    def resolve(self, path: str) -> str:
        return path

    def is_at(self, number: int, path: str) -> bool:
        """Return True if ``path`` leads to the file with this number."""
        self.check("is_at", path)
        try:
            _, folder, name = self._parent(path)
        except OSError:
            return False
        return folder.cache.get(name) == number

    def rename(self, source: str, target: str) -> None:
        self.check("rename", source)
        parent, folder, old = self._parent(source)
        to, _, new = self._parent(target)
        self._file(source, folder, old)
        if new in folder.cache:
            self._file(target, folder, new)
        if to != parent:
            msg = "the port renames within one directory only"
            raise ValueError(msg)
        if old != new:
            self._change_entries(parent, Move(old, new))
        self.changed(Primitive("rename", source))

    def remove(self, path: str) -> None:
        self.check("remove", path)
        parent, folder, name = self._parent(path)
        self._file(path, folder, name)
        self._change_entries(parent, Unlink(name))
        self.changed(Primitive("remove", path))

    def check(self, kind: str, path: str) -> None:
        """Raise if the plan lets this operation fail without an effect."""
        failure = self.failure(kind, path)
        if failure is not None:
            raise error_of(failure, path)

    def failure(self, kind: str, path: str) -> Failure | None:
        """Return how the operation that begins now fails."""
        return None if self.faults is None else self.faults.next(kind, path)

    def changed(self, primitive: Primitive) -> None:
        """Notify the observer."""
        if self.observer is not None:
            self.observer(primitive)

    def _create(self, parent: int, name: str, path: str) -> int:
        number = self.disk.new_number()
        self.disk.files[number] = Content(b"", b"")
        self._change_entries(parent, Link(name, number))
        self.changed(Primitive("create", path))
        return number

    def _change_entries(self, parent: int, change: EntryChange) -> None:
        self.disk.folders[parent] = self.disk.folders[parent].changed(change)

    def _folder(self, path: str) -> int:
        number, folders = ROOT, self.disk.folders
        for name in path.split("/"):
            if name:
                found = folders[number].cache.get(name)
                if found is None:
                    raise _error(errno.ENOENT, path)
                if found not in folders:
                    raise _error(errno.ENOTDIR, path)
                number = found
        return number

    def _parent(self, path: str) -> tuple[int, Folder, str]:
        above, _, name = path.rpartition("/")
        number = self._folder(above)
        return number, self.disk.folders[number], name

    def _file(self, path: str, folder: Folder, name: str) -> int:
        number = folder.cache.get(name)
        if number is None:
            raise _error(errno.ENOENT, path)
        if number in self.disk.folders:
            raise _error(errno.EISDIR, path)
        return number


class SimFile(File):
    """An open file of a :class:`SimFS`."""

    def __init__(self, file_system: SimFS, number: int, path: str, *, is_writable: bool) -> None:
        self._fs = file_system
        self._number = number
        self._path = path
        self._is_writable = is_writable
        self._is_open = True

    def read(self, size: int, offset: int) -> bytes:
        self._require_open()
        self._fs.check("read", self._path)
        return self._fs.disk.files[self._number].cache[offset : offset + size]

    def write(self, data: bytes, offset: int) -> None:
        self._require_open()
        if not self._is_writable:
            raise _error(errno.EBADF, self._path)
        failure = self._fs.failure("write", self._path)
        if failure in {None, "short write"}:
            write = Write(offset, bytes(data) if failure is None else bytes(data[: len(data) // 2]))
            if write.data:
                self._change(write)
            self._fs.changed(Primitive("write", self._path, write))
        if failure is not None:
            raise error_of(failure, self._path)

    def sync(self) -> None:
        self._require_open()
        failure = self._fs.failure("sync", self._path)
        files, number = self._fs.disk.files, self._number
        match failure:
            case None:
                files[number] = files[number].synced()
            case "dropped":
                files[number] = files[number].dropped(files[number].durable)
            case "half dropped":
                files[number] = files[number].dropped(_half(files[number]))
            case _:
                pass
        self._fs.changed(Primitive("sync", self._path))
        if failure is not None:
            raise error_of(failure, self._path)

    def truncate(self, size: int) -> None:
        self._require_open()
        if not self._is_writable:
            raise _error(errno.EINVAL, self._path)
        self._fs.check("truncate", self._path)
        self._change(Truncate(size))
        self._fs.changed(Primitive("truncate", self._path))

    def size(self) -> int:
        self._require_open()
        self._fs.check("size", self._path)
        return len(self._fs.disk.files[self._number].cache)

    def is_at(self, path: str) -> bool:
        return self._fs.is_at(self._number, path)

    def map(self) -> memoryview:
        self._require_open()
        self._fs.check("map", self._path)
        return memoryview(self._fs.disk.files[self._number].cache)

    def close(self) -> None:
        self._is_open = False
        locks = self._fs.disk.locks
        if locks.get(self._number) is self:
            del locks[self._number]

    def _change(self, change: Change) -> None:
        files = self._fs.disk.files
        files[self._number] = files[self._number].changed(change)

    def _require_open(self) -> None:
        if not self._is_open:
            raise _error(errno.EBADF, self._path)


class SimLockFile(SimFile, LockFile):
    """An open file that can be locked."""

    def acquire(self, *, timeout: float) -> bool:
        """Take the lock.

        Raises:
            StarvedError: the process would wait.
        """
        self._require_open()
        self._fs.check("acquire", self._path)
        holder = self._fs.disk.locks.setdefault(self._number, self)
        if holder is self:
            return True
        if timeout:
            msg = f"the lock {self._path} is held by another process, which does not go on"
            raise StarvedError(msg)
        return False

    def release(self) -> None:
        self._require_open()
        if self._fs.disk.locks.get(self._number) is self:
            del self._fs.disk.locks[self._number]
        self._fs.changed(Primitive("release", self._path))


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _half(file: Content) -> bytes:
    """Return what is durable after a sync that failed in the middle of the first change."""
    if not file.pending:
        return file.durable
    change = file.pending[0]
    if not isinstance(change, Write):
        return file.durable
    written = change.data[: len(change.data) // 2]
    size = max(len(file.durable), change.offset)
    padded = file.durable + bytes(size - len(file.durable))
    return padded[: change.offset] + written + padded[change.offset + len(written) :]
