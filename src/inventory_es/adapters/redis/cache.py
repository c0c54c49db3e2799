"""The cache on Redis or Valkey: one string per entry, one round trip per call.

An entry is one string, so that each call is atomic and replaces a key of another type too. Nothing ever spans two keys, so a cluster
serves it as well::

    IES1 0000000000000000007 …value…

The keys of a cache are ``PREFIX:c:k:KEY``, and ``PREFIX:c:h:SHA-256`` for a key of more than 200 bytes.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import islice
from typing import TypeVar

import anyio
import redis

from inventory_es.adapters.redis.connection import FAILURES, LOST, ChangeNotices, Connection, RedisPlace, Script, reason_of, remedy_of
from inventory_es.ports.cache import Cache, CacheEntry
from inventory_es.ports.errors import CacheUnavailableError
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, check_wanted
from inventory_es.ports.toolkit.cache_rules import MAX_VALUE_BYTES, check_entry, check_key, end_of_life

T = TypeVar("T")

_MAX_CALLS = 8
_TIMEOUT = 0.05
_PAGE = 500
_MAX_KEY_BYTES = 200
_LARGEST_VERSION = (1 << 63) - 1
_HEAD = re.compile(rb"IES1 ([0-9]{19}) ")
_HEAD_BYTES = 25
_TRACKING = "allow CLIENT TRACKING and the channel __redis__:invalidate (Redis 6 or newer), or use the cache without a near one"
_MILLISECOND = timedelta(milliseconds=1)
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)

_SET = Script("""\
local there = redis.pcall('GETRANGE', KEYS[1], 0, 24)
if type(there) == 'string' and #there == 25 and string.find(there, '^IES1 %d+ $') and there > string.sub(ARGV[1], 1, 25) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")


class RedisCache(Cache):
    """A cache on a Redis or Valkey server, or on a cluster of them. Opened by :func:`open_redis_cache`.

    Entries survive the process, and any number of processes share them. The server's clock ends them, and its ``maxmemory-policy``
    decides which ones go first: ``allkeys-lru`` on a server of its own. While the server is away, refuses or is late, every call is
    ``CacheUnavailableError``, and none is repeated. A call that waited while another one lost its answer is not sent. A ``set`` without
    an answer may arrive later, behind an ``invalidate``.
    """

    def __init__(self, place: RedisPlace, *, max_value_bytes: int = MAX_VALUE_BYTES) -> None:
        if max_value_bytes < 1:
            msg = "max_value_bytes must be 1 or more"
            raise ValueError(msg)
        self._name = f"Redis cache {place}"
        self._prefix = f"{place.prefix}:c:"
        self._max_value_bytes = max_value_bytes
        self._connection = Connection(place.connect)
        self._calls = BlockingCalls(anyio.CapacityLimiter(_MAX_CALLS), name=self._name)
        self._losses = 0
        self._notices = None if place.is_cluster else ChangeNotices(lambda: self._connection.client, self._prefix)

    async def get(self, key: str, /) -> CacheEntry | None:
        """Return the entry of ``key``, or ``None`` for a miss."""
        check_key(key)
        return await self._run(partial(self._get, self._key(key)))

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        """Keep ``value`` for ``ttl`` from now, unless a newer version is still live. See :meth:`inventory_es.ports.Cache.set`.

        Raises:
            ValueError: as the port, and for a version above 2^63 - 1.
        """
        check_entry(key, value, version, max_value_bytes=self._max_value_bytes)
        if version > _LARGEST_VERSION:
            msg = f"the version of a cache value is at most {_LARGEST_VERSION}"
            raise ValueError(msg)
        end_of_life(_ANY_TIME, ttl)  # its checks alone: the end itself is by the server's clock
        entry = b"IES1 %019d %b" % (version, value)
        await self._run(partial(self._connection.run, _SET, [self._key(key)], entry, max(1, ttl // _MILLISECOND)))

    async def invalidate(self, *keys: str) -> None:
        """Remove the entries of these keys; a missing one is a no-op."""
        for key in keys:
            check_key(key)
        if keys:
            await self._run(partial(self._remove, [self._key(key) for key in keys]))

    async def clear(self) -> None:
        """Remove every entry of this prefix, page by page. An entry that is set meanwhile may stay."""
        await self._run(self._clear)

    def change_mark(self, key: str, /) -> int | None:
        """Return the mark of ``key``, from the server's notices of changes. See :class:`~inventory_es.ports.cache.ChangeMarks`.

        A change ends the mark within a second. A cluster gives none: its nodes tell only their own changes.

        Raises:
            CacheUnavailableError: the server refuses to tell changes.
        """
        mark = None if self._notices is None else self._notices.mark(self._key(key))
        if mark is None and self._notices is not None and (refusal := self._notices.refusal) is not None:
            raise CacheUnavailableError(cache=self._name, reason=reason_of(refusal), remedy=_TRACKING)
        return mark

    async def aclose(self) -> None:
        """Finish the calls in flight and close the connections. The entries stay. Idempotent."""
        await self._calls.close(self._close)

    def _close(self) -> None:
        if self._notices is not None:
            self._notices.close()
        self._connection.close()

    def _key(self, key: str) -> str:
        name = key.encode()
        return f"{self._prefix}k:{key}" if len(name) <= _MAX_KEY_BYTES else f"{self._prefix}h:{sha256(name).hexdigest()}"

    def _get(self, key: str) -> CacheEntry | None:
        try:
            data = self._connection.client.execute_command("GET", key)
        except redis.ResponseError as problem:
            if str(problem).startswith("WRONGTYPE"):
                return None
            raise
        head = None if data is None else _HEAD.match(data)
        if head is None or int(head[1]) > _LARGEST_VERSION:
            return None
        return CacheEntry(data[_HEAD_BYTES:], int(head[1]))

    def _remove(self, keys: Sequence[str]) -> None:
        for start in range(0, len(keys), _PAGE):
            check_wanted()
            pipeline = self._connection.client.pipeline(transaction=False)
            for key in keys[start : start + _PAGE]:  # one command per key: those of a cluster are on several servers
                pipeline.execute_command("UNLINK", key)
            pipeline.execute()

    def _clear(self) -> None:
        keys = self._connection.client.scan_iter(match=f"{self._prefix}*", count=_PAGE)
        while page := list(islice(keys, _PAGE)):
            self._remove(page)

    async def _run(self, function: Callable[[], T]) -> T:
        losses = self._losses
        await self._calls.settle()  # a write that a cancelled caller left behind must not land after this call
        return await self._calls.run(self._call, function, losses)

    def _call(self, function: Callable[[], T], losses: int) -> T:
        if self._losses != losses:  # a late server would make the callers that wait for a thread wait once more each
            raise CacheUnavailableError(cache=self._name, reason="another call had no answer while this one waited")
        try:
            return function()
        except FAILURES as problem:
            self._losses += isinstance(problem, LOST)
            raise CacheUnavailableError(cache=self._name, reason=reason_of(problem), remedy=remedy_of(problem)) from problem


@asynccontextmanager
async def open_redis_cache(url: str, /, *, timeout: float = _TIMEOUT, max_value_bytes: int = MAX_VALUE_BYTES) -> AsyncIterator[RedisCache]:
    """Give a cache on the server of a URL; it closes with the block. The first call connects, so a server may come later.

    Args:
        url: ``redis://[user:password@]host[:port][/database]``, or ``rediss://…`` for TLS. Options behind ``?`` are ``prefix`` (of every
            key, ``inventory_es`` by default: one per event store), ``timeout``, ``cluster=yes`` and ``ca=FILE``.
        timeout: the longest wait for one answer, in seconds, above 0. A new connection waits for some answers more.
        max_value_bytes: the largest value that it takes, in bytes, 1 or more.

    Raises:
        ValueError: no such URL, an unknown option, or a bound out of range. The message has no password.
    """
    cache = RedisCache(RedisPlace.parse(url, timeout=timeout), max_value_bytes=max_value_bytes)
    try:
        yield cache
    finally:
        await cache.aclose()


def cache_at(url: str, /) -> Callable[[], Awaitable[RedisCache]]:
    """Return a function that opens the cache of a URL, as :func:`open_redis_cache`; the caller closes it.

    Raises:
        ValueError: no such URL, or an unknown option. The message has no password.
    """
    place = RedisPlace.parse(url, timeout=_TIMEOUT)

    async def open_cache() -> RedisCache:
        return RedisCache(place)

    return open_cache
