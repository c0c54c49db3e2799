"""A tiered cache: a near one, small and fast, in front of a far one that is shared."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from struct import Struct

from inventory_es.ports import Cache, CacheEntry, Clock
from inventory_es.ports.cache import ChangeMarks
from inventory_es.ports.toolkit.cache_rules import MAX_VALUE_BYTES, check_entry, end_of_life
from inventory_es.ports.toolkit.waiting import STATE_LOCK, scope, serves_threads

_END = Struct("<q")
_MARK = Struct("<q")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ZERO = timedelta(0)


class TieredCache:
    """A :class:`~inventory_es.ports.Cache` made of two. Either may be a tiered cache too.

    A hit in the near cache is returned. After a miss, the entry comes from the far cache, and is kept near for the rest of its lifetime.
    The far cache decides: its newer version replaces the near one. A change that another process makes there ends the near entry if the
    far cache has :class:`~inventory_es.ports.cache.ChangeMarks`. While it can't tell changes, the near cache is not used. Over another far
    cache, the change is seen when the near entry's time is over.

    An error of either cache reaches the caller; a near hit needs no far cache. Each value is stored behind the end of its lifetime, so
    both caches belong to this one alone. Entries that it did not write are misses, and a value has at most 1 MiB less 16 bytes.

    Args:
        near: read first.
        far: read after a near miss. Closing closes both.
        clock: measures the age of entries.
    """

    serves_threads: bool = False

    def __init__(self, near: Cache, far: Cache, *, clock: Clock) -> None:
        self._near = near
        self._far = far
        self._clock = clock
        self._forgotten = 0
        self.serves_threads = serves_threads(near) and serves_threads(far)

    async def get(self, key: str, /) -> CacheEntry | None:
        """See :meth:`Cache.get`."""
        mark = self._mark(key)
        kept = None if mark is None else await self._near.get(key)
        if kept is not None and kept.value[: _MARK.size] == _MARK.pack(mark) and (entry := self._live(kept, _MARK.size)) is not None:
            return entry
        return self._live(await self._fetch(key, mark))

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        """See :meth:`Cache.set`."""
        check_entry(key, value, version, max_value_bytes=MAX_VALUE_BYTES - _END.size - _MARK.size)
        end = end_of_life(self._clock.now(), ttl)
        await self._far.set(key, _END.pack((end - _EPOCH) // _MICROSECOND) + value, version=version, ttl=ttl)
        await self._fetch(key, self._mark(key))

    async def invalidate(self, *keys: str) -> None:
        """See :meth:`Cache.invalidate`."""
        try:
            await self._far.invalidate(*keys)
        finally:
            await self._forget(partial(self._near.invalidate, *keys))

    async def clear(self) -> None:
        """See :meth:`Cache.clear`."""
        try:
            await self._far.clear()
        finally:
            await self._forget(self._near.clear)

    async def aclose(self) -> None:
        """See :meth:`Cache.aclose`."""
        try:
            await self._near.aclose()
        finally:
            with scope(shield=True):
                await self._far.aclose()

    def _mark(self, key: str) -> int | None:
        return self._far.change_mark(key) if isinstance(self._far, ChangeMarks) else 0

    async def _fetch(self, key: str, mark: int | None) -> CacheEntry | None:
        """Return the far entry, and keep it near with its mark, unless an invalidation came in between."""
        forgotten = self._forgotten
        entry = await self._far.get(key)
        if entry is None or mark is None or forgotten != self._forgotten:
            return entry
        left = self._left(entry.value)
        if left > _ZERO:
            await self._near.set(key, _MARK.pack(mark) + entry.value, version=entry.version, ttl=left)
            if forgotten != self._forgotten:
                await self._forget(partial(self._near.invalidate, key))
        return entry

    async def _forget(self, forget: Callable[[], Awaitable[None]]) -> None:
        with STATE_LOCK:
            self._forgotten += 1
        with scope(shield=True):
            await forget()

    def _live(self, entry: CacheEntry | None, start: int = 0) -> CacheEntry | None:
        """Return the entry whose end and value begin at ``start``; ``None`` after its end."""
        if entry is None or self._left(entry.value[start:]) <= _ZERO:
            return None
        return CacheEntry(entry.value[start + _END.size :], entry.version)

    def _left(self, value: bytes) -> timedelta:
        """Return the rest of an entry's lifetime; zero if this cache did not write the entry."""
        if len(value) < _END.size:
            return _ZERO
        end: int = _END.unpack_from(value)[0]
        try:
            return _EPOCH + end * _MICROSECOND - self._clock.now()
        except OverflowError:
            return _ZERO
