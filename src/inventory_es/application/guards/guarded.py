"""One door to guard any port."""

from typing import TypeVar, cast

from inventory_es.application.guards.cache import GuardedCache
from inventory_es.application.guards.event_bus import GuardedEventBus
from inventory_es.application.guards.event_store import guarded_event_store
from inventory_es.application.guards.guard import Guard
from inventory_es.application.guards.read_model import GuardedReadModel
from inventory_es.application.guards.snapshot_store import GuardedSnapshotStore
from inventory_es.ports import Cache, EventBus, EventStore, ReadModel, SnapshotStore

PortT = TypeVar("PortT", EventStore, SnapshotStore, Cache, EventBus, ReadModel)


def guarded(port: PortT, /, *guards: Guard) -> PortT:
    """A port that does what ``port`` does, with guards between it and its callers.

    Args:
        port: an event store (with the optional protocols that it has), a snapshot store, a cache, an event bus or a read model. It is
            closed by closing the result, or apart from it.
        guards: the outermost first: ``guarded(store, Retry(), breaker)`` shows every attempt to the breaker, and once that is open the
            caller is told at once.

    Raises:
        TypeError: no such port.
    """
    given: object = port
    match given:
        case EventStore():
            made: object = guarded_event_store(given, guards)
        case SnapshotStore():
            made = GuardedSnapshotStore(given, guards)
        case EventBus():
            made = GuardedEventBus(given, guards)
        case ReadModel():
            made = GuardedReadModel(given, guards)
        case Cache():
            made = GuardedCache(given, guards)
        case _:
            kinds = "an event store, a snapshot store, a cache, an event bus or a read model"
            msg = f"a {type(given).__name__} is no port that can be guarded: give {kinds}"
            raise TypeError(msg)
    return cast("PortT", made)
