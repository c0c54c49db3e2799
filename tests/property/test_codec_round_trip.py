"""P27: encode and decode are inverse, for every event, every metadata, and any JSON within the rules."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory_es.adapters.serialization import EventRegistry, JsonEventCodec
from inventory_es.adapters.serialization.strict_json import MAX_BYTES, MAX_INTEGER, check_bounds, read_object, write_object
from inventory_es.domain.events import (
    Event,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.quantity import MAX_QUANTITY
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import OWN_FIELDS, EventMetadata, NewEvent, RecordedEvent

CODEC = JsonEventCodec()

texts = st.text(st.characters(exclude_categories=["Cs"]))
identifiers = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128) | st.uuids().map(str)
instants = st.datetimes(timezones=st.just(UTC)) | st.datetimes().map(lambda instant: instant.replace(microsecond=0, tzinfo=UTC))
quantities = st.integers(1, 9) | st.integers(1, MAX_QUANTITY)
counts = st.integers(0, 9) | st.integers(0, MAX_QUANTITY)
balances = st.tuples(counts, counts).map(lambda pair: {"on_hand": max(pair), "reserved": min(pair)})


def events_of(kind: type[Event], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    own = st.fixed_dictionaries({"product_id": identifiers, "store_id": identifiers, **fields})
    return st.builds(lambda own, balance: kind(**own, **balance), own, balances)


events = st.one_of(
    events_of(StockAddedEvent, quantity=quantities, reason=st.sampled_from(AddReason)),
    events_of(
        StockReservedEvent,
        quantity=quantities,
        reservation_id=identifiers,
        purpose=st.sampled_from(Purpose),
        owner_id=st.none() | identifiers,
        expires_at=st.none() | instants,
    ),
    events_of(ReservationExtendedEvent, reservation_id=identifiers, previous_expires_at=instants, expires_at=st.none() | instants),
    events_of(StockReleasedEvent, quantity=quantities, reservation_id=identifiers, remaining=counts, reason=st.sampled_from(ReleaseReason)),
    events_of(StockCommittedEvent, quantity=quantities, reservation_id=identifiers, remaining=counts, reason=st.sampled_from(CommitReason)),
    events_of(
        StockAdjustedEvent,
        delta=quantities.flatmap(lambda size: st.sampled_from([size, -size])),
        reason=st.sampled_from(AdjustReason),
        counted=st.none() | counts,
        observed_version=st.none() | counts,
    ),
    events_of(
        StockAdjustedEvent, delta=st.just(0), reason=st.just(AdjustReason.COUNT), counted=st.none() | counts, observed_version=counts
    ),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, plain, max_size=5)
metadata = st.builds(
    EventMetadata,
    **dict.fromkeys(OWN_FIELDS, st.none() | texts),
    extra=st.dictionaries(texts.filter(lambda key: key not in {"", *OWN_FIELDS}), plain, max_size=3),
)


def recorded(data: bytes, *, event_type: str = "Noted", stream: StreamId | None = None, metadata: bytes = b"{}") -> RecordedEvent:
    at = datetime(2026, 1, 5, tzinfo=UTC)
    return RecordedEvent(stream or StreamId("note", "1"), 1, 1, UUID(int=1), event_type, 1, at, data, metadata)


@given(event=events)
def test_an_event_comes_back(event: Event) -> None:
    encoded = CODEC.encode(event)
    stored = recorded(encoded.data, event_type=encoded.event_type, stream=StreamId("inventory", event.product_id, event.store_id))
    assert CODEC.decode(stored) == event
    assert CODEC.encode(CODEC.decode(stored)) == encoded


@given(event=events)
def test_any_json_reader_sees_the_same_fields_in_the_same_order(event: Event) -> None:
    encoded = CODEC.encode(event)
    NewEvent(UUID(int=1), encoded.event_type, encoded.schema_version, datetime(2026, 1, 5, tzinfo=UTC), encoded.data)
    fields = json.loads(encoded.data)
    assert list(fields) == [field.name for field in attrs.fields(type(event))]
    for name, value in fields.items():
        own = getattr(event, name)
        assert value == (own.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z" if isinstance(own, datetime) else own)


@given(one=events, other=events)
def test_equal_bytes_are_equal_events(one: Event, other: Event) -> None:
    assert (CODEC.encode(one) == CODEC.encode(other)) == (one == other)


@given(metadata=metadata)
def test_metadata_comes_back(metadata: EventMetadata) -> None:
    assert CODEC.decode_metadata(recorded(b"{}", metadata=CODEC.encode_metadata(metadata))) == metadata


@given(value=objects)
def test_plain_json_comes_back(value: dict[str, Any]) -> None:
    data = write_object(value, MAX_BYTES)
    assert read_object(data) == value
    assert json.loads(data) == value
    assert read_object(json.dumps(value).encode()) == value


@given(value=plain, limit=st.integers(0, 40))
def test_depth_is_counted_as_it_is(value: Any, limit: int) -> None:
    nested = value
    for _ in range(limit):
        nested = [nested]
    data = json.dumps(nested, ensure_ascii=False).encode()
    if depth_of(nested) <= 32:
        check_bounds(data, MAX_BYTES)
    else:
        with pytest.raises(ValueError, match="nested deeper"):
            check_bounds(data, MAX_BYTES)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((depth_of(item) for item in value.values()), default=0)
    return 1 + max((depth_of(item) for item in value), default=0) if isinstance(value, list) else 0


@attrs.frozen
class Note:
    text: str
    number: int
    ratio: float
    at: datetime | None
    by: frozenset[str]
    more: dict[str, list[int]]


notes = st.builds(
    Note,
    text=texts,
    number=st.integers(-MAX_INTEGER, MAX_INTEGER),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    at=st.none() | instants,
    by=st.frozensets(texts, max_size=4),
    more=st.dictionaries(texts, st.lists(st.integers(-9, 9), max_size=3), max_size=3),
)
NOTES = JsonEventCodec(registry=EventRegistry().with_event(Note, name="Noted", schema_version=1))


@given(note=notes)
def test_an_event_of_a_host_comes_back(note: Note) -> None:
    data = NOTES.encode(note).data
    assert NOTES.decode(recorded(data)) == note
    assert NOTES.encode(NOTES.decode(recorded(data))).data == data
