"""The contract of the event bus."""

from inventory_es.testing.contracts.event_bus.contract import EventBusContract

__all__ = ["EventBusContract"]
