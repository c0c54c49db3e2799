"""The event bus on RabbitMQ. Needs the extra ``rabbitmq``."""

from inventory_es.adapters.rabbitmq.event_bus import RabbitEventBus, bus_at, open_rabbitmq_event_bus

__all__ = ["RabbitEventBus", "bus_at", "open_rabbitmq_event_bus"]
