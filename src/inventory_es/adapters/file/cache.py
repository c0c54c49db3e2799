"""The file cache for an event loop: a thin layer over :class:`~inventory_es.adapters.file.cache_engine.CacheFolder`."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial

import anyio

from inventory_es.adapters.file.cache_engine import CacheFolder
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, check_lock_timeout
from inventory_es.adapters.file.operating_system import OperatingSystem, new_creation_id
from inventory_es.ports.cache import Cache, CacheEntry
from inventory_es.ports.clock import Clock
from inventory_es.ports.file_system import FileSystem
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, run_in_thread
from inventory_es.ports.toolkit.cache_rules import MAX_VALUE_BYTES, check_entry, check_key, end_of_life
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path

_MAX_CALLS = 8


class FileCache(Cache):
    """A cache in a folder, for Linux and macOS. Opened by :func:`open_file_cache`.

    Entries survive a restart, and several processes may open one folder: what one sets the others get, and the bounds hold over all of
    them. Which entry was used least recently is known of this process's uses alone. An entry from the future, which a clock that was
    set back leaves behind, is a miss. While the file system refuses, every call is ``CacheUnavailableError``.
    """

    def __init__(self, engine: CacheFolder, *, clock: Clock, max_value_bytes: int) -> None:
        self._engine = engine
        self._clock = clock
        self._max_value_bytes = max_value_bytes
        self._calls = BlockingCalls(anyio.CapacityLimiter(_MAX_CALLS), name=engine.name)

    async def get(self, key: str, /) -> CacheEntry | None:
        """The entry of ``key``, or ``None`` for a miss. Counts as a use."""
        check_key(key)
        found = await self._calls.run(self._engine.get, key)
        if found is None:
            return None
        header, entry = found
        if not header.since <= self._clock.now() < header.until:
            return None
        self._engine.used(key)
        return entry

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        """Keep ``value`` for ``ttl`` from now, unless a newer version is still live. See :meth:`inventory_es.ports.Cache.set`."""
        check_entry(key, value, version, max_value_bytes=self._max_value_bytes)
        now = self._clock.now()
        await self._calls.run(self._engine.set, key, value, version=version, since=now, until=end_of_life(now, ttl))

    async def invalidate(self, *keys: str) -> None:
        """Forget these keys; a missing one is fine."""
        for key in keys:
            check_key(key)
        await self._calls.run(self._engine.invalidate, keys)

    async def clear(self) -> None:
        """Forget everything."""
        await self._calls.run(self._engine.clear)

    async def aclose(self) -> None:
        """Finish what is in flight and release the folder, whose entries stay. Closing twice is fine."""
        await self._calls.close(self._engine.close)


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
        clock: what entries grow older by.
        max_entries: the most entries, 1 or more.
        max_bytes: the most bytes of all entries, with about 200 for each beside its key and value.
        max_value_bytes: the largest value that it takes, in bytes, 1 or more; at most a half of ``max_bytes``.
        file_system: the operating system's, unless given.
        lock_timeout: the longest wait for a lock that another process holds, in seconds, 0 or more.

    Raises:
        ValueError: a bound that can't be.
        IncompatibleStoreError: the folder holds something else. Nothing was changed.
        CacheUnavailableError: the file system refused something, or another process kept a lock.
    """
    check_lock_timeout(lock_timeout)
    if max_entries < 1 or max_value_bytes < 1 or max_bytes < 2 * max_value_bytes:
        msg = "max_entries and max_value_bytes must be 1 or more, and max_bytes at least twice max_value_bytes"
        raise ValueError(msg)
    open_engine = partial(
        CacheFolder.open,
        absolute_path(path),
        file_system=OperatingSystem() if file_system is None else file_system,
        creation_id=new_creation_id(),
        max_entries=max_entries,
        max_bytes=max_bytes,
        max_value_bytes=max_value_bytes,
        lock_timeout=lock_timeout,
    )
    return _opened(open_engine, partial(FileCache, clock=clock, max_value_bytes=max_value_bytes))


@asynccontextmanager
async def _opened(open_engine: Callable[[], CacheFolder], make: Callable[[CacheFolder], FileCache]) -> AsyncGenerator[FileCache, None]:
    cache = make(await run_in_thread(open_engine))
    try:
        yield cache
    finally:
        await cache.aclose()
