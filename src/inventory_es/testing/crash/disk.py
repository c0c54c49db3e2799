"""The simulated disk: for each file and directory its durable state, its cached state, and the changes between them.

Every value here is immutable except :class:`Disk` itself, a table of them. So a copy of a disk costs a copy of the table.

The caches belong to the operating system. They outlive a process that is killed, and are lost with the power. The disk is then in any
of the states that :mod:`.power` lists.

Permissions, symbolic links, hard links and the removal of directories are not simulated.
"""

from collections.abc import Callable, Container, Iterator, Mapping
from functools import reduce
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

ROOT = 0


class Write(NamedTuple):
    """Bytes that were written to a file, but not synced."""

    offset: int
    data: bytes


class Truncate(NamedTuple):
    """A new length that a file was given, but that was not synced."""

    size: int


Change: TypeAlias = Write | Truncate


class Content(NamedTuple):
    """A regular file.

    Attributes:
        durable: the content that a power cut leaves at least.
        cache: the content that every process sees.
        pending: the changes since the last sync, in order.
        is_lossy: True if a failed sync dropped changes, which only the cache still shows.
        before_last: the cache before the last pending change.
    """

    durable: bytes
    cache: bytes
    pending: tuple[Change, ...] = ()
    is_lossy: bool = False
    before_last: bytes = b""

    def changed(self, change: Change) -> "Content":
        """Return the file after a write or a truncate."""
        return Content(self.durable, apply(self.cache, change), (*self.pending, change), self.is_lossy, self.cache)

    def with_last_write_cut(self, size: int) -> "Content":
        """Return the file with its last change, a write, cut down to ``size`` bytes."""
        *earlier, last = self.pending
        if not isinstance(last, Write):
            return self
        content = Content(self.durable, self.before_last, tuple(earlier), self.is_lossy, self.before_last)
        return content.changed(Write(last.offset, last.data[:size]))

    def synced(self) -> "Content":
        """Return the file after a sync, with all pending changes durable. Changes that an earlier sync dropped stay lost."""
        if not self.is_lossy:
            return Content(self.cache, self.cache)
        durable = reduce(apply, self.pending, self.durable)
        return Content(durable, self.cache, (), durable != self.cache)

    def dropped(self, durable: bytes) -> "Content":
        """Return the file after a failed sync that left ``durable``. Only the cache still shows the changes."""
        return Content(durable, self.cache, (), durable != self.cache)


class Link(NamedTuple):
    """A new entry in a directory."""

    name: str
    number: int


class Unlink(NamedTuple):
    """An entry that was removed."""

    name: str


class Move(NamedTuple):
    """An entry that got another name, and replaced the entry of that name."""

    source: str
    target: str


EntryChange: TypeAlias = Link | Unlink | Move
Entries: TypeAlias = Mapping[str, int]


class Folder(NamedTuple):
    """A directory: names, and the numbers of their files. The attributes are like those of :class:`Content`."""

    durable: Entries
    cache: Entries
    pending: tuple[EntryChange, ...] = ()

    def changed(self, change: EntryChange) -> "Folder":
        """Return the directory after an entry was made, removed or renamed."""
        return Folder(self.durable, apply_entry(self.cache, change), (*self.pending, change))

    def synced(self) -> "Folder":
        """Return the directory after a sync. An entry whose sync had failed stays lost."""
        durable = reduce(apply_entry, self.pending, self.durable)
        return Folder(self.cache, self.cache) if durable == self.cache else Folder(durable, self.cache)

    def dropped(self, folders: Container[int]) -> "Folder":
        """Return the directory after a failed sync that dropped the changes, except new directories, which could not be made again."""
        kept = tuple(change for change in self.pending if isinstance(change, Link) and change.number in folders)
        return Folder(self.durable, self.cache, kept)


class Disk:
    """Files and directories by number, as in a table of inodes. The root directory is number 0.

    Attributes:
        files: the regular files.
        folders: the directories.
        locks: the holder of each lock, by file: any object that stands for an open handle.
        lost_power: True if the power was ever cut.
    """

    def __init__(
        self, files: Mapping[int, Content] | None = None, folders: Mapping[int, Folder] | None = None, *, next_number: int = 1
    ) -> None:
        self.files: dict[int, Content] = dict(files or {})
        self.folders: dict[int, Folder] = dict(folders) if folders is not None else {ROOT: Folder({}, {})}
        self.locks: dict[int, object] = {}
        self.lost_power = False
        self._next_number = next_number

    def new_number(self) -> int:
        """Return a number that no file has had."""
        self._next_number += 1
        return self._next_number - 1

    def killed(self) -> "Disk":
        """Return a copy of the disk after all processes died: the caches stay, the locks are free."""
        copy = Disk(self.files, self.folders, next_number=self._next_number)
        copy.lost_power = self.lost_power
        return copy

    def cut(self, contents: Mapping[int, bytes], entries: Mapping[int, Entries]) -> "Disk":
        """Return the disk after a power cut.

        Args:
            contents: the content that is left, by file. All other files keep what was durable.
            entries: the entries that are left, by directory; likewise.
        """
        files: dict[int, Content] = {}
        for number, file in self.files.items():
            left = contents.get(number, file.durable)
            files[number] = file if left is file.cache and left is file.durable and not file.pending else Content(left, left)
        folders: dict[int, Folder] = {}
        for number, folder in self.folders.items():
            names = entries.get(number, folder.durable)
            folders[number] = folder if names is folder.cache and names is folder.durable and not folder.pending else Folder(names, names)
        result = Disk(files, folders, next_number=self._next_number)
        result.lost_power = True
        return result

    def paths(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield everything that a process sees, sorted: path and content, ``None`` for a directory."""
        yield from self._walk("", self.folders[ROOT])

    def _walk(self, path: str, folder: Folder) -> Iterator[tuple[str, bytes | None]]:
        for name, number in sorted(folder.cache.items()):
            below = self.folders.get(number)
            yield f"{path}/{name}", self.files[number].cache if below is None else None
            if below is not None:
                yield from self._walk(f"{path}/{name}", below)

    def fingerprint(self, *, but: str | None = None, cache_only: bool = False) -> bytes:
        """Return a digest that is equal for disks that neither a process nor a power cut can tell apart.

        Disks that lost power differ from disks that did not.

        Args:
            but: leave out entries whose name contains this text.
            cache_only: leave out what only a power cut would show.
        """
        if but is not None or cache_only:
            seen = [(path, content) for path, content in self.paths() if but is None or but not in path.rpartition("/")[2]]
            return blake2b(repr((self.lost_power, seen)).encode(), digest_size=16).digest()
        digest = blake2b(b"cut" if self.lost_power else b"", digest_size=16)
        self._digest(ROOT, digest.update, {})
        return digest.digest()

    def _digest(self, number: int, update: Callable[[bytes], None], numbers: dict[int, int]) -> None:
        if number in numbers:
            update(b"=%d" % numbers[number])
            return
        numbers[number] = len(numbers)
        folder = self.folders.get(number)
        if folder is None:
            file = self.files[number]
            update(b"f%d:" % len(file.cache))
            update(file.cache)
            if file.pending or file.is_lossy:
                update(b"d%d:" % len(file.durable))
                update(file.durable)
                update(repr(file.pending).encode())
            return
        views = (folder.cache,) if folder.durable is folder.cache else (folder.cache, folder.durable)
        for entries in views:
            update(b"{")
            for name in sorted(entries):
                update(b"%d:%b" % (len(name), name.encode()))
                self._digest(entries[name], update, numbers)
        if folder.pending:
            update(b"%d" % len(folder.pending))
            for change in folder.pending:
                update(repr(change[:1] if isinstance(change, Link) else change).encode())
                if isinstance(change, Link):
                    self._digest(change.number, update, numbers)


def apply(content: bytes, change: Change) -> bytes:
    """Return the content after a change."""
    if isinstance(change, Write):
        offset, data = change
        size = len(content)
        if offset == size:
            return content + data
        if offset > size:
            return content + bytes(offset - size) + data
        return content[:offset] + data + content[offset + len(data) :]
    return content[: change.size] if change.size <= len(content) else content + bytes(change.size - len(content))


def apply_entry(entries: Entries, change: EntryChange) -> Entries:
    """Return the entries after a change. No-op for an entry that was lost before."""
    result = dict(entries)
    match change:
        case Link(name, number):
            result[name] = number
        case Unlink(name):
            result.pop(name, None)
        case Move(source, target):
            if source in result:
                result[target] = result.pop(source)
    return result
