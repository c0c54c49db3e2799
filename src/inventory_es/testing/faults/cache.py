"""A cache that fails, forgets and lags, as real caches do."""

from datetime import timedelta
from functools import partial

from inventory_es.ports import Cache, CacheEntry
from inventory_es.ports.errors import CacheUnavailableError
from inventory_es.testing.faults.faults import Faults


class FaultyCache:
    """A cache whose calls fail as ``faults`` says.

    ``fail_before`` and ``fail_after`` are ``CacheUnavailableError``. A lost ``get`` is a miss. A lost ``set``, ``invalidate`` or ``clear``
    has no effect and raises nothing, so the cache is stale until its entries expire.

    Args:
        cache: the cache to wrap.
        faults: decides which call fails, and how.
    """

    def __init__(self, cache: Cache, faults: Faults) -> None:
        self.__wrapped__ = self._cache = cache
        self._faults = faults

    async def get(self, key: str, /) -> CacheEntry | None:
        """Return an entry, or fail."""
        return await self._faults.run("get", partial(self._cache.get, key), unavailable=_away(), unknown=_away(), lost=lambda: None)

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        """Keep a value, or fail."""
        call = partial(self._cache.set, key, value, version=version, ttl=ttl)
        await self._faults.run("set", call, unavailable=_away(), unknown=_away(), lost=lambda: None)

    async def invalidate(self, *keys: str) -> None:
        """Forget keys, or fail."""
        await self._faults.run(
            "invalidate", partial(self._cache.invalidate, *keys), unavailable=_away(), unknown=_away(), lost=lambda: None
        )

    async def clear(self) -> None:
        """Forget everything, or fail."""
        await self._faults.run("clear", self._cache.clear, unavailable=_away(), unknown=_away(), lost=lambda: None)

    async def aclose(self) -> None:
        """Close the wrapped cache."""
        await self._cache.aclose()


def _away() -> CacheUnavailableError:
    return CacheUnavailableError(cache="FaultyCache", reason="an injected fault")
