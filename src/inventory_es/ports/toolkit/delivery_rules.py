"""Rules of delivery that every event bus shares: the order of events, and redelivery. Synchronous, without I/O."""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from heapq import heappop, heappush
from itertools import chain, count

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import AppendTooLargeError
from inventory_es.ports.records import RecordedEvent

MAX_GROUP_LENGTH = 128


@attrs.frozen
class GroupFilter:
    """The events that a group takes.

    Attributes:
        types: exactly these event types; ``None`` for all.
        streams: exactly these streams; ``None`` for all.
    """

    types: frozenset[str] | None
    streams: frozenset[StreamId] | None

    @classmethod
    def of(cls, types: Collection[str] | None, streams: Collection[StreamId] | None) -> "GroupFilter":
        """Make a filter of the arguments of :meth:`~inventory_es.ports.EventBus.subscribe`.

        Raises:
            ValueError: one text or one stream in place of a collection.
        """
        if isinstance(types, str) or isinstance(streams, StreamId | str):
            msg = "types and streams are collections: write [one] for one"
            raise ValueError(msg)  # noqa: TRY004  # misuse of a port is ValueError
        return cls(None if types is None else frozenset(types), None if streams is None else frozenset(streams))

    def takes(self, event: RecordedEvent) -> bool:
        """Return True if the group gets this event."""
        return (self.types is None or event.event_type in self.types) and (self.streams is None or event.stream in self.streams)


@attrs.define(eq=False)
class QueuedEvent:
    """An event that a group has not answered yet.

    Attributes:
        event: as published.
        deliveries: the number of its deliveries.
        number: of this publication, for a bus that numbers them.
        turn: the place in the group's queue, set by the queue.
    """

    event: RecordedEvent
    deliveries: int = 0
    number: int = 0
    turn: int = 0


@attrs.frozen(eq=False)
class QueuedDelivery:
    """A :class:`~inventory_es.ports.Delivery`. An answer after the close, or after the consumer left, raises ``StoreClosedError``."""

    _answer: Callable[["QueuedDelivery", str | None], Awaitable[None]]
    event: RecordedEvent
    attempt: int

    async def ack(self) -> None:
        """Acknowledge the event. After ``EventBusUnavailableError`` it can be repeated. See :meth:`inventory_es.ports.Delivery.ack`."""
        await self._answer(self, None)

    async def nack(self, reason: str, /) -> None:
        """Refuse the event. See :meth:`inventory_es.ports.Delivery.nack`."""
        await self._answer(self, reason)


@attrs.define(eq=False)
class _Lane:
    """The unanswered events of one stream. While the lane is busy, a consumer has the first one."""

    events: deque[QueuedEvent] = attrs.field(factory=deque[QueuedEvent])
    is_busy: bool = False


class DeliveryQueue:
    """The unanswered events of one group.

    Events are delivered in the order in which they came, except that a stream waits while a consumer has one of its events. A failed event
    moves its stream behind all events that wait at that moment, so that it starves no other stream.
    """

    def __init__(self) -> None:
        self._lanes: dict[StreamId, _Lane] = {}
        self._ready: list[tuple[int, StreamId]] = []
        self._turns = count()
        self._size = 0

    def __len__(self) -> int:
        """Return the number of unanswered events, waiting or with a consumer."""
        return self._size

    def __iter__(self) -> Iterator[QueuedEvent]:
        """Iterate over every event, stream by stream."""
        return chain.from_iterable(lane.events for lane in self._lanes.values())

    def offer(self, event: QueuedEvent) -> None:
        """Add an event behind all others."""
        self._enter(event).append(event)
        self._make_ready(event.event.stream)

    def add_taken(self, event: QueuedEvent) -> None:
        """Add an event that a consumer has: its stream waits for the answer."""
        self._enter(event).append(event)
        self._lanes[event.event.stream].is_busy = True

    def offer_again(self, event: QueuedEvent) -> None:
        """Add an event that had left the queue: in front of its stream, or behind all others if its stream does not wait.

        Of such events with negative numbers, the lower one comes later.
        """
        lane = self._enter(event)
        place = 1 if self._lanes[event.event.stream].is_busy else 0
        while place < len(lane) and 0 > lane[place].number > event.number:
            place += 1
        lane.insert(place, event)
        self._make_ready(event.event.stream)

    def take(self) -> QueuedEvent | None:
        """Take the next event and count a delivery. ``None`` if no event is ready.

        Answer the event with :meth:`settle`, :meth:`put_back` or :meth:`put_behind`.
        """
        if not self._ready:
            return None
        _, stream = heappop(self._ready)
        lane = self._lanes[stream]
        lane.is_busy = True
        event = lane.events[0]
        event.deliveries += 1
        return event

    def after(self, event: QueuedEvent) -> QueuedEvent | None:
        """Return the event that :meth:`take` would give next, once this taken event is settled. ``None`` if no event is ready then."""
        waiting = self._lanes[event.event.stream].events
        follower = waiting[1] if len(waiting) > 1 else None
        if not self._ready or (follower is not None and follower.turn < self._ready[0][0]):
            return follower
        return self._lanes[self._ready[0][1]].events[0]

    def settle(self, event: QueuedEvent) -> None:
        """Remove an event that was acknowledged or given up. Its stream continues."""
        lane = self._lanes[event.event.stream]
        lane.events.popleft()
        lane.is_busy = False
        self._size -= 1
        if lane.events:
            self._push(lane.events[0])
        else:
            del self._lanes[event.event.stream]

    def put_back(self, event: QueuedEvent) -> None:
        """Return an event without an answer to its place in the queue."""
        self._lanes[event.event.stream].is_busy = False
        self._push(event)

    def put_behind(self, event: QueuedEvent) -> None:
        """Return a failed event to the queue, behind all others."""
        event.turn = next(self._turns)
        self.put_back(event)

    def drop(self, is_dropped: Callable[[RecordedEvent], bool]) -> None:
        """Drop events. Called while no consumer has one."""
        kept = sorted((each for each in self if not is_dropped(each.event)), key=lambda each: each.turn)
        self._lanes.clear()
        self._ready.clear()
        self._size = 0
        for each in kept:
            self.offer(each)

    def _enter(self, event: QueuedEvent) -> deque[QueuedEvent]:
        event.turn = next(self._turns)
        self._size += 1
        return self._lanes.setdefault(event.event.stream, _Lane()).events

    def _make_ready(self, stream: StreamId) -> None:
        lane = self._lanes[stream]
        if len(lane.events) == 1 and not lane.is_busy:
            self._push(lane.events[0])

    def _push(self, event: QueuedEvent) -> None:
        heappush(self._ready, (event.turn, event.event.stream))


def check_group(group: str) -> None:
    """Refuse an invalid name of a group.

    Raises:
        ValueError: the name is no text of 1 to 128 characters, or has a lone surrogate.
    """
    if not isinstance(group, str) or not 1 <= len(group) <= MAX_GROUP_LENGTH:
        msg = f"a group is named by a text of 1 to {MAX_GROUP_LENGTH} characters"
        raise ValueError(msg)
    try:
        group.encode()
    except UnicodeEncodeError:
        msg = "the name of a group has a lone surrogate, which no encoding can carry"
        raise ValueError(msg) from None


def check_events(events: Sequence[RecordedEvent], *, max_event_bytes: int) -> None:
    """Refuse events that are too large.

    Raises:
        AppendTooLargeError: an event exceeds ``max_event_bytes``.
    """
    largest = max((event.size for event in events), default=0)
    if largest > max_event_bytes:
        raise AppendTooLargeError(limit_name="event bytes", limit=max_event_bytes, actual=largest)
