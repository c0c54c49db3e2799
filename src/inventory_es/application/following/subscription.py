"""Subscriptions to the feed of a store: history first, then new events, as one sequence of batches."""

import math
from collections.abc import Awaitable, Callable, Collection, Iterator
from types import TracebackType
from typing import Self

import attrs

from inventory_es.ports import EventFeed, EventMark, EventStore, RecordedEvent
from inventory_es.ports.errors import FeedRewoundError, StoreUnavailableError, UnsupportedCapabilityError
from inventory_es.ports.toolkit.adapter_name import adapter_name
from inventory_es.ports.toolkit.page_rules import read_feed_page
from inventory_es.ports.toolkit.waiting import Scope, now, pause, scope


@attrs.frozen(kw_only=True)
class EventFilter:
    """A choice of events of the feed; every event by default.

    Attributes:
        categories: of their streams; ``None`` for all.
        types: their wire names; ``None`` for all.
    """

    categories: Collection[str] | None = None
    types: Collection[str] | None = None

    def takes(self, event: RecordedEvent) -> bool:
        """Return whether the filter takes this event."""
        return (self.categories is None or event.stream.category in self.categories) and (
            self.types is None or event.event_type in self.types
        )


@attrs.frozen
class EventBatch:
    """A part of the feed.

    Attributes:
        events: those that the filter takes, in position order; possibly none.
        position: every event up to it was read: go on after it.
        is_end: True if the feed ended there when it was read.
        mark: the last event that was read, wanted or not; ``None`` where none was.
    """

    events: tuple[RecordedEvent, ...]
    position: int
    is_end: bool
    mark: EventMark | None = None


@attrs.frozen(kw_only=True)
class Pace:
    """Batch size and waits of a follower. All times in seconds.

    Attributes:
        batch_size: the most events in one batch, 1 or more.
        longest_wait: time to rely on the store's wake-up hint before reading anyway, above 0.
        first_pause: pause before the first new attempt after a failure, above 0; it doubles with every further one.
        longest_pause: upper bound of the pauses.
    """

    batch_size: int = attrs.field(default=1_000, validator=attrs.validators.ge(1))
    longest_wait: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))
    first_pause: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))
    longest_pause: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))

    def pauses(self) -> Iterator[float]:
        """Return the pauses between attempts, without end."""
        pause = self.first_pause
        while True:
            yield min(pause, self.longest_pause)
            pause = min(2 * pause, self.longest_pause)


class Subscription:
    """Every wanted event after a position, once and in order: history first, then new events, without a gap between the two.

    Iterate it inside ``async with``; it ends only when :meth:`stop` is called or the block is left. It reads only when the next batch is
    requested. No task runs in the background, nothing is buffered, and a slow reader delays nobody. While the store is away, it waits and
    reads again; ``trouble`` says so.

    Keep the ``position`` of each batch that was processed, to go on from there, in another process too. Keep ``mark`` with it, to find
    out if the store was replaced meanwhile. The subscription checks the mark at the start, after the store was away, and whenever no event
    arrives.

    One task or thread iterates it; :meth:`stop` is for any task of its event loop, or any thread without one.

    Args:
        feed: of the store.
        after: the position to begin after, 0 or more; ``None`` for the end of the feed as of entering the block.
        wanted: the events to read.
        pace: batch size and waits.
        sleep: waits for seconds.
        mark: the last event that was read before, with ``after``.
        name: of the reader, for errors.

    Raises:
        ValueError: ``after`` below 0.
    """

    def __init__(
        self,
        feed: EventFeed,
        *,
        after: int | None = 0,
        wanted: EventFilter | None = None,
        pace: Pace | None = None,
        sleep: Callable[[float], Awaitable[object]] = pause,
        mark: EventMark | None = None,
        name: str = "a subscription",
    ) -> None:
        if after is not None and after < 0:
            msg = "after must be a position of 0 or more"
            raise ValueError(msg)
        self._feed = feed
        self._after = after
        self._wanted = EventFilter() if wanted is None else wanted
        self._pace = Pace() if pace is None else pace
        self._sleep = sleep
        self._pauses = self._pace.pauses()
        self._until = math.inf
        self._is_stopped = False
        self._is_at_end = False
        self._idling: Scope | None = None
        self._trouble: StoreUnavailableError | None = None
        self._mark = mark
        self._name = name
        self._is_doubtful = after is not None

    @property
    def position(self) -> int:
        """Position up to which every event was returned; of a subscription from the end, that end, inside ``async with``."""
        return self._after or 0

    @property
    def trouble(self) -> StoreUnavailableError | None:
        """Reason why the last read of the store failed; ``None`` after a read that succeeded."""
        return self._trouble

    async def __aenter__(self) -> Self:
        while self._after is None:
            try:
                self._after = await self._feed.head()
            except StoreUnavailableError as problem:
                await self._pause_after(problem)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> EventBatch:
        """Return the next batch; wait for one at the end of the feed. Errors are those of :meth:`next_within`."""
        batch = await self.next_within(math.inf)
        if batch is None:
            raise StopAsyncIteration
        return batch

    async def next_within(self, seconds: float) -> EventBatch | None:
        """Return the next batch; ``None`` where none arrives within so many seconds, or after :meth:`stop`.

        It reads at least once. The time bounds the waiting alone: a read in flight is finished, however long it takes.

        Raises:
            FeedRewoundError: the feed ends before the last event that was read, or has another event there.
            CorruptStoreError, StoreClosedError: as the store.
            RuntimeError: outside the ``async with`` of a subscription from the end.
        """
        self._until = now() + seconds
        while not self._is_stopped:
            if self._after is None:
                msg = "a subscription from the end begins with 'async with'"
                raise RuntimeError(msg)
            batch = None
            try:
                batch = await self._read(self._after)
            except StoreUnavailableError as problem:
                await self._pause_after(problem)
            if batch is not None or now() >= self._until:
                return batch
        return None

    def stop(self) -> None:
        """End the iteration: a wait ends now; a read in flight is finished, and its batch returned. Idempotent."""
        self._is_stopped = True
        if (idling := self._idling) is not None:  # another thread may end the wait meanwhile
            idling.cancel()

    async def _read(self, after: int) -> EventBatch | None:
        longest = self._pace.longest_wait
        was_woken = self._is_at_end and await self._idle(lambda: self._feed.wait_for_position(after + 1, timeout=longest), at_most=longest)
        self._is_doubtful |= self._is_at_end and not was_woken
        self._is_at_end = False
        if self._is_stopped:
            return None
        if self._is_doubtful:
            await check_feed(self._feed, self._name, after, self._mark)
            self._is_doubtful = False
        page = await read_feed_page(self._feed, after=after, limit=self._pace.batch_size)
        self._trouble = None
        self._pauses = self._pace.pauses()
        self._is_at_end = page.is_end
        self._after = page.next_after
        if page.events:
            self._mark = mark_of(page.events[-1])
        if page.next_after > after:
            return EventBatch(tuple(filter(self._wanted.takes, page.events)), page.next_after, page.is_end, self._mark)
        if was_woken:  # without an event: a hint that is wrong again and again must not keep this task busy
            await self._idle(lambda: self._sleep(self._pace.first_pause))
        return None

    async def _pause_after(self, problem: StoreUnavailableError) -> None:
        self._trouble = problem
        self._is_doubtful = self._after is not None
        pause = next(self._pauses)
        await self._idle(lambda: self._sleep(pause))

    async def _idle(self, wait: Callable[[], Awaitable[object]], *, at_most: float = math.inf) -> bool:
        """Wait until ``wait`` ends, until :meth:`stop`, or until a time is over. Return whether ``wait`` ended with something true.

        Args:
            wait: returns after the wait.
            at_most: upper bound in seconds, besides that of the next batch.
        """
        if self._is_stopped:
            return False
        self._idling = idling = scope(min(self._until - now(), at_most))
        try:
            with idling:
                return not self._is_stopped and bool(await wait())  # another thread may have stopped it just now
            return False
        finally:
            self._idling = None


def feed_of(store: EventStore) -> EventFeed:
    """Return the store as a feed.

    Raises:
        UnsupportedCapabilityError: the store has no feed.
    """
    if store.capabilities.feed == "none" or not isinstance(store, EventFeed):
        raise UnsupportedCapabilityError(
            store=adapter_name(store), capability="feed", way_out="read the streams that you know, or choose a store with a feed"
        )
    return store


def mark_of(recorded: RecordedEvent) -> EventMark:
    """Return the mark of an event."""
    return EventMark(recorded.position, recorded.event_id)


async def check_feed(feed: EventFeed, name: str, position: int, mark: EventMark | None) -> None:
    """Compare the feed with a checkpoint: a store that was replaced has another feed.

    Args:
        feed: of the event store.
        name: of the reader.
        position: every event up to it was read.
        mark: the last event that was read; ``None`` where only the position is known.

    Raises:
        FeedRewoundError: the feed has another event there, or ends before.
    """
    if mark is None:
        found, is_known = None, not position
    else:
        found = await event_at(feed, mark.position)
        is_known = found is not None and found.event_id == mark.event_id
    if is_known:
        return
    head = await feed.head()
    if mark is None and head >= position:
        return
    raise FeedRewoundError(
        projection=name,
        position=position if mark is None or head < mark.position else mark.position,
        event_id=None if mark is None else mark.event_id,
        head=head,
        found_id=None if found is None else found.event_id,
    )


async def event_at(feed: EventFeed, position: int) -> RecordedEvent | None:
    """Return the event at a position of the feed; ``None`` if there is none."""
    after = position - 1
    while True:
        page = await read_feed_page(feed, after=after, limit=1)
        if page.events or page.is_end or page.next_after >= position:
            return next((one for one in page.events if one.position == position), None)
        after = page.next_after
