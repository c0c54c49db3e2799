"""The contract of the snapshot store."""

from inventory_es.testing.snapshot_store.contract import SnapshotStoreContract

__all__ = ["SnapshotStoreContract"]
