"""Folded inventories kept between commands: a cache, never trusted over the append."""

from collections import OrderedDict

from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reservation_book import OBJECTS_KEPT
from inventory_es.domain.stream_id import StreamId

_BYTES, _BYTES_OPEN, _BYTES_PACKED, _BYTES_CLOSED = 4_000, 520, 270, 280
"""Of memory, about: a state, each of its open reservations, packed or not, and each closed one; with ids of 16 characters."""


class WarmState:
    """An inventory folded up to its version, and the position of its last event.

    Attributes:
        inventory: the folded state.
        position: of its last event; 0 for none.
        ids: of the events of its stream.
        is_refusing: whether the last command was refused, or had nothing to do: likely the next one too.
        bytes: of memory that it took when it was put back, about.
    """

    __slots__ = ("bytes", "ids", "inventory", "is_refusing", "position")

    def __init__(self, inventory: Inventory, position: int) -> None:
        self.inventory: Inventory = inventory
        self.position: int = position
        self.ids: EventIds = EventIds(inventory.inventory_id.stream)
        self.is_refusing: bool = False
        self.bytes: int = 0


class WarmStates:
    """The most recently used states, each used by one task at a time: taken out, and put back when it is settled.

    Args:
        capacity: how many inventories to keep; 0 keeps none.
        max_bytes: how much memory they take together, about. The one used last is kept, however large it is.
    """

    def __init__(self, capacity: int, max_bytes: int) -> None:
        self._capacity = capacity
        self._max_bytes = max_bytes
        self._bytes = 0
        self._states: OrderedDict[str, WarmState] = OrderedDict()

    def take(self, stream: StreamId) -> WarmState | None:
        """Take the state of ``stream`` out, if it is there."""
        state = self._states.pop(stream.text, None)
        if state is not None:
            self._bytes -= state.bytes
        return state

    def look_at(self, stream: StreamId) -> WarmState | None:
        """The state of ``stream``, if it is there: for this very step of the event loop, and to be left as it is."""
        return self._states.get(stream.text)

    def put_back(self, stream: StreamId, state: WarmState) -> None:
        """Keep a settled state; the least recently used ones go when there are too many, or they take too much memory."""
        if self._capacity:
            states = self._states
            self.take(stream)  # without lanes, two may have loaded it
            inventory = state.inventory
            state.bytes = _bytes_of(inventory)
            self._bytes += state.bytes
            states[stream.text] = state
            while len(states) > 1 and (self._bytes > self._max_bytes or len(states) > self._capacity):
                _, dropped = states.popitem(last=False)
                self._bytes -= dropped.bytes

    def __len__(self) -> int:
        return len(self._states)


def _bytes_of(inventory: Inventory) -> int:
    packed = max(0, inventory.open_count - OBJECTS_KEPT)
    return _BYTES + _BYTES_OPEN * (inventory.open_count - packed) + _BYTES_PACKED * packed + _BYTES_CLOSED * inventory.closed_count
