"""The contract of the snapshot store."""

from inventory_es.testing.contracts.snapshot_store.contract import SnapshotStoreContract

__all__ = ["SnapshotStoreContract"]
