"""The replaceable parts of a simulated application, and the codec and the consumer that the kit brings itself."""

import json
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from types import UnionType
from typing import Any, get_args, get_type_hints

import attrs

from inventory_es.adapters.memory import MemoryCache, MemoryEventBus, MemoryEventStore
from inventory_es.adapters.memory.event_log import MemoryEventLog
from inventory_es.application.engine import Engine, EngineParts, assemble
from inventory_es.ports import Cache, Clock, EventBus, EventCodec, EventStore
from inventory_es.testing.simulation.consumer import Consumer
from inventory_es.testing.simulation.plain_codec import PlainCodec


def _bus(clock: Clock) -> EventBus:
    return MemoryEventBus(clock=clock)


def _cache(clock: Clock) -> Cache:
    return MemoryCache(clock=clock)


@attrs.frozen(kw_only=True)
class Subject:
    """The parts of a simulated application. The defaults are the package's own.

    Attributes:
        assemble: builds the engine of a node, each time that the node starts.
        codec: turns events into bytes and back.
        open_store: opens one node's handle on the shared log.
        open_bus: opens the bus that all nodes share.
        open_cache: opens the cache that all nodes share.
        consumer: makes a reader of the bus, which catches up from the feed.
    """

    assemble: Callable[[EventStore, EngineParts], Engine] = assemble
    codec: EventCodec = attrs.field(factory=PlainCodec)
    open_store: Callable[[MemoryEventLog], MemoryEventStore] = MemoryEventStore
    open_bus: Callable[[Clock], EventBus] = _bus
    open_cache: Callable[[Clock], Cache] = _cache
    consumer: Callable[[EventCodec], Consumer] = Consumer
