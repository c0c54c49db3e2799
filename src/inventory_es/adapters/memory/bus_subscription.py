"""One consumer of a memory event bus, and what is delivered to it."""

from collections.abc import Callable
from typing import Self

import attrs
from anyio.lowlevel import checkpoint

from inventory_es.adapters.memory.bus_group import MemoryBusGroup
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.delivery_rules import QueuedEvent

NAME = "MemoryEventBus"


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
            raise StoreClosedError(store=NAME, reason="this consumer has left its group, which gets again what it did not answer")


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
