"""The contract of the event store."""

from inventory_es.testing.contracts.event_store.contract import EventStoreContract

__all__ = ["EventStoreContract"]
