"""Recorded events for the tests of the codec: from frozen files, and made up."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import msgspec

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent

STORED_EVENTS = Path(__file__).parents[3] / "data" / "stored_events"
STREAM = StreamId("inventory", "85123A", "berlin")
RESERVED = (
    b'{"product_id":"85123A","store_id":"berlin","quantity":3,"reservation_id":"R1","purpose":"ORDER",'
    b'"owner_id":null,"expires_at":"2026-01-05T09:15:00.000000Z","on_hand":100,"reserved":3}'
)


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    event_id: UUID
    event_type: str
    schema_version: int
    stream: str
    version: int
    position: int
    recorded_at: datetime
    data: msgspec.Raw
    metadata: msgspec.Raw


def frozen(path: Path) -> RecordedEvent:
    """The event of a file in the stored form, its payload and metadata byte for byte."""
    stored = msgspec.json.decode(path.read_bytes(), type=_Stored)
    return RecordedEvent(
        StreamId.parse(stored.stream),
        stored.version,
        stored.position,
        stored.event_id,
        stored.event_type,
        stored.schema_version,
        stored.recorded_at,
        bytes(stored.data),
        bytes(stored.metadata),
    )


def recorded(
    data: bytes,
    *,
    event_type: str = "StockReservedEvent",
    schema_version: int = 1,
    stream: StreamId = STREAM,
    metadata: bytes = b"{}",
) -> RecordedEvent:
    """An event at version 2 and position 17 of a stream."""
    return RecordedEvent(stream, 2, 17, UUID(int=17), event_type, schema_version, datetime(2026, 1, 5, 9, tzinfo=UTC), data, metadata)
