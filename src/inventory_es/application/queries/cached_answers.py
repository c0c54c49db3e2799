"""Answers kept in a cache: computed once at a time, never older than their time to live, never going back.

The stored form proves that bytes from the cache are the answer of that key, and not too old::

    checksum (4) | computed at, seconds since 1970 (8) | position (8) | length of the key (2) | key | the answer as JSON

A cache may lose, delay and mix up its entries, and releases that know other fields may share it. Bytes that do not read back as the
answer of the key are a miss.
"""

import struct
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Generic, Literal, TypeVar, cast
from zlib import crc32

import msgspec

from inventory_es.application.following.subscription import EventFilter, Subscription
from inventory_es.application.observers import CacheFailed, CacheRead, Observers
from inventory_es.domain.errors import FaultError, InventoryError
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Cache, Clock, EventFeed
from inventory_es.ports.toolkit.adapter_name import adapter_name
from inventory_es.ports.toolkit.waiting import STATE_LOCK, Event, new_event

T = TypeVar("T")

DEFAULT_TTL = timedelta(seconds=30)

_CHECKSUM = struct.Struct("<I")
_HEAD = struct.Struct("<dQH")
_BEGIN = _CHECKSUM.size + _HEAD.size


class AnswerForm(Generic[T]):
    """The stored form of answers of one type.

    Args:
        kind: the type.
    """

    def __init__(self, kind: Any) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(kind).decode

    def seal(self, key: str, answer: T, position: int, at: datetime) -> bytes:
        """Return the bytes to cache.

        Args:
            key: of the entry.
            answer: the computed answer.
            position: the position that it is as of.
            at: time of the computation, UTC.
        """
        name = key.encode()
        body = _HEAD.pack(at.timestamp(), position, len(name)) + name + self._encode(answer)
        return _CHECKSUM.pack(crc32(body)) + body

    def unseal(self, key: str, sealed: bytes, *, now: datetime, ttl: timedelta) -> tuple[T, int] | None:
        """Return the answer and its position; ``None`` where the bytes are no answer of this key from within ``ttl`` before now."""
        try:
            (checksum,) = _CHECKSUM.unpack_from(sealed)
            computed_at, position, length = _HEAD.unpack_from(sealed, _CHECKSUM.size)
            body = memoryview(sealed)
            if checksum != crc32(body[_CHECKSUM.size :]) or body[_BEGIN : _BEGIN + length] != key.encode():
                return None
            if not 0 <= now.timestamp() - computed_at < ttl.total_seconds():
                return None
            return self._decode(body[_BEGIN + length :]), position
        except (struct.error, msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
            return None


class CachedAnswers:
    """Answers of queries in a cache that may fail, forget and lag, in one process or shared by many.

    An answer is as of a position. The newest position given for a key is its floor. An older answer from the cache is a miss, so that
    no reader in this process sees time run backwards. An event raises the floor too. Without a working cache the answer is computed, and
    observers are notified. An answer as of a position that the store does not have is from a store that was replaced. It is removed, so
    that it does not win over newer ones.

    Args:
        cache: keeps the answers.
        clock: measures their age.
        ttl: age at which they are no longer given, above 0.
        max_floors: the most floors kept by key. Beyond it, the one that was not touched for longest becomes a floor of every key.
        observers: objects with ``cache_failed(record)``.
        head: returns the end of the store's feed, to check answers from beyond the known end. ``None`` without a feed.

    Raises:
        ValueError: ``ttl`` or ``max_floors`` out of range.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        clock: Clock,
        ttl: timedelta = DEFAULT_TTL,
        max_floors: int = 10_000,
        observers: Observers | None = None,
        head: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        if ttl <= timedelta(0) or max_floors < 1:
            msg = "ttl must be above zero, max_floors 1 or more"
            raise ValueError(msg)
        self._cache = cache
        self._clock = clock
        self._ttl = ttl
        self._max_floors = max_floors
        self._observers = Observers() if observers is None else observers
        self._flights: SingleFlight[tuple[Any, int]] = SingleFlight()
        self._floors: OrderedDict[str, int] = OrderedDict()
        self._floor = 0
        self._head = head
        self._known_head = 0

    async def answer(
        self,
        key: str,
        form: AnswerForm[T],
        compute: Callable[[], Awaitable[tuple[T, int]]],
        *,
        least: int = 0,
        arrive: Callable[[], Awaitable[object]] | None = None,
    ) -> T:
        """Return the answer of this key, from the cache or computed.

        Args:
            key: of the answer.
            form: its stored form.
            compute: returns the answer and its position.
            least: lower bound of the answer's position.
            arrive: waits until ``compute`` can return such an answer; not called where the cache has one.

        Raises:
            Exception: whatever ``arrive`` and ``compute`` raise.
        """
        find = partial(self._find, key, form, compute)
        answer, position = await self._flights.run(key, find)
        if position < least:
            if arrive is not None:
                await arrive()
            self._raise(key, least)
            self._flights.forget(key)
            answer, position = await self._flights.run(key, find)
        self._raise(key, position)
        return cast("T", answer)

    async def invalidate(self, positions: Mapping[str, int]) -> None:
        """Give no answer from before these events.

        Args:
            positions: by key, the position of the event that changes its answer.
        """
        for key, position in positions.items():
            self._raise(key, position)
            self._flights.forget(key)
        await self._remove(*positions)

    def forget(self, position: int) -> None:
        """Give no answer from before this position, of any key."""
        with STATE_LOCK:
            self._floor = max(self._floor, position)

    async def _find(self, key: str, form: AnswerForm[T], compute: Callable[[], Awaitable[tuple[T, int]]]) -> tuple[T, int]:
        found = await self._look(key, form)
        is_hit = found is not None and found[1] >= self._floor_of(key) and await self._is_in_the_store(key, found[1])
        if self._observers.of_cache_reads:
            self._observers.cache_read(CacheRead(cache=adapter_name(self._cache), result="hit" if is_hit else "miss"))
        if found is not None and is_hit:
            return found
        began = self._clock.now()
        answer, position = await compute()
        if position >= self._floor_of(key):
            try:
                await self._cache.set(key, form.seal(key, answer, position, began), version=position, ttl=self._ttl)
            except Exception as problem:  # noqa: BLE001  # a query goes on without a cache, whatever it raises
                self._failed("set", problem)
        return answer, position

    async def _is_in_the_store(self, key: str, position: int) -> bool:
        if self._head is None or position <= self._known_head:
            return True
        try:
            self._known_head = await self._head()
        except FaultError:  # unknown now: the answer is computed
            return False
        if position > self._known_head:
            await self._remove(key)
        return position <= self._known_head

    async def _remove(self, *keys: str) -> None:
        try:
            await self._cache.invalidate(*keys)
        except Exception as problem:  # noqa: BLE001  # an answer below its floor or beyond the store is not given anyway
            self._failed("invalidate", problem)

    async def _look(self, key: str, form: AnswerForm[T]) -> tuple[T, int] | None:
        try:
            entry = await self._cache.get(key)
        except Exception as problem:  # noqa: BLE001  # a query goes on without a cache, whatever it raises
            self._failed("get", problem)
            return None
        return None if entry is None else form.unseal(key, entry.value, now=self._clock.now(), ttl=self._ttl)

    def _floor_of(self, key: str) -> int:
        with STATE_LOCK:
            return max(self._floors.get(key, 0), self._floor)

    def _raise(self, key: str, position: int) -> None:
        floors = self._floors
        with STATE_LOCK:
            floors[key] = max(position, floors.pop(key, 0))
            self._known_head = max(self._known_head, position)
            if len(floors) > self._max_floors:
                self._floor = max(self._floor, floors.popitem(last=False)[1])

    def _failed(self, operation: Literal["get", "set", "invalidate"], problem: Exception) -> None:
        error = problem.code if isinstance(problem, InventoryError) else type(problem).__name__
        self._observers.cache_failed(CacheFailed(cache=adapter_name(self._cache), operation=operation, error=error))


class AnswerInvalidation:
    """Invalidation of cached answers by the events of the feed, from its end. Every process with a cache runs one.

    Without it an answer is given until its time to live is over.

    Args:
        feed: of the event store.
        answers: the answers to invalidate.
    """

    def __init__(self, feed: EventFeed, answers: CachedAnswers) -> None:
        self._answers = answers
        self._subscription = Subscription(feed, after=None, wanted=EventFilter(categories={INVENTORY_CATEGORY}))

    async def run(self) -> None:
        """Follow until :meth:`stop`.

        Raises:
            CorruptStoreError, StoreClosedError: as the store.
        """
        async with self._subscription as batches:
            self._answers.forget(batches.position)
            async for batch in batches:
                await self._answers.invalidate({key: event.position for event in batch.events for key in keys_changed_by(event.stream)})

    def stop(self) -> None:
        """End :meth:`run`. Idempotent."""
        self._subscription.stop()


class _Flight(Generic[T]):
    __slots__ = ("landed", "problem", "result")

    def __init__(self) -> None:
        self.landed: Event | None = None  # made by the first that waits: most computations have one caller
        self.result: tuple[T] | None = None
        self.problem: Exception | None = None


class SingleFlight(Generic[T]):
    """At most one computation per key at a time. Any number of tasks of one event loop, or of threads, may call at once.

    The first caller computes, in its own task; the others wait. If it fails, they fail alike, and the next caller computes again. If it
    is cancelled, one of the waiting callers computes in its place. No background task runs.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    async def run(self, key: str, compute: Callable[[], Awaitable[T]]) -> T:
        """Return the result of this key's computation.

        Raises:
            Exception: whatever ``compute`` raises.
        """
        while True:
            own = _Flight[T]()
            try:
                flight, landed = self._join(key, own)
                if landed is None:
                    return await self._lead(own, compute)
            finally:
                try:
                    self._land(key, own)
                except BaseException:  # of a signal, in the middle of it
                    self._land(key, own)
                    raise
            await landed.wait()
            if flight.result is not None:
                return flight.result[0]
            if flight.problem is not None:
                raise _own_copy(flight.problem)

    def forget(self, key: str) -> None:
        """Let later callers compute again, also while a computation is in flight."""
        self._flights.pop(key, None)

    def _join(self, key: str, own: _Flight[T]) -> tuple[_Flight[T], Event | None]:
        """Return the flight of this key and an event to wait for; or the own one and ``None``, where the caller leads."""
        with STATE_LOCK:
            flight = self._flights.setdefault(key, own)
            if flight is own:
                return own, None
            flight.landed = flight.landed or new_event()
            return flight, flight.landed

    async def _lead(self, own: _Flight[T], compute: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await compute()
        except Exception as problem:
            own.problem = problem
            raise
        own.result = (result,)
        return result

    def _land(self, key: str, own: _Flight[T]) -> None:
        with STATE_LOCK:
            if self._flights.get(key) is own:
                del self._flights[key]
            if own.landed is not None:
                own.landed.set()


def _own_copy(problem: Exception) -> Exception:
    """Return a copy, since an error raised in many tasks must not collect all their tracebacks."""
    if not isinstance(problem, InventoryError):
        return problem
    own = copy(problem)
    own.__cause__ = problem
    return own


@lru_cache(maxsize=8_192)
def stock_key(product_id: str, store_id: str) -> str:
    """Return ``stock:{product_id}:{store_id}``, with ``%`` and ``:`` inside the ids percent-encoded."""
    return f"stock:{_quoted(product_id)}:{_quoted(store_id)}"


@lru_cache(maxsize=8_192)
def product_inventory_key(product_id: str) -> str:
    """Return ``product_inventory:{product_id}``, with ``%`` and ``:`` inside the id percent-encoded."""
    return f"product_inventory:{_quoted(product_id)}"


def keys_changed_by(stream: StreamId) -> tuple[str, ...]:
    """Return the keys of the answers that an event of this stream changes."""
    if stream.category != INVENTORY_CATEGORY:
        return ()
    product_id, store_id = stream.parts
    return stock_key(product_id, store_id), product_inventory_key(product_id)


def _quoted(part: str) -> str:
    return part.replace("%", "%25").replace(":", "%3a")
