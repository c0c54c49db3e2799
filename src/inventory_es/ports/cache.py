"""The port of a cache: bytes by key, versioned, with a time to live. Losing all of it changes no answer."""

from datetime import timedelta
from typing import Protocol, runtime_checkable

import attrs


@attrs.frozen
class CacheEntry:
    """A value found in a cache.

    Attributes:
        value: the bytes that were set; perhaps empty, which differs from a miss.
        version: as given when it was set.
    """

    value: bytes
    version: int


@runtime_checkable
class Cache(Protocol):
    """Bounded, least recently used out first. A foreign, broken or expired entry is a miss. Nothing is ever unpickled.

    Keys are texts of 1 to 1,024 characters, equal only if they are equal character by character: no character in a key has a meaning.
    Any number of tasks may call at once; what was overwritten or forgotten before a call began is not its answer. A cancelled call
    takes nothing from the next one. Every method may raise ``CacheUnavailableError`` (an adapter that declares so)
    and ``StoreClosedError`` after :meth:`aclose`.
    """

    async def get(self, key: str, /) -> CacheEntry | None:
        """The entry of ``key``, or ``None`` for a miss. Counts as a use."""
        ...

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        """Keep ``value`` for ``ttl`` from now. An older version never overwrites a newer one that is still live; an equal one does.

        A set that is cancelled leaves the entry before it, the new one or none.

        Args:
            key: of the entry.
            value: bytes; an adapter says how many it takes, 100,000 or more.
            version: 0 or more; up to 2^63 - 1 it is kept exactly.
            ttl: how long the entry lives, from a millisecond to years; it is over at its end, to the millisecond.

        Raises:
            InvalidTtlError: ``ttl`` is not above zero.
            ValueError: a version below 0, a key or value of the wrong type or size. Nothing was changed.
        """
        ...

    async def invalidate(self, *keys: str) -> None:
        """Forget these keys, any number at once; a missing one is fine."""
        ...

    async def clear(self) -> None:
        """Forget everything."""
        ...

    async def aclose(self) -> None:
        """Release every resource. Closing twice is fine, also at once. A call in flight is answered, or ends in ``StoreClosedError``."""
        ...
