"""What the events of a stream mean, checked by folding them."""

from collections.abc import Iterator

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import INVENTORY_CATEGORY, InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent
from inventory_es.ports.errors import EventDecodeError

_CODEC = JsonEventCodec()


def check_stream(stream: StreamId, events: Iterator[RecordedEvent]) -> Iterator[tuple[int, str]]:
    """Fold an inventory's stream; give the version at which it contradicts itself. A host's own streams are the host's to check."""
    if stream.category != INVENTORY_CATEGORY:
        return
    inventory = Inventory(InventoryId(*stream.parts))
    for recorded in events:
        try:
            inventory.apply(Recorded(_CODEC.decode(recorded), recorded.version, recorded.recorded_at))
        except (CorruptStreamError, EventDecodeError) as problem:
            yield recorded.version, problem.problem
            return
