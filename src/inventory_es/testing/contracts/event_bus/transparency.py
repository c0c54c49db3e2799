"""EB-21: a projection through the bus equals one from the store alone."""

from collections.abc import Sequence

import anyio
import attrs

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent, StreamWrite
from inventory_es.ports.errors import EventBusUnavailableError
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus, TestedSubscription
from inventory_es.testing.faults.event_bus import FaultyEventBus
from inventory_es.testing.faults.faults import Faults
from inventory_es.testing.promise import MismatchError, promise

_ROUNDS = 20
_NAMES = ("x", "y", "z")


class TransparencyCases:
    """Cases of a bus that is only a faster way to the events of the store."""

    @promise(
        "EB-21",
        "Projections fed by a bus that drops, duplicates and reorders, with catch-up from the store, equal those from the store alone.",
        seeds=6,
    )
    async def test_eb_21_bus_transparency(self, harness: BusHarness) -> None:
        chance = harness.run.schedule.chance
        faults = Faults.by_seed(chance.randrange(1 << 32), rate=0.6, kinds=("drop", "duplicate", "reorder", "fail_after"))
        store = MemoryEventStore()
        async with harness.open() as bus, bus.join("projection") as consumer:
            most = max(1, min(3, bus.capabilities.max_pending // 2))
            line = _Line(harness, store, bus, consumer, faults)
            for _ in range(_ROUNDS):
                await line.carry([chance.choice(_NAMES) for _ in range(chance.randint(1, most))])
            faults.stop()
            for name in _NAMES:
                await line.carry([name])
        fed, alone = line.projection, _Projection(store)
        for name in _NAMES:
            await alone.catch_up(stream_id(name))
            wanted, got = alone.rows[stream_id(name)], fed.rows[stream_id(name)]
            if got != wanted:
                raise MismatchError(
                    expected=f"{name}: {harness.labels.show(wanted)}",
                    got=f"{harness.labels.show(got)}",
                    meaning="what the bus delivered is not what the store holds, and a projection believed it",
                )


@attrs.define
class _Projection:
    """A projection that sees every event of every stream once and in order: from the bus, and, where one is missing, from the store."""

    store: MemoryEventStore
    rows: dict[StreamId, list[RecordedEvent]] = attrs.field(factory=dict[StreamId, list[RecordedEvent]])

    async def take(self, event: RecordedEvent) -> None:
        """Apply the next event of its stream, skip an old one, and catch up if one before it is missing."""
        rows = self.rows.setdefault(event.stream, [])
        if event.version == len(rows) + 1:
            rows.append(event)
        elif event.version > len(rows):
            await self.catch_up(event.stream)

    async def catch_up(self, stream: StreamId) -> None:
        """Apply the events of the store."""
        rows = self.rows.setdefault(stream, [])
        rows += (await self.store.read_stream(stream, after=len(rows), limit=1_000)).events


class _Line:
    """A line from a store, by a relay and a bus that fails, to a projection."""

    def __init__(self, harness: BusHarness, store: MemoryEventStore, bus: TestedBus, consumer: TestedSubscription, faults: Faults) -> None:
        self.projection = _Projection(store)
        self._harness = harness
        self._store = store
        self._bus = bus
        self._consumer = consumer
        self._taken = anyio.Event()
        self._faulty = FaultyEventBus(self, faults)  # type: ignore[arg-type]  # it has the methods of a bus that are called here

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        """Publish the events that the faults let through on the bus under test, and read it meanwhile."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._take)
            await self._bus.publish_events(events)
            with anyio.move_on_after(self._harness.contract.patience_for_delivery):
                while not self._consumer.model.is_drained:
                    await self._taken.wait()
                    self._taken = anyio.Event()
            tasks.cancel_scope.cancel()
        if not self._consumer.model.is_drained:
            await self._consumer.receive()

    async def carry(self, names: Sequence[str]) -> None:
        """Append an event to each of these streams, publish them at least once, as a relay does, and apply what arrives."""
        after = await self._store.head()
        for number, name in enumerate(names, after + 1):
            version = (await self._store.read_stream(stream_id(name), limit=1)).version
            await self._store.append([StreamWrite(stream_id(name), version, self._harness.labels.events(f"{name}{number}"))])
        events = (await self._store.read_all(after=after, limit=len(names))).events
        is_done = False
        while not is_done:
            try:
                await self._faulty.publish(events)
                is_done = True
            except EventBusUnavailableError:
                is_done = False  # the outcome of the publish is unknown

    async def _take(self) -> None:
        while True:
            delivery = await self._consumer.next()
            with anyio.CancelScope(shield=True):
                await self.projection.take(delivery.event)
                await self._consumer.ack(delivery)
            self._taken.set()
