"""Storage in one SQLite file, with the standard library alone."""

from inventory_es.adapters.sqlite.event_store import SqliteEventStore, open_sqlite, open_sqlite_event_store
from inventory_es.adapters.sqlite.read_model import SqliteReadModel, open_read_model, open_sqlite_read_model
from inventory_es.adapters.sqlite.upkeep import Finding, StreamCheck, back_up, repair, verify

__all__ = [
    "Finding",
    "SqliteEventStore",
    "SqliteReadModel",
    "StreamCheck",
    "back_up",
    "open_read_model",
    "open_sqlite",
    "open_sqlite_event_store",
    "open_sqlite_read_model",
    "repair",
    "verify",
]
