"""What a simulation puts to the test: the parts that a host, or a mutant, may replace."""

from collections.abc import Callable

import attrs

from inventory_es.adapters.memory import MemoryCache, MemoryEventBus, MemoryEventStore
from inventory_es.adapters.memory.event_store import MemoryEventLog
from inventory_es.application.assembly import Engine, EngineParts, assemble
from inventory_es.ports import Cache, Clock, EventBus, EventCodec, EventStore
from inventory_es.testing.simulation.consumer import Consumer
from inventory_es.testing.simulation.plain_codec import PlainCodec


def _bus(clock: Clock) -> EventBus:
    return MemoryEventBus(clock=clock)


def _cache(clock: Clock) -> Cache:
    return MemoryCache(clock=clock)


@attrs.frozen(kw_only=True)
class Subject:
    """The parts of a simulated application; ours by default.

    Attributes:
        assemble: builds the engine of a node, each time that it starts.
        codec: events to bytes and back.
        open_store: one node's handle on the shared log.
        open_bus: the bus that all nodes share.
        open_cache: the cache that all nodes share.
        consumer: what reads the bus and catches up from the feed.
    """

    assemble: Callable[[EventStore, EngineParts], Engine] = assemble
    codec: EventCodec = attrs.field(factory=PlainCodec)
    open_store: Callable[[MemoryEventLog], MemoryEventStore] = MemoryEventStore
    open_bus: Callable[[Clock], EventBus] = _bus
    open_cache: Callable[[Clock], Cache] = _cache
    consumer: Callable[[EventCodec], Consumer] = Consumer
