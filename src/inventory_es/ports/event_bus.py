"""The port of an event bus: delivery at least once, in order within a stream, with bounded redelivery and dead letters."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent


@attrs.frozen(kw_only=True)
class BusCapabilities:
    """The promises of a bus beyond the least.

    Attributes:
        durable: True if a restart keeps published events, acknowledgements, dead letters, attempts and groups.
        late_subscribers: the events that a new group sees: ``live`` ones only, or a ``replay`` of all kept events.
        max_deliveries: the deliveries of one event to a group before it becomes a dead letter, 1 or more. With 1, a failed event is
            delivered again only by :meth:`EventBus.redeliver`.
        max_pending: the unanswered events of a group, including delivered ones, at which ``publish`` waits. Events that its filter does not
            take don't count, and neither do dead letters.
        max_in_memory: about how many of these are in memory, if the others wait on a disk and ``publish`` does not wait; ``None`` for all.
        max_event_bytes: the largest event (data and metadata), in bytes.
        survives_fork: True if a process may fork or become a daemon while it has the bus open. Both processes may publish, the child
            through a bus that it opens itself. The handle that the child inherited raises ``StoreClosedError``.
    """

    durable: bool = False
    late_subscribers: Literal["live", "replay"] = "live"
    max_deliveries: int = 5
    max_pending: int = 10_000
    max_in_memory: int | None = None
    max_event_bytes: int = 1 << 20
    survives_fork: bool = False


@attrs.frozen
class DeadLetter:
    """An event that a group could not handle.

    Attributes:
        event: as published, in every field.
        reason: the whole reason of the last ``nack``, or the bus's own reason if a consumer left without an answer.
        deliveries: the number of deliveries since the event was published or passed to :meth:`EventBus.redeliver`.
        since: the time at which the event became a dead letter, with a time zone.
    """

    event: RecordedEvent
    reason: str
    deliveries: int
    since: datetime


class Delivery(Protocol):
    """One event delivered to one consumer, to be answered with ``ack`` or ``nack``.

    An answer counts for this delivery only, and only the first answer counts. A second answer changes nothing, whether ``ack`` or ``nack``.
    An answer after the consumer has left changes nothing either, and may raise ``StoreClosedError``. A cancelled answer counts or not, and
    can be repeated. A delivery that has no answer when its consumer leaves has failed, as with ``nack``.
    """

    @property
    def event(self) -> RecordedEvent:
        """The published event."""
        ...

    @property
    def attempt(self) -> int:
        """The number of this delivery of the event to the group, starting at 1, and again at 1 after :meth:`EventBus.redeliver`.

        A delivery that a cancelled receive had taken may count.
        """
        ...

    async def ack(self) -> None:
        """Acknowledge the event. Idempotent."""
        ...

    async def nack(self, reason: str, /) -> None:
        """Report a failure: the event is delivered again, or becomes a dead letter with this reason after ``max_deliveries``."""
        ...


class BusSubscription(Protocol):
    """The deliveries to one consumer of a group, to iterate over.

    A cancelled receive keeps no event. The next receive of this consumer gets the event. So may a receive of another consumer, unless the
    bus assigns events to consumers that do not receive. A second iteration continues with the same consumer.
    """

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Iterate over the deliveries as they come, without end."""
        ...


@runtime_checkable
class EventBus(Protocol):
    """Publish and subscribe. Every group gets every event that its filter takes; within a group one consumer gets it.

    Within a group, a stream is delivered in order, one delivery at a time. While a delivery is unanswered, the group gets nothing else of
    its stream. A failed event comes again before later events of its stream, until it is acknowledged or becomes a dead letter. Meanwhile
    other streams continue; a bus may also deliver to a group one event at a time.

    Delivery is at least once. Even without a failure an event may come twice, but not a third time after two acknowledgements. Consumers
    recognise a repeated event by stream and version. Stream and id identify an event: one id in two streams is two events.

    A call does not change its arguments, which may change after the call. Its results never change.

    Every method may raise ``EventBusUnavailableError``, and ``StoreClosedError`` after :meth:`aclose` or after its place was removed.
    """

    @property
    def capabilities(self) -> BusCapabilities:
        """The promises of this bus, constant for its lifetime."""
        ...

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        """Publish events to every group, in order within each stream, durably as declared before returning.

        While a group is full, the call waits, and calls of other methods go on. A call with more events than ``max_pending`` publishes in
        parts. After a cancellation or ``EventBusUnavailableError``, it has published none, all, or the first of its events, to some groups
        or all. It publishes nothing later: publish all again.

        Publishing the same event again is allowed (at least once). A group that has had the event may get it again or not.

        Raises:
            AppendTooLargeError: an event exceeds ``max_event_bytes``; the error has its size. Nothing of the call was published.
        """
        ...

    def subscribe(
        self,
        group: str,
        /,
        *,
        types: Collection[str] | None = None,
        streams: Collection[StreamId] | None = None,
    ) -> AbstractAsyncContextManager[BusSubscription]:
        """Join ``group`` as one consumer. Deliveries without an answer at the end of the block have failed: see :class:`Delivery`.
        An exception leaves the block unchanged.

        A group exists from its first subscription on. Events that are published while it has no consumer wait for the next one.

        Args:
            group: 1 to 128 characters, any Unicode but lone surrogates. Names that differ in any character are different groups.
            types: exactly these event types; ``None`` for all types, an empty collection for no event.
            streams: exactly these streams; ``None`` for all streams, an empty collection for no event.
        """
        ...

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the oldest ``limit`` dead letters of a group, oldest first; none for a missing group. Reading changes nothing."""
        ...

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        """Deliver dead letters of this group again, to this group only, with fresh attempts, in any order with waiting events.

        Of two concurrent calls, only one finds a given dead letter. The call may wait while the group is full. An event that fails again
        becomes a dead letter again. Ids without a dead letter change nothing. After a cancellation, each event is still a dead letter or is
        delivered.

        Returns:
            The number of ids that were dead letters of this group.
        """
        ...

    async def aclose(self) -> None:
        """End every subscription and release every resource. Idempotent."""
        ...


@runtime_checkable
class GroupLag(Protocol):
    """An optional protocol of buses that tell how far a group is behind."""

    async def lag(self, group: str, /, *, most: int = 10_000) -> int:
        """Return the number of events that are published and not acknowledged by a group, counted up to ``most``, which is 1 or more.

        Dead letters don't count. Events that the filter of the group does not take may count until the group has gone past them. A group
        that never joined is behind by all that it would get.

        Raises:
            ValueError: an invalid name.
            EventBusUnavailableError: the backend is away.
        """
        ...
