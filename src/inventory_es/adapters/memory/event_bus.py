"""The reference event bus, in memory."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Self
from uuid import UUID

import attrs
from anyio.abc import AsyncResource

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError
from inventory_es.ports.event_bus import BusCapabilities, DeadLetter, EventBus
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.append_rules import check_page
from inventory_es.ports.toolkit.delivery_rules import DeliveryQueue, GroupFilter, QueuedDelivery, QueuedEvent, check_events, check_group
from inventory_es.ports.toolkit.waiting import STATE_LOCK, Event, Exclusive, give_way, new_event, scope

_NAME = "MemoryEventBus"


@attrs.define(eq=False)
class _Group:
    """The state of a group, which outlives its consumers. Synchronous.

    Attributes:
        name: of the group.
        filter: the events that the group takes.
        max_deliveries: the deliveries after which an event becomes a dead letter.
        max_dead_letters: the most dead letters. A group that has so many gives up no further event.
        change: is set with the next change of the group.
    """

    name: str
    filter: GroupFilter
    max_deliveries: int
    max_dead_letters: int
    consumers: int = 0
    letters: list[DeadLetter] = attrs.field(factory=list[DeadLetter])
    _queue: DeliveryQueue = attrs.field(factory=DeliveryQueue)
    change: Event = attrs.field(factory=new_event)

    def __len__(self) -> int:
        """Return the number of unanswered events, without the dead letters."""
        return len(self._queue)

    def join(self, wanted: GroupFilter) -> None:
        """Count one more consumer. The first consumer of an empty group may bring another filter.

        Raises:
            ValueError: the group has consumers with another filter.
        """
        if wanted != self.filter:
            if self.consumers:
                msg = f"group {self.name!r} has consumers with another filter: a group has one filter, name another group"
                raise ValueError(msg)
            self.filter = wanted
            self._queue.drop(lambda event: not wanted.takes(event))
        self.consumers += 1

    def offer(self, event: RecordedEvent) -> None:
        if self.filter.takes(event):
            self._queue.offer(QueuedEvent(event))
            self.notify()

    def take(self) -> QueuedEvent | None:
        return self._queue.take()

    def settle(self, event: QueuedEvent) -> None:
        self._queue.settle(event)
        self.notify()

    def fail(self, event: QueuedEvent, reason: str, now: datetime) -> None:
        if not self._give_up(event, reason, now):
            self._queue.put_behind(event)
        self.notify()

    def put_back(self, event: QueuedEvent, now: datetime) -> None:
        if not self._give_up(event, "its consumer left without an answer", now):
            self._queue.put_back(event)
        self.notify()

    def redeliver(self, event_ids: Collection[UUID]) -> int:
        chosen = [letter for letter in self.letters if letter.event.event_id in event_ids]
        self.letters = [letter for letter in self.letters if letter.event.event_id not in event_ids]
        for letter in reversed(chosen):
            self._queue.offer_again(QueuedEvent(letter.event))
        self.notify()
        return len(chosen)

    def notify(self) -> None:
        """Wake every task that waits for a change of the group."""
        changed, self.change = self.change, new_event()
        changed.set()

    def _give_up(self, event: QueuedEvent, reason: str, now: datetime) -> bool:
        if event.deliveries < self.max_deliveries or len(self.letters) >= self.max_dead_letters:
            return False
        self._queue.settle(event)
        self.letters.append(DeadLetter(event.event, reason, event.deliveries, now))
        return True


class MemorySubscription:
    """A :class:`~inventory_es.ports.BusSubscription`. Raises ``StoreClosedError`` after the bus was closed, or the block has ended."""

    def __init__(self, group: _Group, clock: Clock, check_bus: Callable[[], None]) -> None:
        self._group = group
        self._clock = clock
        self._check_bus = check_bus
        self._out: dict[QueuedDelivery, QueuedEvent] = {}
        self._has_left = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> QueuedDelivery:
        await self._begin()
        while True:
            queued = self._group.take()
            if queued is not None:
                delivery = QueuedDelivery(self.answer, queued.event, queued.deliveries)
                self._out[delivery] = queued
                return delivery
            await self._group.change.wait()
            self._check_open()

    async def answer(self, delivery: QueuedDelivery, reason: str | None) -> None:
        """Acknowledge a delivery, or refuse it with a reason. Only the first answer counts."""
        await self._begin()
        queued = self._out.pop(delivery, None)
        if queued is None:
            return
        if reason is None:
            self._group.settle(queued)
        else:
            self._group.fail(queued, reason, self._clock.now())

    def leave(self) -> None:
        """Leave the group, and give back the unanswered deliveries."""
        self._has_left = True
        self._group.consumers -= 1
        now = self._clock.now()
        for queued in self._out.values():
            self._group.put_back(queued, now)
        self._out.clear()
        self._group.notify()

    async def _begin(self) -> None:
        self._check_open()
        await give_way()
        self._check_open()

    def _check_open(self) -> None:
        self._check_bus()
        if self._has_left:
            raise StoreClosedError(store=_NAME, reason="this consumer has left its group, which gets again what it did not answer")


class MemoryEventBus(EventBus, AsyncResource):
    """An :class:`~inventory_es.ports.EventBus` in memory: **the reference** of its port.

    A group exists from its first subscription until it is forgotten, and sees the events published from then on. Events that are published
    while it has no consumer wait for it. Nothing survives the process.

    Args:
        clock: gives a dead letter its time.
        max_deliveries: the deliveries after which an event becomes a dead letter, 1 or more.
        max_pending: the most unanswered events of a group, 1 or more. While a group has so many, ``publish`` waits.
        max_dead_letters: the most dead letters of a group, 1 or more. Beyond it, an event is delivered until it is handled.
        max_event_bytes: the largest event that the bus takes, in bytes.
        publish_timeout: the longest that ``publish`` waits for room, in seconds; then it raises ``EventBusUnavailableError``.

    Raises:
        ValueError: a bound below 1.
    """

    serves_threads: bool = True

    def __init__(
        self,
        *,
        clock: Clock,
        max_deliveries: int = 5,
        max_pending: int = 10_000,
        max_dead_letters: int = 10_000,
        max_event_bytes: int = 1 << 20,
        publish_timeout: float = 30.0,
    ) -> None:
        if min(max_deliveries, max_pending, max_dead_letters, max_event_bytes) < 1:
            msg = "every bound of a bus must be 1 or more"
            raise ValueError(msg)
        self._clock = clock
        self._capabilities = BusCapabilities(max_deliveries=max_deliveries, max_pending=max_pending, max_event_bytes=max_event_bytes)
        self._max_dead_letters = max_dead_letters
        self._publish_timeout = publish_timeout
        self._groups: dict[str, _Group] = {}
        self._publishing = Exclusive()
        self._is_closed = False

    @property
    def capabilities(self) -> BusCapabilities:
        return self._capabilities

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        """Hand events to every group, one after the other. See :meth:`inventory_es.ports.EventBus.publish`.

        A call that is cancelled or timed out while it waits for room has published the first of its events: publish all again.

        Raises:
            EventBusUnavailableError: a group has had no room for longer than the timeout.
        """
        await self._begin()
        check_events(events, max_event_bytes=self._capabilities.max_event_bytes)
        given = tuple(events)
        with scope(self._publish_timeout) as waiting_for_room:
            async with self._publishing:
                for event in given:
                    await self._publish(event)
        if waiting_for_room.cancelled_caught:
            raise EventBusUnavailableError(bus=_NAME, reason=f"no room within {self._publish_timeout:g} s in the groups {self._full()}")

    @asynccontextmanager
    async def subscribe(
        self,
        group: str,
        /,
        *,
        types: Collection[str] | None = None,
        streams: Collection[StreamId] | None = None,
    ) -> AsyncGenerator[MemorySubscription, None]:
        """Join ``group`` as one consumer. See :meth:`inventory_es.ports.EventBus.subscribe`.

        The filter belongs to the group: all its consumers give the same one. The first consumer of a group without consumers may bring
        another filter; waiting events that do not pass it are dropped.

        Raises:
            ValueError: an invalid name, or the group has consumers with another filter.
        """
        check_group(group)
        wanted = GroupFilter.of(types, streams)
        await self._begin()
        joined = self._groups.get(group)
        if joined is None:
            joined = self._groups[group] = _Group(group, wanted, self._capabilities.max_deliveries, self._max_dead_letters)
        joined.join(wanted)
        subscription = MemorySubscription(joined, self._clock, self._check_open)
        try:
            yield subscription
        finally:
            subscription.leave()

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        check_group(group)
        check_page(limit=limit)
        await self._begin()
        known = self._groups.get(group)
        return [] if known is None else known.letters[:limit]

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        check_group(group)
        await self._begin()
        known = self._groups.get(group)
        return 0 if known is None else known.redeliver(frozenset(event_ids))

    async def forget_group(self, group: str, /) -> None:
        """Drop a group that nobody will join again, with all its waiting events. A missing group is a no-op.

        Raises:
            ValueError: the group has consumers.
        """
        check_group(group)
        await self._begin()
        known = self._groups.get(group)
        if known is not None and known.consumers:
            msg = f"group {group!r} has consumers: end their subscriptions first"
            raise ValueError(msg)
        self._groups.pop(group, None)
        if known is not None:
            known.notify()

    async def aclose(self) -> None:
        """End every subscription and refuse every further call. Idempotent."""
        self._is_closed = True
        for group in self._groups.values():
            group.notify()
        await give_way()

    async def _publish(self, event: RecordedEvent) -> None:
        while True:
            self._check_open()
            with STATE_LOCK:
                full = next((each for each in self._groups.values() if each.filter.takes(event) and self._is_full(each)), None)
                if full is None:
                    for group in self._groups.values():
                        group.offer(event)
                    return
                change = full.change
            await change.wait()

    def _is_full(self, group: _Group) -> bool:
        return len(group) >= self._capabilities.max_pending

    def _full(self) -> str:
        return ", ".join(repr(group.name) for group in self._groups.values() if self._is_full(group)) or "that were full"

    async def _begin(self) -> None:
        self._check_open()
        await give_way()
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosedError(store=_NAME)
