"""The test kit: contracts for adapters, properties of the domain, a simulator, and faults to inject.

Importing it imports neither a test runner nor hypothesis. Names that need hypothesis are loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inventory_es.testing.clock import ManualClock
    from inventory_es.testing.contracts.cache import CacheContract
    from inventory_es.testing.contracts.event_bus import EventBusContract
    from inventory_es.testing.contracts.event_store import EventStoreContract
    from inventory_es.testing.contracts.read_model import ReadModelContract
    from inventory_es.testing.contracts.snapshot_store import SnapshotStoreContract
    from inventory_es.testing.faults import (
        FaultKind,
        Faults,
        FaultyCache,
        FaultyEventBus,
        FaultySnapshotStore,
        Injected,
        faulty_event_store,
    )
    from inventory_es.testing.promise import BrokenPromiseError
    from inventory_es.testing.simulation import Simulation, simulate
    from inventory_es.testing.site import Site

_HOMES = {
    "BrokenPromiseError": "inventory_es.testing.promise",
    "CacheContract": "inventory_es.testing.contracts.cache",
    "EventBusContract": "inventory_es.testing.contracts.event_bus",
    "EventStoreContract": "inventory_es.testing.contracts.event_store",
    "FaultKind": "inventory_es.testing.faults",
    "Faults": "inventory_es.testing.faults",
    "FaultyCache": "inventory_es.testing.faults",
    "FaultyEventBus": "inventory_es.testing.faults",
    "FaultySnapshotStore": "inventory_es.testing.faults",
    "Injected": "inventory_es.testing.faults",
    "ManualClock": "inventory_es.testing.clock",
    "ReadModelContract": "inventory_es.testing.contracts.read_model",
    "Simulation": "inventory_es.testing.simulation",
    "Site": "inventory_es.testing.site",
    "SnapshotStoreContract": "inventory_es.testing.contracts.snapshot_store",
    "faulty_event_store": "inventory_es.testing.faults",
    "simulate": "inventory_es.testing.simulation",
}
"""The module of each public name. Names are loaded on first use, so that each needs only its own dependencies."""

__all__ = [
    "BrokenPromiseError",
    "CacheContract",
    "EventBusContract",
    "EventStoreContract",
    "FaultKind",
    "Faults",
    "FaultyCache",
    "FaultyEventBus",
    "FaultySnapshotStore",
    "Injected",
    "ManualClock",
    "ReadModelContract",
    "Simulation",
    "Site",
    "SnapshotStoreContract",
    "faulty_event_store",
    "simulate",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
