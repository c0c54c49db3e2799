"""Answers in front of a cache: floors, failures, and what observers are told."""

from datetime import timedelta
from typing import Any

import anyio
import pytest

from inventory_es.adapters.memory import MemoryCache
from inventory_es.application.observers import CacheFailed, Observers
from inventory_es.application.queries.cached_answers import AnswerForm, CachedAnswers, keys_changed_by, product_inventory_key, stock_key
from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import StoreUnavailableError
from inventory_es.testing import Faults, FaultyCache, ManualClock

FORM: AnswerForm[str] = AnswerForm(str)


class Source:
    """Where answers come from: each names its position."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.asked = 0

    async def __call__(self) -> tuple[str, int]:
        self.asked += 1
        return f"as of {self.position}", self.position


def test_an_answer_is_kept_until_an_event_takes_it_away(backend: str) -> None:
    async def body() -> None:
        clock, source = ManualClock(), Source(3)
        answers = CachedAnswers(MemoryCache(clock=clock), clock=clock)
        for _ in range(3):
            assert await answers.answer("k", FORM, source) == "as of 3"
        assert source.asked == 1
        source.position = 5
        await answers.invalidate({"other": 5})
        assert await answers.answer("k", FORM, source) == "as of 3"
        await answers.invalidate({"k": 5})
        assert await answers.answer("k", FORM, source) == "as of 5"
        assert await answers.answer("k", FORM, source) == "as of 5"
        assert source.asked == 2
        clock.advance(timedelta(seconds=30))
        await answers.answer("k", FORM, source)
        assert source.asked == 3

    anyio.run(body, backend=backend)


def test_what_is_older_than_an_event_is_given_and_not_kept(backend: str) -> None:
    async def body() -> None:
        clock, source = ManualClock(), Source(3)
        cache = MemoryCache(clock=clock)
        answers = CachedAnswers(cache, clock=clock)
        await answers.invalidate({"k": 5})
        for _ in range(2):
            assert await answers.answer("k", FORM, source) == "as of 3"
        assert (source.asked, await cache.get("k")) == (2, None)

    anyio.run(body, backend=backend)


def test_a_shared_cache_does_not_take_a_reader_back(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        shared = MemoryCache(clock=clock)
        ours, theirs = CachedAnswers(shared, clock=clock), CachedAnswers(shared, clock=clock)
        assert await ours.answer("k", FORM, Source(7)) == "as of 7"
        await shared.invalidate("k")
        assert await theirs.answer("k", FORM, Source(6)) == "as of 6"
        assert await theirs.answer("k", FORM, Source(8)) == "as of 6"
        assert await ours.answer("k", FORM, Source(8)) == "as of 8"

    anyio.run(body, backend=backend)


def test_an_answer_from_beyond_the_store_is_taken_away_and_does_not_win(backend: str) -> None:
    async def body() -> None:
        clock, cache = ManualClock(), MemoryCache(clock=ManualClock())
        asked: list[int] = []
        end = 9

        async def head() -> int:
            asked.append(end)
            if end < 0:
                raise StoreUnavailableError(store="s", reason="away")
            return end

        assert await CachedAnswers(cache, clock=clock).answer("k", FORM, Source(9)) == "as of 9"
        assert await CachedAnswers(cache, clock=clock, head=head).answer("k", FORM, Source(99)) == "as of 9"
        end = 3  # a backup was restored
        restarted = CachedAnswers(cache, clock=clock, head=head)
        source = Source(3)
        for _ in range(3):
            assert await restarted.answer("k", FORM, source) == "as of 3"
        assert (source.asked, asked) == (1, [9, 3])
        entry = await cache.get("k")
        assert entry is not None
        assert entry.version == 3
        end = -1
        assert await CachedAnswers(cache, clock=clock, head=head).answer("k", FORM, Source(4)) == "as of 4"

    anyio.run(body, backend=backend)


def test_floors_are_bounded_and_the_oldest_becomes_one_for_all(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        cache = MemoryCache(clock=clock)
        answers = CachedAnswers(cache, clock=clock, max_floors=2)
        await answers.answer("old", FORM, Source(1))
        await answers.invalidate({"a": 4, "b": 5, "c": 6})
        assert len(answers._floors) == 2
        again = Source(9)
        assert await answers.answer("old", FORM, again) == "as of 9"
        assert await answers.answer("new", FORM, Source(2)) == "as of 2"
        assert await cache.get("new") is None

    anyio.run(body, backend=backend)


def test_forgetting_up_to_a_position_takes_every_older_answer_away(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        answers = CachedAnswers(MemoryCache(clock=clock), clock=clock)
        await answers.answer("old", FORM, Source(3))
        await answers.answer("new", FORM, Source(5))
        answers.forget(5)
        answers.forget(2)
        assert await answers.answer("old", FORM, Source(6)) == "as of 6"
        assert await answers.answer("new", FORM, Source(6)) == "as of 5"

    anyio.run(body, backend=backend)


def test_who_asks_for_a_position_waits_for_it_unless_the_cache_has_it(backend: str) -> None:
    async def body() -> None:
        clock, source = ManualClock(), Source(3)
        answers = CachedAnswers(MemoryCache(clock=clock), clock=clock)
        waited: list[str] = []

        async def arrive() -> None:
            waited.append("waited")
            source.position = 8

        async def never() -> None:
            pytest.fail("the answer is there")

        await answers.answer("k", FORM, source)
        assert await answers.answer("k", FORM, source, least=8, arrive=arrive) == "as of 8"
        assert waited == ["waited"]
        assert await answers.answer("k", FORM, source, least=8, arrive=never) == "as of 8"
        source.position = 9
        assert await answers.answer("k", FORM, source, least=9) == "as of 9"

    anyio.run(body, backend=backend)


def test_a_failing_cache_fails_no_question_and_is_told(backend: str) -> None:
    class Told:
        def __init__(self) -> None:
            self.records: list[Any] = []

        def cache_failed(self, record: CacheFailed) -> None:
            self.records.append(record)

    class Leaky(MemoryCache):
        async def invalidate(self, *keys: str) -> None:
            raise OSError

    async def body() -> None:
        clock, told = ManualClock(), Told()
        broken = FaultyCache(Leaky(clock=clock), Faults.by_seed(1, rate=1, kinds=("fail_before",), operations={"get", "set"}))
        answers = CachedAnswers(broken, clock=clock, observers=Observers([told]))
        assert await answers.answer("k", FORM, Source(3)) == "as of 3"
        await answers.invalidate({"k": 4})
        assert [(one.cache, one.operation, one.error) for one in told.records] == [
            ("Leaky", "get", "cache_unavailable"),
            ("Leaky", "set", "cache_unavailable"),
            ("Leaky", "invalidate", "OSError"),
        ]

    anyio.run(body, backend=backend)


def test_bounds_out_of_range_are_refused() -> None:
    clock = ManualClock()
    for bounds in ({"ttl": timedelta(0)}, {"max_floors": 0}):
        with pytest.raises(ValueError, match="ttl must be above zero"):
            CachedAnswers(MemoryCache(clock=clock), clock=clock, **bounds)


def test_keys_stay_apart_whatever_is_in_the_ids() -> None:
    ids = ("a", "a:b", "b", "a%3ab", "a%", "%3a", ":", "%", "a:b:c")
    keys = {stock_key(product, shop) for product in ids for shop in ids} | {product_inventory_key(product) for product in ids}
    assert len(keys) == len(ids) ** 2 + len(ids)
    assert stock_key("85123A", "berlin") == "stock:85123A:berlin"
    assert stock_key("a:b", "50%") == "stock:a%3ab:50%25"
    assert product_inventory_key("a:b") == "product_inventory:a%3ab"
    assert keys_changed_by(StreamId("inventory", "a:b", "s")) == ("stock:a%3ab:s", "product_inventory:a%3ab")
    assert keys_changed_by(StreamId("order", "1")) == ()
