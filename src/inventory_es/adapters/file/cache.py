"""The file cache: a folder with one file per entry. :class:`CacheFolder` is synchronous; :class:`FileCache` runs it for an event loop.

Readers take no lock: an entry is replaced by renaming a whole file over it. A writer holds the lock file. Nothing is synced. After a
power cut an entry may be gone, broken (then it is a miss) or an older one, until its time is over.

An entry is a line of JSON, then the value. The checksum is the CRC-32 of everything else in it; nothing is ever executed or unpickled::

    {"key":"stock:85123A:berlin","version":7,"since":"…Z","until":"…Z","size":12,"checksum":"5e6f7a8b"}
    …12 bytes…

The lock file holds the count and the size of all entries, so that adding one needs no count. A writer marks it as uncertain before it
changes an entry, and writes the new total after. A writer that finds the mark of one that died, or anything else, counts.
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from zlib import crc32

import anyio
import msgspec

from inventory_es.adapters.file.folder import FolderFormat, opened
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, LockWait, check_lock_timeout
from inventory_es.adapters.file.operating_system import OperatingSystem, new_creation_id
from inventory_es.ports.cache import Cache, CacheEntry
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import CacheUnavailableError, StoreClosedError
from inventory_es.ports.file_system import FileSystem, is_foreign
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls
from inventory_es.ports.toolkit.cache_rules import MAX_VALUE_BYTES, check_entry, check_key, end_of_life
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path
from inventory_es.ports.toolkit.remedy import reason_of, remedy_of

FORMAT = FolderFormat("inventory_es.file_cache", 1, "file cache", ("entries",))
_MAX_CALLS = 8
_MAX_HEADER_BYTES = 8_192
_NAME = re.compile(r".{64}\.entry")
_TOTAL = re.compile(rb"([0-9]{20}) entries, ([0-9]{20}) bytes\n")
_UNCERTAIN = b"uncertain"
_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError)


class EntryHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of an entry, without its line break."""

    key: str
    version: int
    since: datetime
    until: datetime
    size: int
    checksum: str

    def checksum_with(self, value: bytes) -> str:
        """Return the checksum of the entry with this value."""
        return f"{crc32(value, crc32(msgspec.json.encode(msgspec.structs.replace(self, checksum='')))):08x}"


def entry_name(key: str) -> str:
    """Return the name of a key's file: a SHA-256, so that no key is too long, hostile or equal to another on any file system."""
    return sha256(key.encode()).hexdigest() + ".entry"


def encode_entry(key: str, value: bytes, *, version: int, since: datetime, until: datetime) -> bytes:
    """Return the content of an entry's file."""
    header = EntryHeader(key, version, since, until, len(value), "")
    return msgspec.json.encode(msgspec.structs.replace(header, checksum=header.checksum_with(value))) + b"\n" + value


def decode_entry(data: bytes, key: str) -> tuple[EntryHeader, bytes] | None:
    """Return the entry of ``key``; ``None`` if these bytes are another one, or broken."""
    line, _, value = data.partition(b"\n")
    try:
        header = msgspec.json.decode(line, type=EntryHeader)
    except _NOT_DECODED:
        return None
    is_in_utc = header.since.utcoffset() == header.until.utcoffset() == timedelta(0)
    is_intact = (header.key, header.size) == (key, len(value)) and header.version >= 0 and is_in_utc
    return (header, value) if is_intact and header.checksum == header.checksum_with(value) else None


class CacheFolder:
    """One open handle on a cache folder. Any number of threads may call at once, except for :meth:`close`.

    Opens the cache, or makes one in an empty or missing folder. Every method may raise ``CacheUnavailableError`` and
    ``StoreClosedError``; opening, ``IncompatibleStoreError`` too: the folder holds something else, and nothing was changed.
    """

    def __init__(
        self,
        folder: AnyPath,
        *,
        file_system: FileSystem,
        creation_id: str,
        max_entries: int,
        max_bytes: int,
        max_value_bytes: int,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        path = absolute_path(folder)
        self.name: str = f"file cache {path}"
        self._fs = file_system
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._max_file_bytes = max_value_bytes + _MAX_HEADER_BYTES
        self._process = os.getpid()
        self._mutex = threading.RLock()
        self._order = threading.Lock()
        self._wait = LockWait(f"{path}/.lock", lock_timeout)
        with _unavailable(self.name):
            place = file_system.resolve(path)
            FORMAT.open(file_system, place, creation_id=creation_id, lock_timeout=lock_timeout)
            self._entries = f"{place}/entries"
            self._lock = file_system.open_lock(self._wait.path)
            since = {name: self._since(name) for name in self._names()}  # the order of use before is not known
            self._used: OrderedDict[str, None] = OrderedDict.fromkeys(sorted(since, key=since.__getitem__))

    def get(self, key: str) -> tuple[EntryHeader, CacheEntry] | None:
        """Return the entry of ``key``, even if its time is over."""
        self._check_process()
        with _unavailable(self.name):
            self._check_place()
            found = decode_entry(self._read(entry_name(key)), key)
        return None if found is None else (found[0], CacheEntry(found[1], found[0].version))

    def used(self, key: str) -> None:
        """Mark the entry of ``key`` as used: it is the last to go."""
        with self._order:
            self._used[entry_name(key)] = None
            self._used.move_to_end(entry_name(key))

    def set(self, key: str, value: bytes, *, version: int, since: datetime, until: datetime) -> None:
        """Store an entry, unless a newer version is there that lives at ``since``."""
        name = entry_name(key)
        data = encode_entry(key, value, version=version, since=since, until=until)
        with self._exclusive() as (entries, size):
            there = decode_entry(self._read(name), key)
            if there is not None and there[0].version > version and since < there[0].until:
                return
            self._lock.write(_UNCERTAIN, 0)
            old_size = self._size(name)
            self._replace(name, data)
            self.used(key)
            self._write_total(*self._shrink(entries + (old_size is None), size + len(data) - (old_size or 0), keep=name))

    def invalidate(self, keys: Sequence[str]) -> None:
        """Remove the entries of these keys."""
        with self._exclusive() as total:
            self._lock.write(_UNCERTAIN, 0)
            self._write_total(*self._remove(map(entry_name, keys), *total))

    def clear(self) -> None:
        """Remove every entry. Files that are no entries stay."""
        with self._exclusive() as total:
            self._lock.write(_UNCERTAIN, 0)
            self._remove(self._names(), *total)
            self._write_total(0, 0)

    def close(self) -> None:
        """Release the lock file. In a forked child it was released already."""
        self._lock.close()

    def _shrink(self, entries: int, size: int, *, keep: str) -> tuple[int, int]:
        """Remove entries until the bounds hold: the least recently used first, then those that only other processes know."""
        victims = self._victims(keep)
        while entries > self._max_entries or size > self._max_bytes:
            victim = next(victims, None)
            if victim is None:  # files were taken away behind its back
                return self._count()
            entries, size = self._remove([victim], entries, size)
        return entries, size

    def _victims(self, keep: str) -> Iterator[str]:
        with self._order:
            known = [name for name in self._used if name != keep]
        yield from known
        yield from (name for name in self._names() if name != keep)

    def _remove(self, names: Iterable[str], entries: int, size: int) -> tuple[int, int]:
        """Remove entries; return the total after it."""
        for name in names:
            with self._order:
                self._used.pop(name, None)
            gone = self._size(name)
            if gone is not None:
                self._fs.remove(f"{self._entries}/{name}")
                entries, size = entries - 1, size - gone
        return entries, size

    def _replace(self, name: str, data: bytes) -> None:
        draft = f"{self._entries}/draft"
        if self._fs.exists(draft):  # of a writer that died
            self._fs.remove(draft)
        file = self._fs.open(draft, "create")
        try:
            file.write(data, 0)
        finally:
            file.close()
        self._fs.rename(draft, f"{self._entries}/{name}")

    def _read(self, name: str, most: int | None = None) -> bytes:
        """Return the content of an entry's file; empty if there is none, or something foreign in its place."""
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
        """Return the bytes of an entry's file, 0 for something foreign in its place; ``None`` if there is nothing."""
        try:
            file = self._fs.open(f"{self._entries}/{name}", "read")
        except OSError as problem:
            if isinstance(problem, FileNotFoundError):
                return None
            if is_foreign(problem):
                return 0
            raise
        try:
            return file.size()
        finally:
            file.close()

    def _names(self) -> list[str]:
        return [name for name in self._fs.list_directory(self._entries) if _NAME.fullmatch(name)]

    def _since(self, name: str) -> datetime:
        """Return when an entry was set; the beginning of time for a broken one."""
        try:
            return msgspec.json.decode(self._read(name, _MAX_HEADER_BYTES).partition(b"\n")[0], type=EntryHeader).since.astimezone(UTC)
        except _NOT_DECODED:
            return datetime.min.replace(tzinfo=UTC)

    def _count(self) -> tuple[int, int]:
        sizes = [size for name in self._names() if (size := self._size(name)) is not None]
        return len(sizes), sum(sizes)

    def _write_total(self, entries: int, size: int) -> None:
        self._lock.write(b"%020d entries, %020d bytes\n" % (entries, size), 0)

    @contextmanager
    def _exclusive(self) -> Generator[tuple[int, int], None, None]:
        """Hold the lock of all processes; gives the count and the size of all entries."""
        self._check_process()
        with _unavailable(self.name), self._wait.in_turn(self._mutex) as deadline:
            self._wait.take(self._lock, deadline)
            try:
                self._check_place()
                total = _TOTAL.fullmatch(self._lock.read(len(b"%020d entries, %020d bytes\n" % (0, 0)), 0))
                yield self._count() if total is None else (int(total[1]), int(total[2]))
            finally:
                self._lock.release()

    def _check_place(self) -> None:
        if not self._lock.is_at(self._wait.path):
            reason = f"{self._wait.path} was moved, removed or replaced while it was open: open it again"
            raise CacheUnavailableError(cache=self.name, reason=reason)

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise StoreClosedError(store=self.name, reason="it was inherited by fork")


class FileCache(Cache):
    """A cache in a folder, for Linux and macOS. Opened by :func:`open_file_cache`.

    Entries survive a restart. Several processes may open one folder: they share its entries, and the bounds hold over all of them.
    The least recently used entry is known from this process's uses alone. An entry from the future, which a clock that was set back
    leaves behind, is a miss. While the file system refuses, every call is ``CacheUnavailableError``.
    """

    serves_threads: bool = True

    def __init__(self, folder: CacheFolder, *, clock: Clock, max_value_bytes: int) -> None:
        self._folder = folder
        self._clock = clock
        self._max_value_bytes = max_value_bytes
        self._calls = BlockingCalls(anyio.CapacityLimiter(_MAX_CALLS), name=folder.name)

    async def get(self, key: str, /) -> CacheEntry | None:
        """Return the entry of ``key``, or ``None`` for a miss. Counts as a use."""
        check_key(key)
        found = await self._calls.run(self._folder.get, key)
        if found is None or not found[0].since <= self._clock.now() < found[0].until:
            return None
        self._folder.used(key)
        return found[1]

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        """Keep ``value`` for ``ttl`` from now, unless a newer version is still live. See :meth:`inventory_es.ports.Cache.set`."""
        check_entry(key, value, version, max_value_bytes=self._max_value_bytes)
        now = self._clock.now()
        await self._calls.run(self._folder.set, key, value, version=version, since=now, until=end_of_life(now, ttl))

    async def invalidate(self, *keys: str) -> None:
        """Remove the entries of these keys; a missing one is a no-op."""
        for key in keys:
            check_key(key)
        await self._calls.run(self._folder.invalidate, keys)

    async def clear(self) -> None:
        """Remove every entry."""
        await self._calls.run(self._folder.clear)

    async def aclose(self) -> None:
        """Finish the calls in flight and release the folder, whose entries stay. Idempotent."""
        await self._calls.close(self._folder.close)


def open_file_cache(
    path: AnyPath,
    *,
    clock: Clock,
    max_entries: int = 1_000,
    max_bytes: int = 64 << 20,
    max_value_bytes: int = MAX_VALUE_BYTES,
    file_system: FileSystem | None = None,
    lock_timeout: float = LOCK_TIMEOUT,
) -> AbstractAsyncContextManager[FileCache]:
    """Open the cache in a folder, or make one in an empty or missing folder; it closes with the block.

    Args:
        path: of the folder; its parent exists. A relative path is resolved by this call.
        clock: the time by which entries expire.
        max_entries: the most entries, 1 or more.
        max_bytes: the most bytes of all entries, with about 200 for each beside its key and value.
        max_value_bytes: the largest value that it takes, in bytes, 1 or more; at most a half of ``max_bytes``.
        file_system: the operating system's, unless given.
        lock_timeout: the longest wait for a lock that another process holds, in seconds, 0 or more.

    Raises:
        ValueError: a bound out of range.
        IncompatibleStoreError: the folder holds something else. Nothing was changed.
        CacheUnavailableError: the file system refused something, or another process kept a lock.
    """
    check_lock_timeout(lock_timeout)
    if max_entries < 1 or max_value_bytes < 1 or max_bytes < 2 * max_value_bytes:
        msg = "max_entries and max_value_bytes must be 1 or more, and max_bytes at least twice max_value_bytes"
        raise ValueError(msg)
    open_folder = partial(
        CacheFolder,
        absolute_path(path),
        file_system=OperatingSystem() if file_system is None else file_system,
        creation_id=new_creation_id(),
        max_entries=max_entries,
        max_bytes=max_bytes,
        max_value_bytes=max_value_bytes,
        lock_timeout=lock_timeout,
    )
    return opened(open_folder, partial(FileCache, clock=clock, max_value_bytes=max_value_bytes))


@contextmanager
def _unavailable(cache: str) -> Generator[None, None, None]:
    try:
        yield
    except OSError as problem:
        raise CacheUnavailableError(cache=cache, reason=reason_of(problem), remedy=remedy_of(problem)) from problem
