"""An event bus over a broker: streams hashed to shards, one live owner per group and shard, deliveries by the toolkit's queue.

A process that owns a shard for a group reads its log from the low-water mark, up to a window of unanswered events. The broker records a
delivery before the consumer gets it, and each answer. So a process that takes the shard over delivers the same events again but for the
settled ones, with the next attempts.

With an answer, a broker may record the next delivery too. A process that dies before that delivery has then counted one too many. The last
delivery of an event is never counted ahead. But it may be recorded without an answer, or just before the process dies. Then the event
becomes a dead letter that no consumer has seen.
"""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from hashlib import blake2b
from typing import Literal, Self, TypeVar
from uuid import UUID

import anyio
import attrs
import msgspec

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import CorruptStoreError, EventBusUnavailableError, StoreClosedError
from inventory_es.ports.event_bus import BusCapabilities, DeadLetter, EventBus
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.append_rules import check_page
from inventory_es.ports.toolkit.blocking_calls import to_its_end
from inventory_es.ports.toolkit.broker import (
    Broker,
    Claim,
    CountsAhead,
    Entry,
    OwnershipLostError,
    decode_entry,
    decode_letter,
    encode_entry,
    encode_letter,
)
from inventory_es.ports.toolkit.delivery_rules import DeliveryQueue, GroupFilter, QueuedDelivery, QueuedEvent, check_events, check_group

T = TypeVar("T")

_NO_ANSWER = "its consumer left without an answer"
_AHEAD = 100
_COUNTS = 0.05
"""Seconds within which a delivery that was recorded ahead needs no record of its own, which would notice that the shard is lost."""
NO_BOUND = sys.maxsize


def _decoded(data: bytes, make: Callable[[bytes], T], store: str, place: str) -> T:
    try:
        return make(data)
    except (msgspec.MsgspecError, ValueError) as problem:
        raise CorruptStoreError(store=store, place=place, problem="it is no event") from problem


@attrs.define(eq=False)
class _Shard:
    """The unanswered events of a shard that this process owns.

    Attributes:
        claim: the ownership.
        read_through: the place up to which entries are in the queue or settled.
        entries: the number of entries that were read.
        open: places that were read and are not settled, in order, each with the number of entries before it.
        again: places of entries that were dead letters and are in the queue.
        passed: places that the group does not need, to be settled with the next read.
        counted: an event whose next delivery the broker has recorded already; ``None`` for none.
        counts_until: the time of the event loop until which that record counts.
        out: the number of deliveries that have no answer.
        is_lost: True once the claim is no longer held. Answers to its deliveries change nothing.
    """

    claim: Claim
    read_through: int
    entries: int = 0
    queue: DeliveryQueue = attrs.field(factory=DeliveryQueue)
    open: dict[int, int] = attrs.field(factory=dict[int, int])
    again: set[int] = attrs.field(factory=set[int])
    passed: list[int] = attrs.field(factory=list[int])
    counted: QueuedEvent | None = None
    counts_until: float = 0.0
    out: int = 0
    is_lost: bool = False

    def room(self, window: int) -> int:
        """Return the most entries that may be read now: few are unanswered, and few of the settled ones are behind an unanswered one."""
        return min(window - len(self.queue), _AHEAD * window - (self.entries - next(iter(self.open.values()), self.entries)))

    def low_without(self, places: Collection[int]) -> int:
        """Return the low-water mark after these places are settled."""
        first = next((place for place in self.open if place not in places), None)
        return self.read_through if first is None else first - 1

    def settled(self, places: Collection[int]) -> None:
        """Note that these places are settled."""
        for place in places:
            self.open.pop(place, None)
            self.again.discard(place)


class _Group:
    """A group, while this process has consumers of it. Every method but :meth:`notify` is called with the lock.

    Args:
        name: of the group.
        wanted: its filter.
        broker: has the shards.
        window: the most unanswered events of a shard in memory.
        max_deliveries: the deliveries after which an event becomes a dead letter.
        clock: gives a dead letter its time.
    """

    def __init__(self, name: str, wanted: GroupFilter, broker: Broker, *, window: int, max_deliveries: int, clock: Clock) -> None:
        self.name = name
        self.filter = wanted
        self.consumers: int = 0
        self.lock: anyio.Lock = anyio.Lock(fast_acquire=True)  # its holders yield in every call to the broker
        self.change: anyio.Event = anyio.Event()
        self.has_more: bool = False
        self._broker = broker
        self._ahead = broker if isinstance(broker, CountsAhead) else None
        self._window = window
        self._max_deliveries = max_deliveries
        self._clock = clock
        self._shards: dict[int, _Shard] = {}

    def notify(self) -> None:
        """Wake every task that waits for a change of the group."""
        changed, self.change = self.change, anyio.Event()
        changed.set()

    async def take(self) -> tuple[_Shard, QueuedEvent] | None:
        """Take the next event, and record its delivery; ``None`` if there is none now. Then ``has_more`` is True if another look is due."""
        for loads in (False, True):
            if loads:
                await self._claim()
                await self._load()
            ending = await self.end()
            for shard in self._in_turn():
                while not shard.is_lost and shard.claim not in ending and (queued := shard.queue.take()) is not None:
                    if await self._begin(shard, queued):
                        shard.out += 1
                        return shard, queued
        return None

    async def end(self) -> Collection[Claim]:
        """Give up the shards that another process is to own, and whose deliveries have answers; return the claims of all that end."""
        ending = self._broker.ending(self.name)
        answered = [shard for shard in tuple(self._shards.values()) if shard.claim in ending and not shard.out] if ending else []
        for shard in answered:
            self._lose(shard)
        if answered:
            await to_its_end(partial(self._broker.release, [shard.claim for shard in answered]))
        return ending

    async def _begin(self, shard: _Shard, queued: QueuedEvent) -> bool:
        """Record a delivery before it is handed out. Return False if there is none: the event is spent, or the shard is lost."""
        before = queued.deliveries - 1
        if shard.counted is queued:
            shard.counted = None
            if anyio.current_time() < shard.counts_until:
                return True
        try:
            if before < self._max_deliveries:
                return await self._holds(shard, self._broker.record(shard.claim, queued.number, queued.deliveries))
            queued.deliveries = before  # its consumers died with it, or could not give it up
            await self._bury(shard, queued, _NO_ANSWER)
        except BaseException:
            queued.deliveries = before
            shard.queue.put_back(queued)
            raise
        return False

    async def settle(self, shard: _Shard, queued: QueuedEvent) -> None:
        """Acknowledge a delivery, and record the next one with it if the broker can."""
        places = (queued.number,)
        low = shard.low_without(places)
        following = self._to_count(shard, queued)
        until = 0.0
        if following is None or self._ahead is None:
            call = self._broker.settle(shard.claim, places, low=low)
        else:
            until = anyio.current_time() + _COUNTS
            shard.counted, shard.counts_until = following, 0.0  # it counts once there is an answer
            deliveries = following.deliveries + 1
            call = self._ahead.settle_and_record(shard.claim, places, low=low, place=following.number, deliveries=deliveries)
        if await self._holds(shard, call):
            shard.queue.settle(queued)
            shard.settled(places)
            shard.counts_until = max(shard.counts_until, until)

    def _to_count(self, shard: _Shard, queued: QueuedEvent) -> QueuedEvent | None:
        """Return the event to deliver after a settled one, if its delivery may be counted ahead: it is not the last one."""
        following = shard.queue.after(queued)
        if following is None or following.deliveries + 1 >= self._max_deliveries or shard.counted not in (None, following):
            return None
        return following

    async def fail(self, shard: _Shard, queued: QueuedEvent, reason: str, *, to_its_place: bool = False) -> None:
        """Refuse a delivery: the event is delivered again, or becomes a dead letter."""
        if queued.deliveries >= self._max_deliveries:
            await self._bury(shard, queued, reason)
        elif await self._taken_back(shard, queued):
            shard.queue.settle(queued)
            shard.settled((queued.number,))
        elif to_its_place:
            shard.queue.put_back(queued)
        else:
            shard.queue.put_behind(queued)

    async def _taken_back(self, shard: _Shard, queued: QueuedEvent) -> bool:
        """Return True if the broker took a refused event back. An event of a lost shard is not in its queue any more."""
        try:
            return await self._broker.refuse(shard.claim, queued.number)
        except OwnershipLostError:
            self._lose(shard)
            return True

    async def leave(self) -> None:
        """Give up every shard, so that another process can own it at once."""
        shards, self._shards = self._shards, {}
        try:
            for shard in shards.values():
                shard.is_lost = True
                if (early := shard.counted) is not None:
                    await self._holds(shard, self._broker.record(shard.claim, early.number, early.deliveries))
        finally:
            try:
                await to_its_end(partial(self._broker.release, [shard.claim for shard in shards.values()]))
            finally:
                await to_its_end(partial(self._broker.leave, self.name))

    async def _claim(self) -> None:
        missing = [number for number in range(self._broker.shards) if number not in self._shards]
        for claim in await self._broker.claim(self.name, missing) if missing else ():
            self._shards[claim.shard] = _Shard(claim, claim.low)

    async def _load(self) -> None:
        """Read entries of every shard that has room."""
        self.has_more = False
        roomy = [shard for shard in self._shards.values() if shard.room(self._window) > 0]
        wanted = [(shard.claim, shard.read_through, shard.room(self._window)) for shard in roomy]
        for shard, entries in zip(roomy, await self._broker.read(wanted) if wanted else (), strict=True):
            if entries is None:
                self._lose(shard)
                continue
            before = shard.read_through
            self._offer(shard, entries)
            self.has_more |= shard.read_through > before
            passed = frozenset(shard.passed)
            if passed and await self._holds(shard, self._broker.settle(shard.claim, passed, low=shard.low_without(passed))):
                shard.settled(passed)
                shard.passed = []

    def _offer(self, shard: _Shard, entries: Sequence[Entry]) -> None:
        """Put entries into the queue, at most as many as it has room for. Those that were settled, or are not wanted, have passed."""
        again = [entry for entry in entries if entry.place < 0 and entry.place not in shard.again]
        for entry in again[: shard.room(self._window)]:  # before others, which would fill the queue again and again
            event = self._event_of(entry, shard)
            shard.again.add(entry.place)
            shard.queue.offer_again(QueuedEvent(event, shard.claim.deliveries.get(entry.place, 0), entry.place))
        for entry in entries:
            if entry.place > shard.read_through and shard.room(self._window) > 0:
                event = self._event_of(entry, shard)
                shard.read_through = entry.place
                shard.open[entry.place] = shard.entries
                shard.entries += 1
                if entry.place in shard.claim.settled or not self.filter.takes(event):
                    shard.passed.append(entry.place)
                else:
                    shard.queue.offer(QueuedEvent(event, shard.claim.deliveries.get(entry.place, 0), entry.place))

    def _event_of(self, entry: Entry, shard: _Shard) -> RecordedEvent:
        return _decoded(entry.data, decode_entry, self._broker.name, f"entry {entry.place} of shard {shard.claim.shard}")

    async def _bury(self, shard: _Shard, queued: QueuedEvent, reason: str) -> bool:
        """Make an event that a consumer has a dead letter. Return False if the shard is lost."""
        letter = encode_letter(queued.event, reason=reason, deliveries=queued.deliveries, since=self._clock.now())
        low = shard.low_without((queued.number,))
        if not await self._holds(shard, self._broker.bury(shard.claim, queued.number, str(queued.event.event_id), letter, low=low)):
            return False
        shard.queue.settle(queued)
        shard.settled((queued.number,))
        return True

    async def _holds(self, shard: _Shard, call: Awaitable[None]) -> bool:
        """Await a call with the claim of a shard; return False, and drop the shard, if the claim is lost."""
        try:
            await call
        except OwnershipLostError:
            self._lose(shard)
            return False
        return True

    def _lose(self, shard: _Shard) -> None:
        shard.is_lost = True
        if self._shards.get(shard.claim.shard) is shard:
            del self._shards[shard.claim.shard]

    def _in_turn(self) -> Iterator[_Shard]:
        """Yield the shards, and let the one after the first that is used be first the next time."""
        for number in tuple(self._shards):
            shard = self._shards.pop(number)
            self._shards[number] = shard
            yield shard


class ShardedSubscription:
    """A :class:`~inventory_es.ports.BusSubscription`. Raises ``StoreClosedError`` after the bus was closed, or the block has ended."""

    def __init__(self, group: _Group, check_bus: Callable[[], None], name: str, poll_interval: float) -> None:
        self._group = group
        self._check_bus = check_bus
        self._name = name
        self._poll_interval = poll_interval
        self._out: dict[QueuedDelivery, tuple[_Shard, QueuedEvent]] = {}
        self._has_left = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> QueuedDelivery:
        self._check_open()
        while True:
            change = self._group.change
            async with self._group.lock:
                self._check_open()
                taken = await self._group.take()
                if taken is not None:
                    delivery = QueuedDelivery(self.answer, taken[1].event, taken[1].deliveries)
                    self._out[delivery] = taken
                    return delivery
                has_more = self._group.has_more
            if not has_more:
                with anyio.move_on_after(self._poll_interval):
                    await change.wait()
            self._check_open()

    async def answer(self, delivery: QueuedDelivery, reason: str | None) -> None:
        """Acknowledge a delivery, or refuse it with a reason. Only the first answer counts."""
        self._check_open()
        async with self._group.lock:
            self._check_open()
            shard, queued = self._out.get(delivery, (None, None))
            if shard is None or queued is None:
                return
            if not shard.is_lost:
                if reason is None:
                    await self._group.settle(shard, queued)
                else:
                    await self._group.fail(shard, queued, reason)
            if self._out.pop(delivery, None) is not None:
                shard.out -= 1
            await self._group.end()
        self._group.notify()

    async def leave(self) -> None:
        """Leave the group, and give back the unanswered deliveries. The last consumer of this process gives up the shards."""
        self._has_left = True
        self._group.notify()
        try:
            async with self._group.lock:
                while self._out:
                    delivery, (shard, queued) = next(iter(self._out.items()))
                    if not shard.is_lost:
                        await self._give_back(shard, queued)
                    shard.out -= 1
                    del self._out[delivery]
        finally:
            for shard, queued in self._out.values():  # asyncio interrupts even this: whoever takes it next gives it up
                shard.out -= 1
                shard.queue.put_back(queued)
            self._out.clear()
            self._group.consumers -= 1
            self._group.notify()
            if not self._group.consumers:
                await self._group.leave()

    async def _give_back(self, shard: _Shard, queued: QueuedEvent) -> None:
        try:
            await self._group.fail(shard, queued, _NO_ANSWER, to_its_place=True)
        except EventBusUnavailableError:  # whoever takes it next gives it up
            shard.queue.put_back(queued)

    def _check_open(self) -> None:
        self._check_bus()
        if self._has_left:
            raise StoreClosedError(store=self._name, reason="this consumer has left its group, which gets again what it did not answer")


class ShardedBus(EventBus):
    """An :class:`~inventory_es.ports.EventBus` over a :class:`~inventory_es.ports.toolkit.broker.Broker`.

    A shard of a group belongs to one process at a time; its consumers there share it. Other processes stand by, and take over the
    shards of one that left at once, or of one that died after the broker's lease. What was delivered and not answered then comes again.

    Args:
        broker: has the logs; closing the bus closes it.
        clock: gives a dead letter its time.
        durable: True if the broker's logs survive a restart.
        max_deliveries: the deliveries after which an event becomes a dead letter, 1 or more.
        window: the most unanswered events of a shard in memory, 1 or more. At most 100 times as many events of a shard are handled before
            one that has no answer; then the shard waits for it.
        max_event_bytes: the largest event that the bus takes, in bytes.
        poll_interval: the longest delay until events of another process are seen, in seconds, above 0.
        survives_fork: True if the broker refuses a handle that a fork inherited.
        source: the name of the publisher in the CloudEvents that the logs have.
        late_subscribers: ``live`` if the broker keeps no events for a group that does not exist yet.

    Raises:
        ValueError: a bound out of range, or no source.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        clock: Clock,
        durable: bool,
        max_deliveries: int = 5,
        window: int = 100,
        max_event_bytes: int = 1 << 20,
        poll_interval: float = 0.05,
        survives_fork: bool = False,
        source: str = "inventory_es",
        late_subscribers: Literal["live", "replay"] = "replay",
    ) -> None:
        if not source:
            msg = "source is empty: give the name of the publisher, such as that of a shop"
            raise ValueError(msg)
        if min(max_deliveries, window, max_event_bytes) < 1 or not poll_interval > 0:
            msg = "every bound of a bus must be 1 or more, and poll_interval above 0"
            raise ValueError(msg)
        self._broker = broker
        self._clock = clock
        self._window = window
        self._poll_interval = poll_interval
        self._source = source
        self._capabilities = BusCapabilities(
            durable=durable,
            late_subscribers=late_subscribers,
            max_deliveries=max_deliveries,
            max_pending=NO_BOUND,
            max_in_memory=window * broker.shards,
            max_event_bytes=max_event_bytes,
            survives_fork=survives_fork,
        )
        self._groups: dict[str, _Group] = {}
        self._publishing = anyio.Lock()
        self._is_closed = False

    @property
    def capabilities(self) -> BusCapabilities:
        """The promises of this bus, constant for its lifetime."""
        return self._capabilities

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        """Append events to the logs of their shards, durably as declared. See :meth:`inventory_es.ports.EventBus.publish`."""
        self._check_open()
        check_events(events, max_event_bytes=self._capabilities.max_event_bytes)
        batches: dict[int, list[bytes]] = {}
        for event in events:
            batches.setdefault(self._shard_of(event.stream), []).append(encode_entry(event, source=self._source))
        async with self._publishing:  # calls keep their order
            self._check_open()
            if batches:
                await self._broker.publish(batches)
        for group in self._groups.values():
            group.notify()

    @asynccontextmanager
    async def subscribe(
        self,
        group: str,
        /,
        *,
        types: Collection[str] | None = None,
        streams: Collection[StreamId] | None = None,
    ) -> AsyncGenerator[ShardedSubscription, None]:
        """Join ``group`` as one consumer. See :meth:`inventory_es.ports.EventBus.subscribe`.

        All consumers of a group give the same filter, in every process. The first consumer in a process may bring another one; it holds
        for events that were not settled before.

        Raises:
            ValueError: an invalid name, or the group has consumers here with another filter.
        """
        check_group(group)
        wanted = GroupFilter.of(types, streams)
        self._check_open()
        try:
            await self._broker.join(group)
        except BaseException:
            if (known := self._groups.get(group)) is None or not known.consumers:
                with anyio.CancelScope(shield=True), suppress(StoreClosedError, EventBusUnavailableError):
                    await self._broker.leave(group)
            raise
        self._check_open()
        joined = self._groups.get(group)
        if joined is None or not joined.consumers:
            maximum = self._capabilities.max_deliveries
            joined = _Group(group, wanted, self._broker, window=self._window, max_deliveries=maximum, clock=self._clock)
            self._groups[group] = joined
        elif joined.filter != wanted:
            msg = f"group {group!r} has consumers with another filter: a group has one filter, name another group"
            raise ValueError(msg)
        joined.consumers += 1
        subscription = ShardedSubscription(joined, self._check_open, self._broker.name, self._poll_interval)
        try:
            yield subscription
        finally:
            with anyio.CancelScope(shield=True), suppress(StoreClosedError, EventBusUnavailableError):  # the broker's lease ends it
                await subscription.leave()

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the oldest ``limit`` dead letters of a group, 1 or more."""
        check_group(group)
        check_page(limit=limit)
        self._check_open()
        letters = await self._broker.dead_letters(group, limit=limit)
        return [_decoded(one, decode_letter, self._broker.name, f"a dead letter of group {group!r}") for one in letters]

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        """Deliver dead letters again, with fresh attempts; return how many there were. Any process may have the group's consumers."""
        check_group(group)
        self._check_open()
        count = await self._broker.revive(group, sorted({str(event_id) for event_id in event_ids}))
        if (known := self._groups.get(group)) is not None:
            known.notify()
        return count

    async def aclose(self) -> None:
        """End every subscription, and close the broker. Idempotent."""
        self._is_closed = True
        for group in self._groups.values():
            group.notify()
        await self._broker.aclose()

    def _shard_of(self, stream: StreamId) -> int:
        return int.from_bytes(blake2b(stream.text.encode(), digest_size=8).digest()) % self._broker.shards

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosedError(store=self._broker.name)
