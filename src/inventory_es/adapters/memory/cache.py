"""The reference cache, in memory."""

from collections import OrderedDict
from datetime import datetime, timedelta

import attrs
from anyio.abc import AsyncResource

from inventory_es.ports.cache import Cache, CacheEntry
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.toolkit.cache_rules import MAX_VALUE_BYTES, check_entry, check_key, end_of_life
from inventory_es.ports.toolkit.waiting import STATE_LOCK, give_way


@attrs.frozen
class _Kept:
    entry: CacheEntry
    since: datetime
    until: datetime


class MemoryCache(Cache, AsyncResource):
    """A :class:`~inventory_es.ports.Cache` in memory: **the reference** of its port.

    The cache is bounded, and evicts the least recently used entry first. It is never unavailable. An entry from the future is a miss; a
    clock that was set back leaves such entries.

    Args:
        clock: the clock by which entries grow older.
        max_entries: the most entries, 1 or more.
        max_value_bytes: the largest value that the cache takes, in bytes.

    Raises:
        ValueError: a bound below 1.
    """

    serves_threads: bool = True

    def __init__(self, *, clock: Clock, max_entries: int = 1_000, max_value_bytes: int = MAX_VALUE_BYTES) -> None:
        if max_entries < 1 or max_value_bytes < 1:
            msg = "max_entries and max_value_bytes must be 1 or more"
            raise ValueError(msg)
        self._clock = clock
        self._max_entries = max_entries
        self._max_value_bytes = max_value_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._is_closed = False

    async def get(self, key: str, /) -> CacheEntry | None:
        await self._begin()
        check_key(key)
        now = self._clock.now()
        with STATE_LOCK:
            kept = self._kept.get(key)
            if kept is None or not kept.since <= now < kept.until:
                return None
            self._kept.move_to_end(key)
            return kept.entry

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        await self._begin()
        check_entry(key, value, version, max_value_bytes=self._max_value_bytes)
        now = self._clock.now()
        until = end_of_life(now, ttl)
        with STATE_LOCK:
            kept = self._kept.get(key)
            if kept is not None and kept.entry.version > version and now < kept.until:
                return
            self._kept[key] = _Kept(CacheEntry(value, version), now, until)
            self._kept.move_to_end(key)
            if len(self._kept) > self._max_entries:
                self._kept.popitem(last=False)

    async def invalidate(self, *keys: str) -> None:
        await self._begin()
        for key in keys:
            check_key(key)
        with STATE_LOCK:
            for key in keys:
                self._kept.pop(key, None)

    async def clear(self) -> None:
        await self._begin()
        self._kept.clear()

    async def aclose(self) -> None:
        """Forget everything and refuse every further call. Idempotent."""
        self._is_closed = True
        self._kept.clear()
        await give_way()

    async def _begin(self) -> None:
        self._check_open()
        await give_way()
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosedError(store="MemoryCache")
