"""Event stores over synchronous drivers: :func:`in_threads`."""

from inventory_es.adapters.threads.event_store import ThreadedEventStore, in_threads
from inventory_es.adapters.threads.sync_store import SyncEventFeed, SyncEventStore, SyncGroupCommit, SyncStreamCatalogue

__all__ = ["SyncEventFeed", "SyncEventStore", "SyncGroupCommit", "SyncStreamCatalogue", "ThreadedEventStore", "in_threads"]
