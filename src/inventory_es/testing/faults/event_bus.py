"""An event bus that fails, drops, duplicates and reorders: worse than its port allows, because projections must survive that too."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import BusCapabilities, BusSubscription, DeadLetter, Delivery, EventBus, RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError
from inventory_es.testing.faults.faults import Faults


class FaultyEventBus:
    """An event bus whose calls fail as ``faults`` says.

    ``publish``: a lost call has no effect and raises nothing, a duplicate publishes twice, a reordered call publishes in reverse.
    ``ack`` and ``nack``: a lost answer is not given, so the event comes again. Other calls fail with ``EventBusUnavailableError``.

    Args:
        bus: the bus to wrap.
        faults: decides which call fails, and how.
    """

    def __init__(self, bus: EventBus, faults: Faults) -> None:
        self.__wrapped__ = self._bus = bus
        self._faults = faults

    @property
    def capabilities(self) -> BusCapabilities:
        """The capabilities of the wrapped bus."""
        return self._bus.capabilities

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        """Publish, or fail."""
        await self._faults.run(
            "publish",
            partial(self._bus.publish, events),
            unavailable=_away(),
            unknown=_away(),
            lost=lambda: None,
            reordered=partial(self._bus.publish, list(reversed(events))),
        )

    @asynccontextmanager
    async def subscribe(
        self, group: str, /, *, types: Collection[str] | None = None, streams: Collection[StreamId] | None = None
    ) -> AsyncGenerator[BusSubscription, None]:
        """Join a group; its deliveries and answers may fail."""
        async with self._bus.subscribe(group, types=types, streams=streams) as subscription:
            yield _FaultySubscription(subscription, self._faults)

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        """Read the dead letters, or fail."""
        call = partial(self._bus.dead_letters, group, limit=limit)
        return await self._faults.run("dead_letters", call, unavailable=_away(), unknown=_away(), lost=list)

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        """Deliver dead letters again, or fail."""
        call = partial(self._bus.redeliver, group, event_ids)
        return await self._faults.run("redeliver", call, unavailable=_away(), unknown=_away(), lost=lambda: 0)

    async def aclose(self) -> None:
        """Close the wrapped bus."""
        await self._bus.aclose()


@attrs.frozen
class _FaultySubscription:
    _subscription: BusSubscription
    _faults: Faults

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return _FaultyDeliveries(aiter(self._subscription), self._faults)


@attrs.frozen
class _FaultyDeliveries:
    _deliveries: AsyncIterator[Delivery]
    _faults: Faults

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        return _FaultyDelivery(await anext(self._deliveries), self._faults)


@attrs.frozen
class _FaultyDelivery:
    _delivery: Delivery
    _faults: Faults

    @property
    def event(self) -> RecordedEvent:
        return self._delivery.event

    @property
    def attempt(self) -> int:
        return self._delivery.attempt

    async def ack(self) -> None:
        await self._faults.run("ack", self._delivery.ack, unavailable=_away(), unknown=_away(), lost=lambda: None)

    async def nack(self, reason: str, /) -> None:
        await self._faults.run("nack", partial(self._delivery.nack, reason), unavailable=_away(), unknown=_away(), lost=lambda: None)


def _away() -> EventBusUnavailableError:
    return EventBusUnavailableError(bus="FaultyEventBus", reason="an injected fault")
