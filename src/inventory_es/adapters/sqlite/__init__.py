"""Storage in one SQLite file, from the standard library alone."""

from inventory_es.adapters.sqlite.event_store import SqliteEventStore, open_sqlite, open_sqlite_event_store

__all__ = ["SqliteEventStore", "open_sqlite", "open_sqlite_event_store"]
