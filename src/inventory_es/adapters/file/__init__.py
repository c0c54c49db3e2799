"""Storage in a folder, for a person with an editor and for a machine that loses power. Linux and macOS."""

from inventory_es.adapters.file.backup import back_up
from inventory_es.adapters.file.cache import FileCache, open_file_cache
from inventory_es.adapters.file.engine import FileStoreEngine
from inventory_es.adapters.file.event_bus import FileEventBus, open_file_event_bus
from inventory_es.adapters.file.event_store import FileEventStore, open_file, open_file_event_store
from inventory_es.adapters.file.findings import Finding, StreamCheck
from inventory_es.adapters.file.repair import repair
from inventory_es.adapters.file.verify import verify

__all__ = [
    "FileCache",
    "FileEventBus",
    "FileEventStore",
    "FileStoreEngine",
    "Finding",
    "StreamCheck",
    "back_up",
    "open_file",
    "open_file_cache",
    "open_file_event_bus",
    "open_file_event_store",
    "repair",
    "verify",
]
