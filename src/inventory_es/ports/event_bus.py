"""The port of an event bus: at least once, in order within a stream, bounded redelivery, dead letters."""

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
    """What a bus promises beyond the least.

    Attributes:
        durable: whether a restart keeps what was published, acknowledged and given up, the attempts, and the groups.
        late_subscribers: what a new group sees: ``live`` only, or a ``replay`` of everything kept.
        max_deliveries: how often one event is delivered to a group before it is a dead letter, 1 or more. With 1, nothing that failed
            is delivered again, but by :meth:`EventBus.redeliver`.
        max_pending: how many unanswered events a group may hold, those that are out too, before ``publish`` waits. What its filter does not
            take does not count, and neither do dead letters.
        max_in_memory: how many of them are in memory, about, where the others wait on a disk and ``publish`` does not wait; ``None`` for
            all of them.
        max_event_bytes: the largest event (data and metadata), in bytes.
        survives_fork: whether a process that has it open may fork or become a daemon. Both may publish, the child through a bus that it
            opens itself, and the handle that the child inherited raises ``StoreClosedError``.
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
        event: as published, every field.
        reason: given with the last ``nack``, whole; or why the bus gave up, where a consumer left without an answer.
        deliveries: how often it was delivered, since it was published or delivered again by :meth:`EventBus.redeliver`.
        since: when it became a dead letter, with a time zone.
    """

    event: RecordedEvent
    reason: str
    deliveries: int
    since: datetime


class Delivery(Protocol):
    """One event handed to one consumer, to be answered with ``ack`` or ``nack``.

    An answer counts for this delivery only, and only the first one. A second answer changes nothing, whatever it says, and so does an
    answer after the consumer has left, which may raise ``StoreClosedError``. An answer that was cancelled counts or not, and can be given
    again. A delivery that has no answer when its consumer leaves has failed, as with ``nack``.
    """

    @property
    def event(self) -> RecordedEvent:
        """What was published."""
        ...

    @property
    def attempt(self) -> int:
        """Which delivery of this event to this group it is, starting at 1; it starts again with :meth:`EventBus.redeliver`.

        A delivery that a cancelled receive had taken may count.
        """
        ...

    async def ack(self) -> None:
        """It is done. Answering twice is fine."""
        ...

    async def nack(self, reason: str, /) -> None:
        """It failed: deliver it again, or make it a dead letter with this reason after ``max_deliveries``."""
        ...


class BusSubscription(Protocol):
    """Deliveries to one consumer of a group; iterate it.

    A receive that is cancelled keeps no event: the next receive gets it, of this consumer or, unless the bus hands events to consumers
    that do not receive, of another. Iterating again goes on with the same consumer.
    """

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Deliveries as they come, without end."""
        ...


@runtime_checkable
class EventBus(Protocol):
    """Publish and subscribe. Every group gets every event that its filter takes; within a group one consumer gets it.

    Within a group, a stream goes on in order, one delivery at a time. While a delivery is unanswered, nothing else of its stream comes to
    the group. An event that failed comes again before later ones of its stream, until it is acknowledged or a dead letter. Other streams
    go on meanwhile; a bus may also deliver to a group one event at a time.

    Delivery is at least once. Although nothing failed, an event may come twice, but not a third time after two acknowledgements. Consumers
    tell by stream and version. An event is told by its stream and id: one id in two streams is two events.

    What a call is given stays as it was, and may change after the call. What it answered stays as it is.

    Every method may raise ``EventBusUnavailableError``, and ``StoreClosedError`` after :meth:`aclose` or when its place is taken away.
    """

    @property
    def capabilities(self) -> BusCapabilities:
        """What this bus promises, constant for its lifetime."""
        ...

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        """Hand events to every group, in order within each stream; durable as declared before returning.

        While a group is full, it waits, and every call but publish goes on; a call of more events than ``max_pending`` goes in parts.
        Cancelled, or ended by ``EventBusUnavailableError``, it has published none, all, or the first of them, to some groups or all,
        and publishes nothing later: publish all again.

        Publishing the same event again is allowed (at least once). A group that has had it may get it again or not.

        Raises:
            AppendTooLargeError: an event over ``max_event_bytes``, with its size; nothing of the call was published.
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
        """Join ``group`` as one consumer. What was delivered and not answered when the block ends has failed: see :class:`Delivery`.
        What is raised in the block leaves it as it is.

        A group exists from its first subscription on. It gets what is published while it has no consumer, once one comes back.

        Args:
            group: 1 to 128 characters, any Unicode but lone surrogates. Names that differ in any character are other groups.
            types: only exactly these event types; ``None`` for all, and none of them for nothing.
            streams: only exactly these streams; ``None`` for all, and none of them for nothing.
        """
        ...

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        """The oldest ``limit`` dead letters of a group, the oldest first; none where there is no such group. Reading changes nothing."""
        ...

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        """Deliver dead letters of this group again, to this group only, with fresh attempts, in any order with what waits.

        Two calls at once do not both find one. It may wait while the group is full. What fails again becomes a dead letter again. Ids
        that are none of its dead letters change nothing. Cancelled, each of them is a
        dead letter still or is delivered.

        Returns:
            How many of them were dead letters of this group.
        """
        ...

    async def aclose(self) -> None:
        """Stop every subscription and release every resource. Closing twice is fine."""
        ...
