"""The event bus on Amazon SQS. Needs the extra ``sqs``."""

from inventory_es.adapters.sqs.broker import SqsEventBus
from inventory_es.adapters.sqs.event_bus import bus_at, open_sqs_event_bus

__all__ = ["SqsEventBus", "bus_at", "open_sqs_event_bus"]
