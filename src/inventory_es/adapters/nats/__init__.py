"""An event bus on NATS JetStream. It needs the extra ``nats``."""

from inventory_es.adapters.nats.event_bus import NatsEventBus, bus_at, open_nats_event_bus

__all__ = ["NatsEventBus", "bus_at", "open_nats_event_bus"]
