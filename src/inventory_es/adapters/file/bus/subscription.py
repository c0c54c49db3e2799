"""One consumer of a file event bus, and what is delivered to it."""

from collections.abc import Callable
from functools import partial
from typing import Self

import anyio
import attrs

from inventory_es.adapters.file.bus.file_bus import FileBus
from inventory_es.adapters.file.bus.group import BusConsumer, FileBusGroup
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import StoreClosedError
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls


class BusChanges:
    """Wakes those who wait for something to be delivered."""

    def __init__(self) -> None:
        self._next = anyio.Event()

    @property
    def next(self) -> anyio.Event:
        """Set with the next change; take it before looking."""
        return self._next

    def notify(self) -> None:
        """Something changed."""
        changed, self._next = self._next, anyio.Event()
        changed.set()


@attrs.define(eq=False)
class FileSubscription:
    """A :class:`~inventory_es.ports.BusSubscription`. Once the bus is closed, or the block has ended, it raises ``StoreClosedError``."""

    _engine: FileBus
    _calls: BlockingCalls
    _changes: BusChanges
    _clock: Clock
    _poll_interval: float
    _group: FileBusGroup
    _consumer: BusConsumer
    _has_left: bool = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "FileDelivery":
        self._consumer.is_cancelled = False
        try:
            return await self._receive()
        except BaseException:
            self._consumer.is_cancelled = True
            self._changes.notify()  # what was taken for this one is there for others
            raise

    async def _receive(self) -> "FileDelivery":
        while True:
            change = self._changes.next
            await self._run(partial(self._group.take, self._consumer, self._clock.now()))
            if self._consumer.ready:
                ticket, queued = self._consumer.ready.popleft()
                return FileDelivery(self, ticket, queued.event, queued.deliveries)
            with anyio.move_on_after(self._poll_interval):
                await change.wait()

    async def ack(self, ticket: int) -> None:
        """Settle what is out with this consumer."""
        await self._run(partial(self._group.settle, self._consumer, ticket))
        self._changes.notify()

    async def nack(self, ticket: int, reason: str) -> None:
        """Refuse what is out with this consumer."""
        await self._run(partial(self._group.fail, self._consumer, ticket, reason, self._clock.now()))
        self._changes.notify()

    def leave(self) -> None:
        """Deliver nothing any more."""
        self._has_left = True
        self._changes.notify()

    async def _run(self, function: Callable[[], None]) -> None:
        if self._has_left:
            raise StoreClosedError(
                store=self._engine.name, reason="this consumer has left its group, which gets again what it did not answer"
            )
        await self._calls.run(self._engine.run, function)


@attrs.frozen(eq=False)
class FileDelivery:
    """A :class:`~inventory_es.ports.Delivery`.

    Attributes:
        event: what was published.
        attempt: which delivery of this event to this group it is, starting at 1.
    """

    _subscription: FileSubscription
    _ticket: int
    event: RecordedEvent
    attempt: int

    async def ack(self) -> None:
        """It is done. Answering twice is fine: the first answer counts.

        Raises:
            StoreClosedError: the bus was closed, or the consumer has left; the event is delivered again.
            EventBusUnavailableError: the file system refused; after a crash the event is perhaps delivered again.
        """
        await self._subscription.ack(self._ticket)

    async def nack(self, reason: str, /) -> None:
        """It failed: deliver it again, or make it a dead letter.

        Raises:
            StoreClosedError: the bus was closed, or the consumer has left; the event is delivered again.
            EventBusUnavailableError: the file system refused; answer again, or leave the group.
        """
        await self._subscription.nack(self._ticket, reason)
