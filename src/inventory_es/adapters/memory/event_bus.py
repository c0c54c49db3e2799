"""The reference event bus, in memory."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Self
from uuid import UUID

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError
from inventory_es.ports.event_bus import BusCapabilities, DeadLetter
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.append_rules import check_page
from inventory_es.ports.toolkit.delivery_rules import DeliveryQueue, GroupFilter, QueuedEvent, check_events, check_group


@attrs.define(eq=False)
class MemoryBusGroup:
    """The state of a group, which outlives its consumers.

    Attributes:
        name: of the group.
        filter: what it takes.
        max_deliveries: after so many, an event is given up.
        max_dead_letters: while there are so many, no event is given up.
    """

    name: str
    filter: GroupFilter
    max_deliveries: int
    max_dead_letters: int
    consumers: int = 0
    letters: list[DeadLetter] = attrs.field(factory=list[DeadLetter])
    _queue: DeliveryQueue = attrs.field(factory=DeliveryQueue)
    _change: anyio.Event = attrs.field(factory=anyio.Event)

    def __len__(self) -> int:
        """Events that are unanswered, dead letters not among them."""
        return len(self._queue)

    def join(self, wanted: GroupFilter) -> None:
        """One consumer more. The first one of a group that had none may bring another filter.

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
        """Queue an event if the filter takes it."""
        if self.filter.takes(event):
            self._queue.offer(QueuedEvent(event))
            self.notify()

    def take(self) -> QueuedEvent | None:
        """The next event, if one is ready."""
        return self._queue.take()

    def settle(self, event: QueuedEvent) -> None:
        """It was acknowledged."""
        self._queue.settle(event)
        self.notify()

    def fail(self, event: QueuedEvent, reason: str, now: datetime) -> None:
        """It was refused: again later, or given up."""
        if not self._give_up(event, reason, now):
            self._queue.put_behind(event)
        self.notify()

    def put_back(self, event: QueuedEvent, now: datetime) -> None:
        """Its consumer left without an answer: again next, or given up."""
        if not self._give_up(event, "its consumer left without an answer", now):
            self._queue.put_back(event)
        self.notify()

    def redeliver(self, event_ids: Collection[UUID]) -> int:
        """Queue dead letters again; how many there were."""
        chosen = [letter for letter in self.letters if letter.event.event_id in event_ids]
        self.letters = [letter for letter in self.letters if letter.event.event_id not in event_ids]
        for letter in reversed(chosen):
            self._queue.offer_again(QueuedEvent(letter.event))
        self.notify()
        return len(chosen)

    async def wait(self) -> None:
        """Wait until something changes."""
        await self._change.wait()

    def notify(self) -> None:
        """Wake everybody who waits."""
        changed, self._change = self._change, anyio.Event()
        changed.set()

    def _give_up(self, event: QueuedEvent, reason: str, now: datetime) -> bool:
        if event.deliveries < self.max_deliveries or len(self.letters) >= self.max_dead_letters:
            return False
        self._queue.settle(event)
        self.letters.append(DeadLetter(event.event, reason, event.deliveries, now))
        return True


_NAME = "MemoryEventBus"


class MemorySubscription:
    """A :class:`~inventory_es.ports.BusSubscription`. Once the bus is closed, or the block has ended, it raises ``StoreClosedError``."""

    def __init__(self, group: MemoryBusGroup, clock: Clock, check_bus: Callable[[], None]) -> None:
        self._group = group
        self._clock = clock
        self._check_bus = check_bus
        self._out: dict[MemoryDelivery, QueuedEvent] = {}
        self._has_left = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "MemoryDelivery":
        await self._begin()
        while True:
            queued = self._group.take()
            if queued is not None:
                delivery = MemoryDelivery(self, queued.event, queued.deliveries)
                self._out[delivery] = queued
                return delivery
            await self._group.wait()
            self._check_open()

    async def answer(self, delivery: "MemoryDelivery", reason: str | None) -> None:
        """Settle what is out with this consumer, or with a reason refuse it. Only the first answer counts."""
        await self._begin()
        queued = self._out.pop(delivery, None)
        if queued is None:
            return
        if reason is None:
            self._group.settle(queued)
        else:
            self._group.fail(queued, reason, self._clock.now())

    def leave(self) -> None:
        """Give back what is out."""
        self._has_left = True
        self._group.consumers -= 1
        now = self._clock.now()
        for queued in self._out.values():
            self._group.put_back(queued, now)
        self._out.clear()
        self._group.notify()

    async def _begin(self) -> None:
        self._check_open()
        await checkpoint()
        self._check_open()

    def _check_open(self) -> None:
        self._check_bus()
        if self._has_left:
            raise StoreClosedError(store=_NAME, reason="this consumer has left its group, which gets again what it did not answer")


@attrs.frozen(eq=False)
class MemoryDelivery:
    """A :class:`~inventory_es.ports.Delivery`.

    Attributes:
        event: what was published.
        attempt: which delivery of this event to this group it is, starting at 1.
    """

    _subscription: MemorySubscription
    event: RecordedEvent
    attempt: int

    async def ack(self) -> None:
        """It is done. Answering twice is fine: the first answer counts.

        Raises:
            StoreClosedError: the bus was closed, or the consumer has left; the event is delivered again.
        """
        await self._subscription.answer(self, None)

    async def nack(self, reason: str, /) -> None:
        """It failed: deliver it again, or make it a dead letter.

        Raises:
            StoreClosedError: the bus was closed, or the consumer has left; the event is delivered again.
        """
        await self._subscription.answer(self, reason)


class MemoryEventBus:
    """An :class:`~inventory_es.ports.EventBus` in memory: **the reference** of its port.

    A group exists from its first subscription until it is forgotten; what is published while it has no consumer waits for it.
    It sees what is published from then on. Nothing survives the process.

    Args:
        clock: when a dead letter became one.
        max_deliveries: after so many an event is a dead letter, 1 or more.
        max_pending: while a group has so many unanswered events, ``publish`` waits, 1 or more.
        max_dead_letters: while a group has so many, no further event of it is given up: it is delivered until it is handled.
        max_event_bytes: the largest event that it takes, in bytes.
        publish_timeout: the longest that ``publish`` waits for room, in seconds; then it is ``EventBusUnavailableError``.

    Raises:
        ValueError: a bound below 1.
    """

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
        self._groups: dict[str, MemoryBusGroup] = {}
        self._publishing = anyio.Lock()
        self._is_closed = False

    @property
    def capabilities(self) -> BusCapabilities:
        """What this bus promises, constant for its lifetime."""
        return self._capabilities

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        """Hand events to every group, one after the other. See :meth:`inventory_es.ports.EventBus.publish`.

        Cancelled or timed out while it waits for room, it has published the first of them: publish all again.

        Raises:
            EventBusUnavailableError: a group has had no room for longer than the timeout.
        """
        await self._begin()
        check_events(events, max_event_bytes=self._capabilities.max_event_bytes)
        waiting = tuple(events)
        with anyio.move_on_after(self._publish_timeout) as scope:
            async with self._publishing:
                for event in waiting:
                    await self._publish(event)
        if scope.cancelled_caught:
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

        The filter is the group's: all its consumers name the same one. The first consumer of a group that had none may bring
        another; what waits and does not pass it is dropped.

        Raises:
            ValueError: a name that is none, or the group has consumers with another filter.
        """
        check_group(group)
        wanted = GroupFilter.of(types, streams)
        await self._begin()
        joined = self._groups.get(group)
        if joined is None:
            joined = self._groups[group] = MemoryBusGroup(group, wanted, self._capabilities.max_deliveries, self._max_dead_letters)
        joined.join(wanted)
        subscription = MemorySubscription(joined, self._clock, self._check_open)
        try:
            yield subscription
        finally:
            subscription.leave()

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        """The oldest ``limit`` dead letters of a group, 1 or more."""
        check_group(group)
        check_page(limit=limit)
        await self._begin()
        known = self._groups.get(group)
        return [] if known is None else known.letters[:limit]

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        """Deliver dead letters again, with fresh attempts; how many there were."""
        check_group(group)
        await self._begin()
        known = self._groups.get(group)
        return 0 if known is None else known.redeliver(frozenset(event_ids))

    async def forget_group(self, group: str, /) -> None:
        """Drop a group that nobody will join again, with all that waits for it. A missing one is fine.

        Raises:
            ValueError: it has consumers.
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
        """End every subscription and refuse every further call. Closing twice is fine."""
        self._is_closed = True
        for group in self._groups.values():
            group.notify()
        await checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def _publish(self, event: RecordedEvent) -> None:
        while True:
            self._check_open()
            full = next((each for each in self._groups.values() if each.filter.takes(event) and self._is_full(each)), None)
            if full is None:
                break
            await full.wait()
        for group in self._groups.values():
            group.offer(event)

    def _is_full(self, group: MemoryBusGroup) -> bool:
        return len(group) >= self._capabilities.max_pending

    def _full(self) -> str:
        return ", ".join(repr(group.name) for group in self._groups.values() if self._is_full(group)) or "that were full"

    async def _begin(self) -> None:
        self._check_open()
        await checkpoint()
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosedError(store=_NAME)
