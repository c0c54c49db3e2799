"""The event bus on Apache Kafka, or on a server that speaks its protocol. Needs the extra ``kafka``."""

from inventory_es.adapters.kafka.event_bus import KafkaEventBus, bus_at, open_kafka_event_bus

__all__ = ["KafkaEventBus", "bus_at", "open_kafka_event_bus"]
