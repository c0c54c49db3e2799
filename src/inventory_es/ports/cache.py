"""The port of a cache: versioned bytes by key, with a time to live. The loss of all entries changes no answer."""

from datetime import timedelta
from typing import Protocol, runtime_checkable

import attrs


@attrs.frozen
class CacheEntry:
    """A value found in a cache.

    Attributes:
        value: the bytes that were set. An empty value is not a miss.
        version: the version that was set with the value.
    """

    value: bytes
    version: int


@runtime_checkable
class Cache(Protocol):
    """A bounded cache that evicts the least recently used entry first.

    A foreign, broken or expired entry is a miss. Nothing is ever unpickled. Keys are texts of 1 to 1,024 characters, compared character by
    character; no character in a key has a meaning.

    Any number of tasks may call at once. An entry that was overwritten or invalidated before a call began is not its answer. A cancelled
    call takes nothing from the next one. Every method may raise ``CacheUnavailableError`` (an adapter that declares so) and
    ``StoreClosedError`` after :meth:`aclose`.
    """

    async def get(self, key: str, /) -> CacheEntry | None:
        """Return the entry of ``key``, or ``None`` for a miss. Counts as a use."""
        ...

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        """Keep ``value`` for ``ttl`` from now. An older version never overwrites a newer one that is still live; an equal version does.

        A cancelled call leaves the previous entry, the new one or none.

        Args:
            key: of the entry.
            value: bytes; the adapter documents the largest size, 100,000 or more.
            version: 0 or more; kept exactly up to 2^63 - 1.
            ttl: the lifetime of the entry, from a millisecond to years. It ends to the millisecond, and its end is a miss.

        Raises:
            InvalidTtlError: ``ttl`` is not above zero.
            ValueError: a version below 0, a key or value of the wrong type or size. Nothing was changed.
        """
        ...

    async def invalidate(self, *keys: str) -> None:
        """Remove the entries of these keys, any number at once. A missing key is a no-op."""
        ...

    async def clear(self) -> None:
        """Remove every entry."""
        ...

    async def aclose(self) -> None:
        """Release every resource. Idempotent, also at once. A call in flight is answered, or raises ``StoreClosedError``."""
        ...


@runtime_checkable
class ChangeMarks(Protocol):
    """A cache shared with other processes that tells their changes, so that a near copy of an entry ends with the entry."""

    def change_mark(self, key: str, /) -> int | None:
        """Return a number that differs after every change of the entry; ``None`` while changes can't be told.

        It is from 0 to 2^63 - 1, and may differ without a change. The call never waits. The adapter documents how late a change shows.
        A reader asks for the mark before it gets the entry, and keeps both.

        Raises:
            CacheUnavailableError: changes will not be told before somebody acts.
        """
        ...
