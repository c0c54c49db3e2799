"""Storage in a folder: readable in an editor, and safe when the machine loses power. Linux and macOS."""

from inventory_es.adapters.file.bus.event_bus import FileEventBus, open_bus, open_file_event_bus
from inventory_es.adapters.file.cache import FileCache, open_file_cache
from inventory_es.adapters.file.store.event_store import FileEventStore, open_file, open_file_event_store
from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.adapters.file.upkeep.backup import back_up
from inventory_es.adapters.file.upkeep.verify import Finding, StreamCheck, repair, verify

__all__ = [
    "FileCache",
    "FileEventBus",
    "FileEventStore",
    "FileStore",
    "Finding",
    "StreamCheck",
    "back_up",
    "open_bus",
    "open_file",
    "open_file_cache",
    "open_file_event_bus",
    "open_file_event_store",
    "repair",
    "verify",
]
