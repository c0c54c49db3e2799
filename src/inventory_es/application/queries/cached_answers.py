"""Answers kept in a cache: computed once at a time, never older than their time to live, never going back."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar, cast

from inventory_es.application.observers import CacheFailed, Observers
from inventory_es.application.queries.answer_form import AnswerForm
from inventory_es.application.queries.single_flight import SingleFlight
from inventory_es.domain.errors import FaultError, InventoryError
from inventory_es.ports import Cache, Clock

T = TypeVar("T")

DEFAULT_TTL = timedelta(seconds=30)


class AnswerCache:
    """Stands between queries and a cache that may fail, forget and lag, in one process or shared by many.

    An answer is as of a position. Per key, what was given here is a floor: an older answer from the cache is a miss, so that nobody in
    this process sees time run backwards. An event raises the floor too. A cache that fails is as good as none: the answer is computed,
    and observers are told. An answer as of a position that the store does not have is one of a store that was replaced: it is taken away,
    so that it does not win over newer ones.

    Args:
        cache: where answers are kept.
        clock: what they grow older by.
        ttl: after how long they are no longer given, above 0.
        max_floors: how many floors are kept by key; beyond it, the one that was not touched for longest becomes one for all.
        observers: objects with ``cache_failed(record)``.
        head: tells where the feed of the store ends; asked for answers from beyond what is known of it. ``None``: nobody can tell.

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
        """The answer of this key, from the cache or computed.

        Args:
            key: of the answer.
            form: how it is kept.
            compute: gives the answer and its position.
            least: only an answer as of this position or later.
            arrive: waits until ``compute`` can give such an answer; not called where the cache has one.

        Raises:
            Exception: what ``arrive`` and ``compute`` raise.
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
            positions: by key, where the event is that changes its answer.
        """
        for key, position in positions.items():
            self._raise(key, position)
            self._flights.forget(key)
        await self._take_away(*positions)

    def forget(self, position: int) -> None:
        """Give no answer from before this position, of any key."""
        self._floor = max(self._floor, position)

    async def _find(self, key: str, form: AnswerForm[T], compute: Callable[[], Awaitable[tuple[T, int]]]) -> tuple[T, int]:
        found = await self._look(key, form)
        if found is not None and found[1] >= self._floor_of(key) and await self._is_in_the_store(key, found[1]):
            return found
        began = self._clock.now()
        answer, position = await compute()
        if position >= self._floor_of(key):
            try:
                await self._cache.set(key, form.seal(key, answer, position, began), version=position, ttl=self._ttl)
            except Exception as problem:  # noqa: BLE001  # whatever ails a cache, a query goes on without it
                self._failed("set", problem)
        return answer, position

    async def _is_in_the_store(self, key: str, position: int) -> bool:
        if self._head is None or position <= self._known_head:
            return True
        try:
            self._known_head = await self._head()
        except FaultError:  # it can't be told now: the answer is computed, and whoever can't compute it says why
            return False
        if position > self._known_head:
            await self._take_away(key)
        return position <= self._known_head

    async def _take_away(self, *keys: str) -> None:
        try:
            await self._cache.invalidate(*keys)
        except Exception as problem:  # noqa: BLE001  # what is older than a floor or beyond the store is not given anyway
            self._failed("invalidate", problem)

    async def _look(self, key: str, form: AnswerForm[T]) -> tuple[T, int] | None:
        try:
            entry = await self._cache.get(key)
        except Exception as problem:  # noqa: BLE001  # whatever ails a cache, a query goes on without it
            self._failed("get", problem)
            return None
        return None if entry is None else form.unseal(key, entry.value, now=self._clock.now(), ttl=self._ttl)

    def _floor_of(self, key: str) -> int:
        return max(self._floors.get(key, 0), self._floor)

    def _raise(self, key: str, position: int) -> None:
        floors = self._floors
        floors[key] = max(position, floors.pop(key, 0))
        self._known_head = max(self._known_head, position)
        if len(floors) > self._max_floors:
            self._floor = max(self._floor, floors.popitem(last=False)[1])

    def _failed(self, operation: Literal["get", "set", "invalidate"], problem: Exception) -> None:
        error = problem.code if isinstance(problem, InventoryError) else type(problem).__name__
        self._observers.cache_failed(CacheFailed(cache=type(self._cache).__name__, operation=operation, error=error))
