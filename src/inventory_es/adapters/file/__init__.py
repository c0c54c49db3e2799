"""Storage in a folder, for a person with an editor and for a machine that loses power. Linux and macOS."""

from inventory_es.adapters.file.event_store import FileEventStore, open_file, open_file_event_store

__all__ = ["FileEventStore", "open_file", "open_file_event_store"]
