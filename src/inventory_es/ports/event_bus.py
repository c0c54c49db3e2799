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
        durable: whether what was published survives a restart.
        late_subscribers: what a new group sees: ``live`` only, or a ``replay`` of everything kept.
        max_deliveries: how often one event is delivered to a group before it is a dead letter.
        max_pending: how many undelivered events a group may hold before ``publish`` waits.
        max_in_memory: how many of them are in memory, about, where the others wait on a disk and ``publish`` does not wait; ``None`` for
            all of them.
        max_event_bytes: the largest event (data and metadata), in bytes.
    """

    durable: bool = False
    late_subscribers: Literal["live", "replay"] = "live"
    max_deliveries: int = 5
    max_pending: int = 10_000
    max_in_memory: int | None = None
    max_event_bytes: int = 1 << 20


@attrs.frozen
class DeadLetter:
    """An event that a group could not handle.

    Attributes:
        event: as published.
        reason: given with the last ``nack``, or why the bus gave up.
        deliveries: how often it was delivered.
        since: when it became a dead letter.
    """

    event: RecordedEvent
    reason: str
    deliveries: int
    since: datetime


class Delivery(Protocol):
    """One event handed to one consumer, to be answered with ``ack`` or ``nack``. Unanswered, it is delivered again."""

    @property
    def event(self) -> RecordedEvent:
        """What was published."""
        ...

    @property
    def attempt(self) -> int:
        """Which delivery of this event to this group it is, starting at 1."""
        ...

    async def ack(self) -> None:
        """It is done; the group never sees it again. Answering twice is fine."""
        ...

    async def nack(self, reason: str, /) -> None:
        """It failed: deliver it again, or make it a dead letter with this reason after ``max_deliveries``."""
        ...


class BusSubscription(Protocol):
    """Deliveries to one consumer of a group; iterate it."""

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Deliveries as they come, without end."""
        ...


@runtime_checkable
class EventBus(Protocol):
    """Publish and subscribe. Every group gets every event that its filter takes; within a group one consumer gets it.

    Every method may raise ``EventBusUnavailableError``, and ``StoreClosedError`` after :meth:`aclose` or when its place is taken away.
    """

    @property
    def capabilities(self) -> BusCapabilities:
        """What this bus promises, constant for its lifetime."""
        ...

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        """Hand events to every group, in order within each stream; durable as declared before returning.

        Publishing the same event again is allowed (at least once): consumers know (stream, version).

        Raises:
            AppendTooLargeError: an event over ``max_event_bytes``; nothing of the call was published.
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
        """Join ``group`` as one consumer. What was delivered and not answered when the block ends is delivered again.

        Args:
            group: 1 to 128 characters.
            types: only these event types; ``None`` for all.
            streams: only these streams; ``None`` for all.
        """
        ...

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        """The oldest ``limit`` dead letters of a group."""
        ...

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        """Deliver dead letters again, with fresh attempts.

        Returns:
            How many of them were dead letters of this group.
        """
        ...

    async def aclose(self) -> None:
        """Stop every subscription and release every resource. Closing twice is fine."""
        ...
