"""The contract of the event store, and what its cases are made of."""

from inventory_es.testing.contracts.event_store.contract import EventStoreContract

__all__ = ["EventStoreContract"]
