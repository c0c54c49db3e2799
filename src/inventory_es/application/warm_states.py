"""Folded inventories kept between commands: a cache, never trusted over the append."""

from collections import OrderedDict

from inventory_es.domain.event_ids import EventIds
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.stream_id import StreamId


class WarmState:
    """An inventory folded up to its version, and the position of its last event.

    Attributes:
        inventory: the folded state.
        position: of its last event; 0 for none.
        ids: of the events of its stream.
        is_refusing: whether the last command was refused, or had nothing to do: likely the next one too.
    """

    __slots__ = ("ids", "inventory", "is_refusing", "position")

    def __init__(self, inventory: Inventory, position: int) -> None:
        self.inventory: Inventory = inventory
        self.position: int = position
        self.ids: EventIds = EventIds(inventory.inventory_id.stream)
        self.is_refusing: bool = False


class WarmStates:
    """The most recently used states, each used by one task at a time: taken out, and put back when it is settled.

    Args:
        capacity: how many inventories to keep; 0 keeps none.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._states: OrderedDict[str, WarmState] = OrderedDict()

    def take(self, stream: StreamId) -> WarmState | None:
        """Take the state of ``stream`` out, if it is there."""
        return self._states.pop(stream.text, None)

    def look_at(self, stream: StreamId) -> WarmState | None:
        """The state of ``stream``, if it is there: for this very step of the event loop, and to be left as it is."""
        return self._states.get(stream.text)

    def put_back(self, stream: StreamId, state: WarmState) -> None:
        """Keep a settled state; the least recently used one goes when there are too many."""
        if self._capacity:
            self._states[stream.text] = state
            if len(self._states) > self._capacity:
                self._states.popitem(last=False)

    def __len__(self) -> int:
        return len(self._states)
