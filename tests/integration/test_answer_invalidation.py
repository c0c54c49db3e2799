"""Answers give way to events: in one process, across processes that share a cache, and where the follower comes late."""

from datetime import timedelta

import anyio
import pytest

from inventory_es import InventoryService, open_inventory
from inventory_es.adapters.memory import MemoryCache, MemoryEventStore, MemoryReadModel
from inventory_es.application.queries.cached_answers import product_inventory_key, stock_key
from inventory_es.errors import StoreUnavailableError
from inventory_es.testing import ManualClock
from tests.integration.test_query_side import followed

KEYS = (stock_key("tea", "berlin"), product_inventory_key("tea"))


async def on_hand(inventory: InventoryService) -> tuple[int | None, list[int]]:
    row, page = await inventory.queries.stock("tea", "berlin"), await inventory.queries.product_inventory("tea")
    return None if row is None else row.on_hand, [one.on_hand for one in page.rows]


class Watched(MemoryCache):
    """Says when something was taken away."""

    news = anyio.Event()

    async def invalidate(self, *keys: str) -> None:
        await super().invalidate(*keys)
        self.news.set()

    async def until_gone(self, position: int) -> None:
        """Until nothing from before this position is cached."""
        with anyio.fail_after(5):
            while True:
                self.news = anyio.Event()
                found = [await self.get(key) for key in KEYS]
                if all(entry is None or entry.version >= position for entry in found):
                    return
                await self.news.wait()


def test_an_event_takes_the_answers_of_its_inventory_away(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        cache = Watched(clock=clock)
        async with open_inventory("memory:", clock=clock, read_models="memory:", cache=cache) as inventory, followed(inventory):
            assert await on_hand(inventory) == (None, [])
            for number in range(1, 4):
                done = await inventory.add_stock("tea", "berlin", 1)
                await inventory.queries.stock("tea", "berlin", wait_for_position=done.position)
                await cache.until_gone(done.position)
                assert await on_hand(inventory) == (number, [number])
                assert [entry is not None for entry in [await cache.get(key) for key in KEYS]] == [True, True]

    anyio.run(body, backend=backend)


def test_without_followers_an_answer_lives_for_its_time(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()
        async with (
            open_inventory("memory:", clock=clock, read_models=model, cache=MemoryCache(clock=clock)) as web,
            open_inventory(web.store, clock=clock, read_models=model) as worker,
        ):
            assert await on_hand(web) == (None, [])
            await web.add_stock("tea", "berlin", 3)
            await worker.followers.catch_up(on_failure="stop")
            assert await on_hand(web) == (None, [])
            clock.advance(timedelta(seconds=29, microseconds=999_999))
            assert await on_hand(web) == (None, [])
            clock.advance(timedelta(microseconds=1))
            assert await on_hand(web) == (3, [3])

    anyio.run(body, backend=backend)


def test_followers_that_begin_late_give_nothing_from_before_they_began(backend: str) -> None:
    async def body() -> None:
        clock, model = ManualClock(), MemoryReadModel()
        cache = MemoryCache(clock=clock)
        async with (
            open_inventory("memory:", clock=clock, read_models=model, cache=cache) as web,
            open_inventory(web.store, clock=clock, read_models=model) as worker,
        ):
            assert await on_hand(web) == (None, [])
            await web.add_stock("tea", "berlin", 3)
            await worker.followers.catch_up(on_failure="stop")
            async with followed(web):
                await web.queries.stock("tea", "berlin", wait_for_position=1)
                await anyio.wait_all_tasks_blocked()
                assert await on_hand(web) == (3, [3])

    anyio.run(body, backend=backend)


def test_after_catching_up_here_nothing_older_is_given(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with open_inventory("memory:", clock=clock, read_models="memory:", cache=MemoryCache(clock=clock)) as inventory:
            for number in range(1, 3):
                await inventory.add_stock("tea", "berlin", 1)
                await inventory.followers.catch_up(on_failure="stop")
                assert await on_hand(inventory) == (number, [number])

    anyio.run(body, backend=backend)


def test_pages_that_no_key_names_are_not_cached(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        cache = MemoryCache(clock=clock)
        async with open_inventory("memory:", clock=clock, read_models="memory:", cache=cache) as inventory:
            for shop in ("a", "b"):
                await inventory.add_stock("tea", shop, 1)
            await inventory.followers.catch_up(on_failure="stop")
            first = await inventory.queries.product_inventory("tea", limit=1)
            assert [row.store_id for row in first.rows] == ["a"]
            second = await inventory.queries.product_inventory("tea", after=first.next_after)
            assert [row.store_id for row in second.rows] == ["b"]
            assert await cache.get(product_inventory_key("tea")) is None

    anyio.run(body, backend=backend)


def test_a_store_that_is_away_when_the_followers_begin_is_waited_for(backend: str) -> None:
    class AwayAtFirst(MemoryEventStore):
        heads = 0

        async def head(self) -> int:
            self.heads += 1
            if self.heads < 4:
                raise StoreUnavailableError(store="AwayAtFirst", reason="starting")
            return await super().head()

    async def body() -> None:
        clock = ManualClock()
        async with (
            open_inventory(AwayAtFirst(), clock=clock, read_models="memory:", cache=MemoryCache(clock=clock)) as inventory,
            followed(inventory),
        ):
            done = await inventory.add_stock("tea", "berlin", 1)
            row = await inventory.queries.stock("tea", "berlin", wait_for_position=done.position)
            assert row is not None
            assert row.on_hand == 1

    anyio.run(body, backend=backend)


def test_the_cache_stays_the_hosts_to_close(backend: str) -> None:
    async def body() -> None:
        clock = ManualClock()
        cache = MemoryCache(clock=clock)
        async with open_inventory("memory:", clock=clock, read_models="memory:", cache=cache):
            pass
        assert await cache.get("k") is None
        with pytest.raises(ValueError, match="needs read models"):
            open_inventory("memory:", cache=cache)

    anyio.run(body, backend=backend)
