"""Adapters in memory: the reference implementation of each port, for tests and demonstrations."""

from inventory_es.adapters.memory.cache import MemoryCache
from inventory_es.adapters.memory.event_bus import MemoryEventBus
from inventory_es.adapters.memory.event_store import MemoryEventLog, MemoryEventStore, open_memory
from inventory_es.adapters.memory.read_model import MemoryReadModel, open_read_model
from inventory_es.adapters.memory.snapshot_store import MemorySnapshotStore

__all__ = [
    "MemoryCache",
    "MemoryEventBus",
    "MemoryEventLog",
    "MemoryEventStore",
    "MemoryReadModel",
    "MemorySnapshotStore",
    "open_memory",
    "open_read_model",
]
