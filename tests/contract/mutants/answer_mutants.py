"""Layers between queries and their cache with one mistake each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio

from inventory_es.application.queries.cached_answers import CachedAnswers, SingleFlight, _Flight
from inventory_es.ports import Cache, Clock
from inventory_es.testing import CacheContract, ManualClock, Site
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_cache import PlainCache


class AnswersMutants(CacheContract):
    capacity: int | None = 100
    adapter: type[CachedAnswers]

    @asynccontextmanager
    async def open_cache(self, site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
        yield PlainCache(clock, capacity=100)

    def answers(self, cache: Cache, clock: Clock) -> CachedAnswers:
        return self.adapter(cache, clock=clock)


class Answers(CachedAnswers):
    """An answer cache whose flights can be replaced."""

    flights: type[SingleFlight[Any]] = SingleFlight

    def __init__(self, cache: Cache, *, clock: Clock) -> None:
        super().__init__(cache, clock=clock)
        self._flights = self.flights()


class _EachForItself(SingleFlight[Any]):
    async def run(self, key: str, compute: Callable[[], Awaitable[Any]]) -> Any:
        return await compute()


class _KeepsFailures(SingleFlight[Any]):
    def __init__(self) -> None:
        super().__init__()
        self.failed: dict[str, Exception] = {}

    async def run(self, key: str, compute: Callable[[], Awaitable[Any]]) -> Any:
        if key in self.failed:
            raise self.failed[key]
        try:
            return await super().run(key, compute)
        except ValueError as problem:
            self.failed[key] = problem
            raise


class _OneForAll(SingleFlight[Any]):
    async def run(self, key: str, compute: Callable[[], Awaitable[Any]]) -> Any:
        return await super().run("any", compute)


class _WakesNobody(SingleFlight[Any]):
    def _land(self, key: str, own: _Flight[Any]) -> None:
        if own.result is not None:
            super()._land(key, own)
        elif self._flights.get(key) is own:
            del self._flights[key]


class _FailsEverybody(SingleFlight[Any]):
    async def _lead(self, own: _Flight[Any], compute: Callable[[], Awaitable[Any]]) -> Any:
        async def fail() -> Any:
            try:
                return await compute()
            except anyio.get_cancelled_exc_class():
                own.problem = ValueError("cancelled")
                raise

        return await super()._lead(own, fail)


@breaks("CA-15", "Everybody computes.", contract=AnswersMutants)
class EverybodyComputes(Answers):
    flights: type[SingleFlight[Any]] = _EachForItself


@breaks("CA-15", "A failing computation is kept.", contract=AnswersMutants)
class FailuresAreKept(Answers):
    flights: type[SingleFlight[Any]] = _KeepsFailures


@breaks("CA-15", "Keys share their computation.", contract=AnswersMutants)
class KeysShareAFlight(Answers):
    flights: type[SingleFlight[Any]] = _OneForAll


@breaks("CA-15", "Nothing is ever kept.", contract=AnswersMutants)
class NothingIsKept(Answers):
    async def _look(self, key: str, form: Any) -> Any:
        return None


@breaks("CA-16", "Whoever waits for one that is cancelled waits for ever.", contract=AnswersMutants)
class StrandsFollowers(Answers):
    flights: type[SingleFlight[Any]] = _WakesNobody


@breaks("CA-16", "One that is cancelled fails everybody.", contract=AnswersMutants)
class CancellationSpreads(Answers):
    flights: type[SingleFlight[Any]] = _FailsEverybody


@breaks("CA-19", "A cache that fails fails the query.", contract=AnswersMutants)
class FailsWithItsCache(Answers):
    async def _look(self, key: str, form: Any) -> Any:
        entry = await self._cache.get(key)
        return None if entry is None else form.unseal(key, entry.value, now=self._clock.now(), ttl=self._ttl)


@breaks("CA-19", "An answer is kept under its product alone.", contract=AnswersMutants)
class ForgetsTheStore(Answers):
    async def answer(self, key: str, form: Any, compute: Any, **given: Any) -> Any:
        return await super().answer(":".join(key.split(":")[:2]), form, compute, **given)


@breaks("CA-19", "An answer is given long after its time.", contract=AnswersMutants)
class LivesTooLong(Answers):
    def __init__(self, cache: Cache, *, clock: Clock) -> None:
        super().__init__(cache, clock=clock)
        self._ttl = timedelta(hours=1)


@breaks("CA-19", "An event takes nothing away where the cache fails.", contract=AnswersMutants)
class TrustsItsInvalidation(Answers):
    async def invalidate(self, positions: Mapping[str, int]) -> None:
        await self._cache.invalidate(*positions)

    def _floor_of(self, key: str) -> int:
        return 0


@breaks("CA-19", "The position that was asked for is not waited for.", contract=AnswersMutants)
class IgnoresTheAskedPosition(Answers):
    async def answer(self, key: str, form: Any, compute: Any, *, least: int = 0, arrive: Any = None) -> Any:
        return await super().answer(key, form, compute)
