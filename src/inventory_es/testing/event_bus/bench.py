"""The workbench of the event bus's cases."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import attrs

from inventory_es.ports import BusCapabilities, BusSubscription, DeadLetter, Delivery, EventBus, RecordedEvent
from inventory_es.testing.contract import Run
from inventory_es.testing.event_store.bench import declared_beyond
from inventory_es.testing.failure import MismatchError
from inventory_es.testing.labels import Labels, recorded, show_labels, stream_id

if TYPE_CHECKING:
    from inventory_es.testing.event_bus.contract import EventBusContract

T = TypeVar("T")


@attrs.define(eq=False)
class BusBench:
    """One run of one case: opens buses on its site, and makes the events that are published on them."""

    contract: "EventBusContract"
    run: Run
    labels: Labels = attrs.field(factory=Labels)
    _published: dict[str, RecordedEvent] = attrs.field(factory=dict[str, RecordedEvent])
    _versions: dict[str, int] = attrs.field(factory=dict[str, int])

    @asynccontextmanager
    async def open(self) -> AsyncGenerator["TestedBus", None]:
        """Open an instance on the run's site."""
        async with self.contract.open_bus(self.run.site) as raw:
            self.run.note_opened(raw, attrs.asdict(raw.capabilities), declared_beyond(raw.capabilities, BusCapabilities()))
            yield TestedBus(raw, self)

    def events(self, text: str) -> list[RecordedEvent]:
        """``x a b``: the next events of the stream x. The same label is the same event again."""
        name, _, labels = text.partition(" ")
        return [self._event(name, label) for label in labels.split()]

    def _event(self, name: str, label: str) -> RecordedEvent:
        if label not in self._published:
            version = self._versions[name] = self._versions.get(name, 0) + 1
            position = len(self._published) + 1
            self._published[label] = recorded(stream_id(name), version, position, self.labels.event(label))
        return self._published[label]


@attrs.define(eq=False)
class TestedBus:
    """A bus under test: every call is noted in the history and driven by the schedule."""

    __test__ = False  # no test class, whatever its name begins with

    raw: EventBus
    bench: BusBench

    @property
    def capabilities(self) -> BusCapabilities:
        """What the bus declares."""
        return self.raw.capabilities

    async def publish(self, *texts: str, at_suspension: Callable[[], None] | None = None) -> None:
        """Publish in one call, each text ``x a b``."""
        await self.publish_events([event for text in texts for event in self.bench.events(text)], at_suspension=at_suspension)

    async def publish_events(self, events: Sequence[RecordedEvent], *, at_suspension: Callable[[], None] | None = None) -> None:
        """Publish in one call."""
        note = f"publish {self.bench.labels.show(events)}"
        await self.call(note, self.raw.publish(events), lambda _: "done", at_suspension)

    @asynccontextmanager
    async def join(
        self, group: str, *, types: Collection[str] | None = None, streams: Collection[str] | None = None
    ) -> AsyncGenerator["TestedSubscription", None]:
        """Join a group as one consumer."""
        ids = None if streams is None else [stream_id(name) for name in streams]
        self.bench.run.history.begin(f"join {group}").outcome = "joined"
        async with self.raw.subscribe(group, types=types, streams=ids) as subscription:
            yield TestedSubscription(subscription, self, group)
        self.bench.run.history.begin(f"leave {group}").outcome = "left"

    async def dead_letters(self, group: str) -> Sequence[DeadLetter]:
        """The dead letters of a group."""

        def show(letters: Sequence[DeadLetter]) -> str:
            return self.bench.labels.show(letter.event for letter in letters)

        return await self.call(f"dead letters of {group}", self.raw.dead_letters(group), show)

    async def redeliver(self, group: str, events: Sequence[RecordedEvent]) -> int:
        """Deliver dead letters again."""
        ids = [event.event_id for event in events]
        return await self.call(f"redeliver {self.bench.labels.show(events)} to {group}", self.raw.redeliver(group, ids), str)

    async def close(self) -> None:
        """Close the bus."""
        await self.call("close", self.raw.aclose(), lambda _: "closed")

    async def call(
        self, note: str, call: Coroutine[Any, Any, T], show: Callable[[T], str], at_suspension: Callable[[], None] | None = None
    ) -> T:
        """Drive one call of the adapter and note it."""
        entry = self.bench.run.history.begin(note)
        try:
            result = await self.bench.run.schedule.drive(call, at_suspension)
        except anyio.get_cancelled_exc_class():
            entry.outcome = "cancelled"
            raise
        except Exception as error:
            entry.outcome = type(error).__name__
            raise
        entry.outcome = show(result)
        return result


class TestedSubscription:
    """One consumer of a group."""

    __test__ = False  # no test class, whatever its name begins with

    def __init__(self, raw: BusSubscription, bus: TestedBus, group: str) -> None:
        self._deliveries = aiter(raw)
        self._bus = bus
        self.group = group

    async def receive(self) -> Delivery:
        """The next delivery, which must come."""
        bench = self._bus.bench
        entry = bench.run.history.begin(f"{self.group} receives")
        with anyio.move_on_after(bench.contract.patience_for_delivery):
            try:
                delivery = await bench.run.schedule.drive(_next(self._deliveries))
            except anyio.get_cancelled_exc_class():
                entry.outcome = "nothing"
                raise
            entry.outcome = f"{bench.labels.label(delivery.event)} (attempt {delivery.attempt})"
            return delivery
        raise MismatchError(
            expected=f"a delivery to {self.group}",
            got=f"none within {bench.contract.patience_for_delivery:g} s",
            meaning="an event was lost, or is held back behind one that nobody answers",
        )

    async def ends(self) -> None:
        """Wait for the end of the deliveries: an end of the iteration or ``StoreClosedError``, whatever the bus does."""
        await _next(self._deliveries)

    async def take(self, labels: str, *, meaning: str) -> list[Delivery]:
        """Receive and acknowledge so many events, which must be these, in this order."""
        deliveries: list[Delivery] = []
        for _ in labels.split():
            delivery = await self.receive()
            await self.ack(delivery)
            deliveries.append(delivery)
        got = [self._bus.bench.labels.label(delivery.event) for delivery in deliveries]
        if got != labels.split():
            raise MismatchError(expected=f"{show_labels(labels.split())} to {self.group}", got=show_labels(got), meaning=meaning)
        return deliveries

    async def ack(self, delivery: Delivery) -> None:
        """It is done."""
        label = self._bus.bench.labels.label(delivery.event)
        await self._bus.call(f"ack {label}", delivery.ack(), lambda _: "done")

    async def nack(self, delivery: Delivery, reason: str) -> None:
        """It failed."""
        label = self._bus.bench.labels.label(delivery.event)
        await self._bus.call(f"nack {label}", delivery.nack(reason), lambda _: "done")


async def _next(deliveries: AsyncIterator[Delivery]) -> Delivery:
    return await anext(deliveries)
