"""A guarded event bus."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from uuid import UUID

import attrs

from inventory_es.application.guards.guard import Guard, GuardChain, GuardedPort
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import BusCapabilities, BusSubscription, DeadLetter, Delivery, EventBus, RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError


class GuardedEventBus:
    """The bus with its calls guarded: publishing, joining a group, answering a delivery, dead letters.

    Publishing again is safe: consumers know (stream, version). Waiting for a delivery passes by the guards: a subscription that fails
    has ended, and its consumer joins again.

    Args:
        bus: what is guarded.
        guards: by whom, the outermost first.
    """

    def __init__(self, bus: EventBus, guards: Sequence[Guard]) -> None:
        name = type(bus).__name__
        port = GuardedPort(name, lambda reason, after: EventBusUnavailableError(bus=name, reason=reason, retry_after=after))
        self._bus = bus
        self._chain = GuardChain(port, guards)

    @property
    def capabilities(self) -> BusCapabilities:
        """Those of the bus."""
        return self._bus.capabilities

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        """See :meth:`EventBus.publish`."""
        await self._chain.run("publish", partial(self._bus.publish, events))

    @asynccontextmanager
    async def subscribe(
        self, group: str, /, *, types: Collection[str] | None = None, streams: Collection[StreamId] | None = None
    ) -> AsyncGenerator[BusSubscription, None]:
        """See :meth:`EventBus.subscribe`."""
        async with AsyncExitStack() as stack:

            async def join() -> BusSubscription:
                return await stack.enter_async_context(self._bus.subscribe(group, types=types, streams=streams))

            yield _GuardedSubscription(await self._chain.run("subscribe", join), self._chain)

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        """See :meth:`EventBus.dead_letters`."""
        return await self._chain.run("dead_letters", partial(self._bus.dead_letters, group, limit=limit))

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        """See :meth:`EventBus.redeliver`."""
        return await self._chain.run("redeliver", partial(self._bus.redeliver, group, event_ids))

    async def aclose(self) -> None:
        """Close the bus."""
        await self._bus.aclose()


@attrs.frozen
class _GuardedSubscription:
    _subscription: BusSubscription
    _chain: GuardChain

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return _GuardedDeliveries(aiter(self._subscription), self._chain)


@attrs.frozen
class _GuardedDeliveries:  # no generator: one that is left early would be closed by nobody
    _deliveries: AsyncIterator[Delivery]
    _chain: GuardChain

    def __aiter__(self) -> AsyncIterator[Delivery]:
        return self

    async def __anext__(self) -> Delivery:
        return _GuardedDelivery(await anext(self._deliveries), self._chain)


@attrs.frozen
class _GuardedDelivery:
    _delivery: Delivery
    _chain: GuardChain

    @property
    def event(self) -> RecordedEvent:
        return self._delivery.event

    @property
    def attempt(self) -> int:
        return self._delivery.attempt

    async def ack(self) -> None:
        await self._chain.run("ack", self._delivery.ack)

    async def nack(self, reason: str, /) -> None:
        await self._chain.run("nack", partial(self._delivery.nack, reason))
