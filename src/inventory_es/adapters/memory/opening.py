"""What the URL scheme ``memory:`` opens."""

from inventory_es.adapters.memory.event_store import MemoryEventStore
from inventory_es.adapters.memory.read_model import MemoryReadModel


async def open_memory(place: str, /) -> MemoryEventStore:
    """Open a fresh, private store: what ``memory:`` means. Data that several stores share is a ``MemoryEventLog``, not a URL.

    Args:
        place: what the URL says after the scheme; empty.

    Raises:
        ValueError: ``place`` is not empty.
    """
    if place:
        msg = "a memory store has no place: write the URL as 'memory:'"
        raise ValueError(msg)
    return MemoryEventStore()


async def open_read_model(_place: str, /) -> MemoryReadModel:
    """Open a fresh, private read model: what ``read_models="memory:"`` means."""
    return MemoryReadModel()
