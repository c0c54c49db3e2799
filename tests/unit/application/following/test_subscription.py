"""Following a feed: waiting, stopping, filtering, and a store that goes away."""

from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.application.following.subscription import EventFilter, Pace, Subscription
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import FeedPage, NewEvent, StreamWrite
from inventory_es.ports.errors import StoreUnavailableError
from inventory_es.testing.contracts.core.event_labels import EventLabels, event_id

LABELS = EventLabels()
AWAY = StoreUnavailableError(store="memory", reason="away")


async def write(store: MemoryEventStore, stream: str, after: int, *labels: str, category: str = "contract") -> None:
    await store.append([StreamWrite(StreamId(category, stream), after, [LABELS.event(label) for label in labels])])


async def take(subscription: Subscription, count: int) -> list[tuple[int, int]]:
    """Batches as (how many events, position)."""
    batches = [await anext(subscription) for _ in range(count)]
    return [(len(batch.events), batch.position) for batch in batches]


class Away:
    """A feed that is away for some calls, and whose wake-up hint always says yes."""

    def __init__(self, store: MemoryEventStore, *, calls: int = 0) -> None:
        self.store = store
        self.calls = calls
        self.reads = 0

    def _call(self) -> None:
        self.calls -= 1
        if self.calls >= 0:
            raise AWAY

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        self.reads += 1
        self._call()
        return await self.store.read_all(after=after, limit=limit)

    async def head(self) -> int:
        self._call()
        return await self.store.head()

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        await anyio.lowlevel.checkpoint()
        return True


class NeverWakes(Away):
    """A feed whose wait for a position never ends."""

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        await anyio.sleep_forever()
        return False


def test_a_hint_that_never_ends_is_not_waited_for(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store, Subscription(NeverWakes(store), pace=Pace(longest_wait=0.01)) as subscription:
            assert await subscription.next_within(0.0) is None
            await write(store, "x", 0, "a")
            with anyio.fail_after(5):
                assert await take(subscription, 1) == [(1, 1)]

    anyio.run(body, backend=backend)


def test_a_batch_is_bounded_and_says_where_to_go_on(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            await write(store, "x", 0, "a", "b", "c", "d", "e")
            async with Subscription(store, pace=Pace(batch_size=2)) as subscription:
                assert await take(subscription, 3) == [(2, 2), (2, 4), (1, 5)]
            async with Subscription(store, after=4) as subscription:
                batch = await anext(subscription)
            assert ([event.position for event in batch.events], batch.is_end) == ([5], True)

    anyio.run(body, backend=backend)


def test_what_is_not_wanted_moves_the_position_all_the_same(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            await write(store, "x", 0, "a", "b")
            await write(store, "x", 0, "c", category="other")
            other = NewEvent(event_id("d"), "OtherEvent", 1, LABELS.event("a").recorded_at, b"{}")
            await store.append([StreamWrite(StreamId("other", "x"), 1, [other])])
            async with Subscription(store, wanted=EventFilter(categories={"missing"})) as subscription:
                assert await take(subscription, 1) == [(0, 4)]
            async with Subscription(store, wanted=EventFilter(categories={"other"})) as subscription:
                assert [event.position for event in (await anext(subscription)).events] == [3, 4]
            async with Subscription(store, wanted=EventFilter(types={"OtherEvent"})) as subscription:
                assert [event.position for event in (await anext(subscription)).events] == [4]

    anyio.run(body, backend=backend)


def test_from_the_end_means_from_entering_the_block(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            await write(store, "x", 0, "a")
            pauses = Pauses()
            async with Subscription(Away(store, calls=2), after=None, sleep=pauses.sleep) as subscription:
                await write(store, "x", 1, "b")
                assert await take(subscription, 1) == [(1, 2)]
            assert pauses.seconds == [0.1, 0.2]

    anyio.run(body, backend=backend)


class Pauses:
    """Sleeps no longer than a turn, and writes down how long it was asked to; calls ``then`` at the given one."""

    def __init__(self, *, at: int = -1, then: Callable[[], None] = lambda: None) -> None:
        self.seconds: list[float] = []
        self.at = at
        self.then = then

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        if len(self.seconds) == self.at:
            self.then()
        await anyio.lowlevel.checkpoint()


def test_while_the_store_is_away_it_waits_longer_and_longer_and_says_why(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            await write(store, "x", 0, "a", "b")
            pauses = Pauses()
            feed = Away(store, calls=5)
            subscription = Subscription(feed, pace=Pace(batch_size=1, first_pause=1, longest_pause=5), sleep=pauses.sleep)
            pauses.at, pauses.then = 2, lambda: seen.append(subscription.trouble)
            seen: list[StoreUnavailableError | None] = []
            assert await take(subscription, 1) == [(1, 1)]
            assert pauses.seconds == [1, 2, 4, 5, 5]
            assert seen == [AWAY]
            assert subscription.trouble is None
            feed.calls = 1
            assert await take(subscription, 1) == [(1, 2)]
            assert pauses.seconds[5:] == [1]

    anyio.run(body, backend=backend)


def test_it_stops_while_it_waits_for_events_and_while_the_store_is_away(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            for feed in (store, Away(store, calls=1_000)):
                subscription = Subscription(feed, sleep=lambda _: anyio.sleep_forever())
                with anyio.fail_after(5):
                    async with anyio.create_task_group() as tasks, subscription:
                        tasks.start_soon(stop_later, subscription)
                        assert [batch async for batch in subscription] == []
                    assert [batch async for batch in subscription] == []

    async def stop_later(subscription: Subscription) -> None:
        for _ in range(10):
            await anyio.lowlevel.checkpoint()
        subscription.stop()
        subscription.stop()

    anyio.run(body, backend=backend)


def test_a_batch_is_waited_for_no_longer_than_said(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            await write(store, "x", 0, "a")
            async with Subscription(store) as subscription:
                first = await subscription.next_within(0)
                assert first is not None
                assert first.position == 1
                assert await subscription.next_within(0.01) is None
                assert await subscription.next_within(0) is None
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(write, store, "x", 1, "b")
                    second = await subscription.next_within(5)
                assert second is not None
                assert second.position == 2
            async with Subscription(Away(store, calls=9), pace=Pace(first_pause=60, longest_pause=60)) as subscription:
                assert await subscription.next_within(0.01) is None
                assert subscription.trouble is AWAY

    anyio.run(body, backend=backend)


def test_a_read_that_takes_long_is_finished(backend: str) -> None:
    class Slow(Away):
        async def read_all(self, *, after: int, limit: int) -> FeedPage:
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            return await super().read_all(after=after, limit=limit)

    async def body() -> None:
        async with MemoryEventStore() as store:
            await write(store, "x", 0, "a", "b")
            async with Subscription(Slow(store), pace=Pace(batch_size=1)) as subscription:
                positions = [batch.position for batch in [await subscription.next_within(0) for _ in range(2)] if batch is not None]
                assert positions == [1, 2]

    anyio.run(body, backend=backend)


def test_leaving_the_block_ends_the_iteration(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            await write(store, "x", 0, "a")
            async with Subscription(store) as subscription:
                assert await take(subscription, 1) == [(1, 1)]
            assert [batch async for batch in subscription] == []

    anyio.run(body, backend=backend)


def test_a_stop_during_a_read_still_gives_its_batch_and_a_stop_during_a_fault_pauses_no_more(backend: str) -> None:
    subscription: Subscription

    class StopsInside(Away):
        async def read_all(self, *, after: int, limit: int) -> FeedPage:
            subscription.stop()
            return await super().read_all(after=after, limit=limit)

    async def body() -> None:
        nonlocal subscription
        async with MemoryEventStore() as store:
            await write(store, "x", 0, "a")
            subscription = Subscription(StopsInside(store))
            assert [batch.position async for batch in subscription] == [1]
            pauses = Pauses()
            subscription = Subscription(StopsInside(store, calls=1), sleep=pauses.sleep)
            assert [batch async for batch in subscription] == []
            assert pauses.seconds == []

    anyio.run(body, backend=backend)


def test_a_hint_that_always_says_there_is_more_keeps_nobody_busy(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            pauses = Pauses()
            feed = Away(store)
            subscription = Subscription(feed, sleep=pauses.sleep, pace=Pace(first_pause=3))
            pauses.at, pauses.then = 4, subscription.stop
            assert [batch async for batch in subscription] == []
            assert pauses.seconds == [3, 3, 3, 3]
            assert feed.reads == 5

    anyio.run(body, backend=backend)


def test_a_cancelled_reader_loses_nothing(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as store:
            subscription = Subscription(store)
            with anyio.move_on_after(0.01) as scope:
                await anext(subscription)
            assert scope.cancelled_caught
            await write(store, "x", 0, "a")
            assert await take(subscription, 1) == [(1, 1)]

    anyio.run(body, backend=backend)


def test_misuse_is_refused(backend: str) -> None:
    async def body() -> None:
        store = MemoryEventStore()
        with pytest.raises(ValueError, match="0 or more"):
            Subscription(store, after=-1)
        with pytest.raises(RuntimeError, match="async with"):
            await anext(Subscription(store, after=None))
        for wrong in ({"batch_size": 0}, {"longest_wait": 0}, {"first_pause": 0}, {"longest_pause": 0}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                Pace(**wrong)

    anyio.run(body, backend=backend)
