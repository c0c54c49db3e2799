"""ES-37 … ES-40: subscriptions over the feed. The subscription is the library's; the feed below it is the store's."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NoReturn

import anyio
import anyio.abc
import anyio.lowlevel
import attrs

from inventory_es.application.following.subscription import EventBatch, Pace, Subscription
from inventory_es.ports import FeedPage, RecordedEvent
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.tested_store import TestedStore
from inventory_es.testing.promise import promise

_BATCH = 3
_APPENDS = 8
_WAIT = 0.2


class FollowingCases:
    """Cases of subscriptions."""

    @promise("ES-37", "A subscription from the start, a position or the end gives history, then live: no gap, no duplicate.", seeds=4)
    async def test_es_37_history_then_live(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            await store.append("x@0 a b c d e")
            middle = (await store.whole_feed())[1].position
            starts = {0: "the start", middle: "a position", None: "the end"}
            got: dict[int | None, list[RecordedEvent]] = {start: [] for start in starts}
            async with anyio.create_task_group() as tasks:
                for start in starts:
                    left = {0: 5, middle: 3, None: 0}[start] + 2 * _APPENDS
                    await tasks.start(_follow, store, start, left, got[start])
                tasks.start_soon(_write, store)
            whole = await store.whole_feed()
            for start, name in starts.items():
                after = whole[4].position if start is None else start
                _is_exactly(harness, got[start], [event for event in whole if event.position > after], f"subscribed from {name}")

    @promise("ES-38", "A subscription that resumes after the position of its last batch skips nothing and repeats nothing.", seeds=4)
    async def test_es_38_resuming_skips_nothing(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            got: list[RecordedEvent] = []

            async def follow_in_pieces() -> None:
                after = 0
                while len(got) < 2 * _APPENDS:
                    async with _subscribe(store, after) as subscription:
                        batch = await anext(subscription)
                    got.extend(batch.events)
                    after = batch.position

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow_in_pieces)
                tasks.start_soon(_write, store)
            _is_exactly(harness, got, await store.whole_feed(), "resumed after every batch")

    @promise("ES-39", "A slow subscriber is bounded and holds up no writer.")
    async def test_es_39_a_slow_subscriber_holds_up_no_writer(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            await store.append("x@0 a b c d e")
            async with _subscribe(store, 0) as subscription:
                batches: list[EventBatch] = [await anext(subscription)]
                await _write(store)
                while sum(len(batch.events) for batch in batches) < 5 + 2 * _APPENDS:
                    batches.append(await anext(subscription))
            largest = max(len(batch.events) for batch in batches)
            expect(
                that=largest <= _BATCH,
                expected=f"at most {_BATCH} events at once",
                got=largest,
                meaning="a subscriber that falls behind is flooded",
            )
            got = [event for batch in batches for event in batch.events]
            _is_exactly(harness, got, await store.whole_feed(), "a slow subscriber")

    @promise("ES-40", "One subscriber's failure or cancellation touches no other, and no writer.", seeds=4)
    async def test_es_40_subscribers_are_apart(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            got: list[RecordedEvent] = []
            async with anyio.create_task_group() as tasks:
                await tasks.start(_follow, store, 0, 2 * _APPENDS, got)
                async with anyio.create_task_group() as others:
                    await others.start(_follow, store, 0, 1_000, [])
                    await anyio.lowlevel.checkpoint()
                    others.cancel_scope.cancel()
                await _write(store, before_last=lambda: _fail(store))
            _is_exactly(harness, got, await store.whole_feed(), "beside one that was cancelled and one that failed")


@attrs.frozen
class _DrivenFeed:
    """The feed of a tested store, whose reads are noted and driven by the schedule."""

    store: TestedStore

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        return await self.store.feed_page(after=after, limit=limit)

    async def head(self) -> int:
        return await self.store.head()

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        return await self.store.feed.wait_for_position(position, timeout=timeout)


def _subscribe(store: TestedStore, after: int | None) -> Subscription:
    return Subscription(_DrivenFeed(store), after=after, pace=Pace(batch_size=_BATCH, longest_wait=_WAIT, first_pause=_WAIT))


async def _follow(
    store: TestedStore,
    after: int | None,
    left: int,
    got: list[RecordedEvent],
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    async with _subscribe(store, after) as subscription:
        task_status.started()
        async for batch in subscription:
            got.extend(batch.events)
            left -= len(batch.events)
            if left <= 0:
                return


async def _write(store: TestedStore, before_last: Callable[[], Awaitable[None]] | None = None) -> None:
    for number in range(_APPENDS):
        if before_last is not None and number == _APPENDS - 1:
            await before_last()
        await store.append(f"y@{2 * number} p{number} q{number}")


async def _fail(store: TestedStore) -> None:
    with suppress(LookupError):
        async with _subscribe(store, 0) as subscription:
            await anext(subscription)
            _refuse()


def _refuse() -> NoReturn:
    raise LookupError


def _is_exactly(harness: StoreHarness, got: Sequence[RecordedEvent], wanted: Sequence[RecordedEvent], who: str) -> None:
    expect(
        that=list(got) == list(wanted),
        expected=harness.labels.show(wanted),
        got=harness.labels.show(got),
        meaning=f"{who}: an event is missing, twice, or out of order",
    )
