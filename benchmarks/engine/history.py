"""Histories written straight into a store, with the events that the engine would have written."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from uuid import UUID

from inventory_es import InventoryId, NewEvent, StreamWrite
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.domain.events import Event, StockAddedEvent, StockReservedEvent
from inventory_es.domain.reasons import AddReason, Purpose
from inventory_es.ports import EventStore
from inventory_es.ports.records import EventMetadata

CHUNK = 1_000
CODEC = JsonEventCodec()
METADATA = CODEC.encode_metadata(EventMetadata(command_id="0198b1c2-7a3e-7c11-9f5e-3a1d2b4c5d6e", fingerprint="1:5d41402abc4b2a76"))


def additions(inventory_id: InventoryId) -> Iterator[Event]:
    """Yield additions of one unit each, without end."""
    for on_hand in count(1):
        yield StockAddedEvent(inventory_id.product_id, inventory_id.store_id, 1, AddReason.RECEIVED, on_hand, 0)


def reservations(inventory_id: InventoryId) -> Iterator[Event]:
    """Yield an addition of a billion units, then open reservations of one unit each, without end."""
    product_id, store_id = inventory_id.product_id, inventory_id.store_id
    yield StockAddedEvent(product_id, store_id, 10**9, AddReason.RECEIVED, 10**9, 0)
    until = datetime.now(UTC) + timedelta(days=30)
    for number in count(1):
        yield StockReservedEvent(product_id, store_id, 1, f"R{number}", Purpose.ORDER, None, until, 10**9, number)


async def write(store: EventStore, inventory_id: InventoryId, events: Iterator[Event], *, number: int) -> None:
    """Append the next ``number`` of these events of an inventory."""
    version = (await store.read_stream_backwards(inventory_id.stream, limit=1)).version
    for start in range(0, number, CHUNK):
        chunk = new_events(events, min(CHUNK, number - start))
        await store.append([StreamWrite(inventory_id.stream, version + start, chunk)])


async def write_streams(store: EventStore, *, first: int, streams: int, events_each: int) -> None:
    """Append ``streams`` new streams of additions, ``p{first}`` and following, many per commit."""
    at_once = max(1, CHUNK // events_each)
    for start in range(first, first + streams, at_once):
        writes: list[StreamWrite] = []
        for number in range(start, min(start + at_once, first + streams)):
            inventory_id = InventoryId(f"p{number}", "main")
            writes.append(StreamWrite(inventory_id.stream, 0, new_events(additions(inventory_id), events_each)))
        await store.append(writes)


def new_events(events: Iterator[Event], number: int) -> list[NewEvent]:
    """Return the next ``number`` events, as a store takes them."""
    return [_new(event) for event in islice(events, number)]


def _new(event: Event) -> NewEvent:
    encoded = CODEC.encode(event)
    return NewEvent(UUID(int=next(_ids)), encoded.event_type, encoded.schema_version, datetime.now(UTC), encoded.data, METADATA)


_ids = count(1)
