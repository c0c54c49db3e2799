"""A guarded cache."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from inventory_es.application.guards.guard import Guard, GuardChain, GuardedPort
from inventory_es.ports import Cache, CacheEntry
from inventory_es.ports.errors import CacheUnavailableError


class GuardedCache:
    """The cache with its calls guarded; each of them may be made again.

    Args:
        cache: what is guarded.
        guards: by whom, the outermost first.
    """

    def __init__(self, cache: Cache, guards: Sequence[Guard]) -> None:
        name = type(cache).__name__
        port = GuardedPort(name, lambda reason, after: CacheUnavailableError(cache=name, reason=reason, retry_after=after))
        self._cache = cache
        self._chain = GuardChain(port, guards)

    async def get(self, key: str, /) -> CacheEntry | None:
        """See :meth:`Cache.get`."""
        return await self._chain.run("get", partial(self._cache.get, key))

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        """See :meth:`Cache.set`."""
        await self._chain.run("set", partial(self._cache.set, key, value, version=version, ttl=ttl))

    async def invalidate(self, *keys: str) -> None:
        """See :meth:`Cache.invalidate`."""
        await self._chain.run("invalidate", partial(self._cache.invalidate, *keys))

    async def clear(self) -> None:
        """See :meth:`Cache.clear`."""
        await self._chain.run("clear", self._cache.clear)

    async def aclose(self) -> None:
        """Close the cache."""
        await self._cache.aclose()
