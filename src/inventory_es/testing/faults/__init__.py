"""Ports that fail by plan or by seed, so that a host can test its own retry and compensation."""

from inventory_es.testing.faults.cache import FaultyCache
from inventory_es.testing.faults.event_bus import FaultyEventBus
from inventory_es.testing.faults.event_store import faulty_event_store
from inventory_es.testing.faults.faults import FaultKind, Faults, Injected
from inventory_es.testing.faults.snapshot_store import FaultySnapshotStore

__all__ = ["FaultKind", "Faults", "FaultyCache", "FaultyEventBus", "FaultySnapshotStore", "Injected", "faulty_event_store"]
