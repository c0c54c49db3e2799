"""The kit's own codec round-trips events, and refuses unknown types."""

from datetime import timedelta

import pytest

from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.events import (
    Event,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason
from inventory_es.ports import EventMetadata, RecordedEvent
from inventory_es.ports.errors import EventDecodeError
from inventory_es.testing.domain import SHELF, START
from inventory_es.testing.simulation.subject import PlainCodec

LATER = START + timedelta(microseconds=1)
PLACE = ("product", "store")
EVENTS: tuple[Event, ...] = (
    StockAddedEvent(*PLACE, 3, AddReason.FOUND, 3, 0),
    StockReservedEvent(*PLACE, 2, "R1", Purpose.ORDER, None, LATER, 3, 2),
    StockReservedEvent(*PLACE, 2, "R1", Purpose.TRANSFER, "ann", None, 3, 2),
    ReservationExtendedEvent(*PLACE, "R1", START, LATER, 3, 2),
    StockReleasedEvent(*PLACE, 1, "R1", 1, ReleaseReason.CANCELLED, 3, 1),
    StockCommittedEvent(*PLACE, 1, "R1", 0, CommitReason.SOLD, 2, 0),
    StockAdjustedEvent(*PLACE, -1, AdjustReason.COUNT, 1, 6, 1, 0),
)


def recorded(event_type: str, data: bytes, metadata: bytes = b"{}") -> RecordedEvent:
    return RecordedEvent(SHELF.stream, 1, 1, EventIds(SHELF.stream).own("c", 0), event_type, 1, START, data, metadata)


def test_events_come_back() -> None:
    encoded = [PlainCodec().encode(event) for event in EVENTS]
    assert [PlainCodec().decode(recorded(one.event_type, one.data)) for one in encoded] == list(EVENTS)


def test_metadata_comes_back() -> None:
    metadata = EventMetadata(command_id="c", fingerprint="1:0", extra={"till": 4})
    assert PlainCodec().decode_metadata(recorded("x", b"{}", PlainCodec().encode_metadata(metadata))) == metadata


def test_what_is_no_event_of_an_inventory_is_refused() -> None:
    with pytest.raises(EventDecodeError, match="no event of an inventory"):
        PlainCodec().decode(recorded("PriceChangedEvent", b"{}"))
