"""The file cache without threads and without an event loop: a folder with one file for each entry.

Readers take no lock: an entry is replaced by renaming a whole file over it. Whoever changes something holds the lock file. Nothing is
synced: after a power cut an entry may be gone, broken (then it is a miss) or an older one, each at most until its time is over.
"""

import os
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import Self

from inventory_es.adapters.file.cache_entry import (
    MAX_HEADER_BYTES,
    EntryHeader,
    decode_entry,
    encode_entry,
    entry_name,
    is_entry_name,
    since_of,
)
from inventory_es.adapters.file.cache_total import CacheTotal, read_total, write_total
from inventory_es.adapters.file.folder import FolderFormat
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, LockWait
from inventory_es.ports.cache import CacheEntry
from inventory_es.ports.errors import CacheUnavailableError, StoreClosedError
from inventory_es.ports.file_system import FileSystem, is_foreign
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path
from inventory_es.ports.toolkit.remedy import reason_of, remedy_of

FORMAT = FolderFormat("inventory_es.file_cache", 1, "file cache", ("entries",))


class CacheFolder:
    """One open handle on a cache folder. Any number of threads may call at once, but for :meth:`close`.

    Every method may raise ``CacheUnavailableError`` and ``StoreClosedError``.
    """

    def __init__(
        self,
        path: str,
        file_system: FileSystem,
        *,
        max_entries: int,
        max_bytes: int,
        max_value_bytes: int,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        self.name: str = f"file cache {path}"
        self._fs = file_system
        self._entries = f"{file_system.resolve(path)}/entries"
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_file_bytes = max_value_bytes + MAX_HEADER_BYTES
        self._process = os.getpid()
        self._mutex = Lock()
        self._order = Lock()
        self._used: OrderedDict[str, None] = OrderedDict()
        self._lock_path = f"{path}/.lock"
        self._lock = file_system.open_lock(self._lock_path)
        self._wait = LockWait(self._lock_path, lock_timeout)

    @classmethod
    def open(
        cls,
        folder: AnyPath,
        *,
        file_system: FileSystem,
        creation_id: str,
        max_entries: int,
        max_bytes: int,
        max_value_bytes: int,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> Self:
        """Open a cache, or make one in an empty or missing folder.

        Raises:
            IncompatibleStoreError: the folder holds something else. Nothing was changed.
            CacheUnavailableError: the file system refused something, or another process kept a lock.
        """
        path = absolute_path(folder)
        with _unavailable(f"file cache {path}"):
            FORMAT.open(file_system, file_system.resolve(path), creation_id=creation_id, lock_timeout=lock_timeout)
            engine = cls(
                path,
                file_system,
                max_entries=max_entries,
                max_bytes=max_bytes,
                max_value_bytes=max_value_bytes,
                lock_timeout=lock_timeout,
            )
            engine._load_order()
            return engine

    def get(self, key: str) -> tuple[EntryHeader, CacheEntry] | None:
        """What is stored for ``key``, also when its time is over."""
        self._check_process()
        with _unavailable(self.name):
            self._check_place()
            found = decode_entry(self._read(entry_name(key)), key)
        return None if found is None else (found[0], CacheEntry(found[1], found[0].version))

    def used(self, key: str) -> None:
        """The entry of ``key`` was used: it is the last to go."""
        with self._order:
            self._used[entry_name(key)] = None
            self._used.move_to_end(entry_name(key))

    def set(self, key: str, value: bytes, *, version: int, since: datetime, until: datetime) -> None:
        """Store an entry, unless a newer version is there that lives at ``since``."""
        name = entry_name(key)
        data = encode_entry(key, value, version=version, since=since, until=until)
        with self._exclusive() as total:
            there = decode_entry(self._read(name), key)
            if there is not None and there[0].version > version and since < there[0].until:
                return
            write_total(self._lock, None)
            old_size = self._size(name)
            self._replace(name, data)
            self.used(key)
            now = total.plus(int(old_size is None), len(data) - (old_size or 0))
            write_total(self._lock, self._shrink(now, keep=name))

    def invalidate(self, keys: Sequence[str]) -> None:
        """Forget these keys."""
        with self._exclusive() as total:
            write_total(self._lock, None)
            write_total(self._lock, self._forget_all(map(entry_name, keys), total))

    def clear(self) -> None:
        """Forget everything. Files that are no entries stay."""
        with self._exclusive() as total:
            write_total(self._lock, None)
            self._forget_all(self._names(), total)
            write_total(self._lock, CacheTotal(0, 0))

    def close(self) -> None:
        """Release the lock file. In a forked child it was released already."""
        self._lock.close()

    def _shrink(self, total: CacheTotal, *, keep: str) -> CacheTotal:
        """Remove entries, the least recently used first, until the bounds hold."""
        victims = self._victims(keep)
        while total.entries > self._max_entries or total.size > self._max_bytes:
            victim = next(victims, None)
            if victim is None:  # files were taken away behind its back
                return self._count()
            total = self._forget(victim, total)
        return total

    def _victims(self, keep: str) -> Iterator[str]:
        """Entries in the order in which they go: as this process used them, then those that only others know."""
        with self._order:
            known = [name for name in self._used if name != keep]
        yield from known
        yield from (name for name in self._names() if name != keep)

    def _forget_all(self, names: Iterable[str], total: CacheTotal) -> CacheTotal:
        for name in names:
            total = self._forget(name, total)
        return total

    def _forget(self, name: str, total: CacheTotal) -> CacheTotal:
        with self._order:
            self._used.pop(name, None)
        size = self._size(name)
        if size is None:
            return total
        self._fs.remove(f"{self._entries}/{name}")
        return total.plus(-1, -size)

    def _replace(self, name: str, data: bytes) -> None:
        draft = f"{self._entries}/draft"
        if self._fs.exists(draft):  # of somebody who died
            self._fs.remove(draft)
        file = self._fs.open(draft, "create")
        try:
            file.write(data, 0)
        finally:
            file.close()
        self._fs.rename(draft, f"{self._entries}/{name}")

    def _read(self, name: str, most: int | None = None) -> bytes:
        """The content of an entry's file; empty where there is none, or something foreign in its place."""
        try:
            file = self._fs.open(f"{self._entries}/{name}", "read")
        except OSError as problem:
            if isinstance(problem, FileNotFoundError) or is_foreign(problem):
                return b""
            raise
        try:
            size = file.size()
            return file.read(size if most is None else min(size, most), 0) if size <= self._max_file_bytes else b""
        finally:
            file.close()

    def _size(self, name: str) -> int | None:
        """Bytes of an entry's file, 0 for something foreign in its place; ``None`` where there is nothing."""
        try:
            file = self._fs.open(f"{self._entries}/{name}", "read")
        except FileNotFoundError:
            return None
        except OSError as problem:
            if is_foreign(problem):
                return 0
            raise
        try:
            return file.size()
        finally:
            file.close()

    def _names(self) -> list[str]:
        return [name for name in self._fs.list_directory(self._entries) if is_entry_name(name)]

    def _load_order(self) -> None:
        """The entries that are there, the oldest first: how they were used before is not known."""
        since = {name: since_of(self._read(name, MAX_HEADER_BYTES)) for name in self._names()}
        self._used = OrderedDict.fromkeys(sorted(since, key=since.__getitem__))

    def _count(self) -> CacheTotal:
        sizes = [size for name in self._names() if (size := self._size(name)) is not None]
        return CacheTotal(len(sizes), sum(sizes))

    @contextmanager
    def _exclusive(self) -> Generator[CacheTotal, None, None]:
        """Hold the lock of all processes; gives the total."""
        self._check_process()
        with _unavailable(self.name), self._wait.in_turn(self._mutex) as deadline:
            self._wait.take(self._lock, deadline)
            try:
                self._check_place()
                yield read_total(self._lock) or self._count()
            finally:
                self._lock.release()

    def _check_place(self) -> None:
        if not self._lock.is_at(self._lock_path):
            reason = f"{self._lock_path} was moved, removed or replaced while it was open: open it again"
            raise CacheUnavailableError(cache=self.name, reason=reason)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise StoreClosedError(store=self.name, reason="it was inherited by fork")


@contextmanager
def _unavailable(cache: str) -> Generator[None, None, None]:
    try:
        yield
    except OSError as problem:
        raise CacheUnavailableError(cache=cache, reason=reason_of(problem), remedy=remedy_of(problem)) from problem
