"""A cache over another: a near one, small and fast, in front of a far one that is shared."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from struct import Struct

import anyio

from inventory_es.ports import Cache, CacheEntry, Clock
from inventory_es.ports.toolkit.cache_rules import MAX_VALUE_BYTES, check_entry, end_of_life

_END = Struct("<q")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ZERO = timedelta(0)


class TieredCache:
    """A :class:`~inventory_es.ports.Cache` made of two; either may be one of these again.

    What the near one has is given; what it lacks comes from the far one, and is kept near for as long as it still lives. The far one
    decides: where it has a newer version, that is what is kept near. What another process changes in the far one is seen here when the
    near entry has ended, or is invalidated.

    An error of either reaches the caller, except that a near hit needs no far one. Values are kept with the end of their life before them,
    so the two are this cache's alone: entries that it did not write are misses, and a value has at most 1 MiB less eight bytes.

    Args:
        near: asked first.
        far: asked for what the near one lacks. Closing closes both.
        clock: what entries grow older by.
    """

    def __init__(self, near: Cache, far: Cache, *, clock: Clock) -> None:
        self._near = near
        self._far = far
        self._clock = clock
        self._forgotten = 0

    async def get(self, key: str, /) -> CacheEntry | None:
        """See :meth:`Cache.get`."""
        entry = self._live(await self._near.get(key))
        return self._live(await self._fetch(key)) if entry is None else entry

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        """See :meth:`Cache.set`."""
        check_entry(key, value, version, max_value_bytes=MAX_VALUE_BYTES - _END.size)
        end = end_of_life(self._clock.now(), ttl)
        await self._far.set(key, _END.pack((end - _EPOCH) // _MICROSECOND) + value, version=version, ttl=ttl)
        await self._fetch(key)

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
            with anyio.CancelScope(shield=True):
                await self._far.aclose()

    async def _fetch(self, key: str) -> CacheEntry | None:
        """What the far one has, kept near, unless something was forgotten while it was asked."""
        forgotten = self._forgotten
        entry = await self._far.get(key)
        if entry is None or forgotten != self._forgotten:
            return entry
        left = self._left(entry)
        if left > _ZERO:
            await self._near.set(key, entry.value, version=entry.version, ttl=left)
            if forgotten != self._forgotten:
                await self._forget(partial(self._near.invalidate, key))
        return entry

    async def _forget(self, forget: Callable[[], Awaitable[None]]) -> None:
        self._forgotten += 1
        with anyio.CancelScope(shield=True):
            await forget()

    def _live(self, entry: CacheEntry | None) -> CacheEntry | None:
        if entry is None or self._left(entry) <= _ZERO:
            return None
        return CacheEntry(entry.value[_END.size :], entry.version)

    def _left(self, entry: CacheEntry) -> timedelta:
        """How long an entry lives on; one that has no end before its value is none of ours, and does not."""
        if len(entry.value) < _END.size:
            return _ZERO
        end: int = _END.unpack_from(entry.value)[0]
        try:
            return _EPOCH + end * _MICROSECOND - self._clock.now()
        except OverflowError:
            return _ZERO
