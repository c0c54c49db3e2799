"""Events as CloudEvents: what others read, and what comes back."""

import json
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import pytest
from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from inventory_es import StreamId
from inventory_es.ports import RecordedEvent
from inventory_es.ports.toolkit.broker import encode_entry
from inventory_es.ports.toolkit.cloudevents import STRUCTURED_TYPE, from_headers, from_json, schema_uri, to_headers, to_json

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
METADATA = {"command_id": "c1", "correlation_id": "order-7", "causation_id": "c0", "traceparent": TRACE, "tracestate": "a=1,b=2"}
DATA = b'{"product_id":"caf\xc3\xa9", "quantity":3}'
STREAM = StreamId("inventory", "café 1", "ber-lin")


def event(data: bytes = DATA, metadata: bytes = json.dumps(METADATA).encode(), **changed: Any) -> RecordedEvent:
    fields: dict[str, Any] = {
        "stream": STREAM,
        "version": 3,
        "position": 1 << 40,
        "event_id": UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
        "event_type": "StockAddedEvent",
        "schema_version": 1,
        "recorded_at": datetime(2026, 1, 5, 9, 15, tzinfo=UTC),
    }
    return RecordedEvent(**(fields | changed), data=data, metadata=metadata)


def test_attributes_are_those_of_the_specification() -> None:
    found = json.loads(to_json(event(), source="shop"))
    assert found.pop("metadata")
    assert found == {
        "specversion": "1.0",
        "id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "source": "shop/inventory-caf%C3%A9%201-ber%252dlin",
        "type": "StockAddedEvent",
        "subject": "inventory-café 1-ber%2dlin",
        "time": "2026-01-05T09:15:00.000000Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:inventory-es:event:StockAddedEvent:1",
        "streamversion": "3",
        "position": "1099511627776",
        "correlationid": "order-7",
        "causationid": "c0",
        "traceparent": TRACE,
        "tracestate": "a=1,b=2",
        "data": {"product_id": "café", "quantity": 3},
    }


def test_one_id_in_two_streams_is_two_events_for_others() -> None:
    names = {
        (found["source"], found["id"])
        for stream in ("a", "b")
        for found in [json.loads(to_json(event(stream=StreamId("inventory", stream)), source="shop"))]
    }
    assert len(names) == 2


def test_another_library_reads_both_modes_and_its_own_writing_comes_back() -> None:
    ours = to_json(event(), source="shop")
    read = http.from_structured_event(http.HTTPMessage({"content-type": STRUCTURED_TYPE}, ours))
    assert read.get_id() == str(event().event_id)
    assert read.get_time() == event().recorded_at
    assert read.get_subject() == STREAM.text
    assert read.get_extension("correlationid") == "order-7"
    assert from_json(http.to_structured_event(read).body) == event(data=b'{"product_id": "caf\\u00e9", "quantity": 3}')

    headers, body = to_headers(event(), source="shop")
    read = http.from_binary_event(http.HTTPMessage(dict(headers), body))
    assert (read.get_subject(), read.get_extension("position")) == (STREAM.text, "1099511627776")
    theirs = http.to_binary_event(read)
    assert from_headers(theirs.headers, body) == event()

    headers, body = to_headers(event(), source="shop", prefix="ce_")
    encoded = {name: value.encode() for name, value in headers.items()}
    read = kafka.from_binary_event(kafka.KafkaMessage(encoded, None, body))
    assert (read.get_subject(), read.get_extension("traceparent")) == (STREAM.text, TRACE)
    assert JSONFormat().write(read)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)
objects = st.dictionaries(texts, texts | st.integers() | st.none(), max_size=4).map(
    lambda plain: json.dumps(plain, ensure_ascii=False).encode()
)


@given(
    stream=st.builds(StreamId, st.just("inventory"), texts, texts),
    version=st.integers(1, 1 << 31),
    at=st.datetimes(timezones=st.just(UTC)),
    data=objects,
    metadata=objects,
    context=st.dictionaries(st.sampled_from([*METADATA]), texts),
    event_type=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=128),
)
def test_every_event_comes_back_in_every_field(
    stream: StreamId, version: int, at: datetime, data: bytes, metadata: bytes, context: dict[str, str], event_type: str
) -> None:
    if context:
        metadata = json.dumps(context).encode()
    given_event = event(data, metadata, stream=stream, version=version, schema_version=version, recorded_at=at, event_type=event_type)
    text = to_json(given_event, source="a shop")
    assert from_json(text) == given_event
    assert b"\n" not in text
    prefixes: tuple[Literal["ce-", "ce_", "cloudEvents:"], ...] = ("ce-", "ce_", "cloudEvents:")
    for prefix in prefixes:
        headers, body = to_headers(given_event, source="a shop", prefix=prefix)
        assert from_headers({name.title(): value for name, value in headers.items()}, body, prefix=prefix) == given_event
        if prefix == "ce-":
            assert all(value.isascii() and value.isprintable() and " " not in value for value in headers.values())


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"streamversion": "3x"}, "streamversion is not as"),
        ({"streamversion": None}, "streamversion"),
        ({"position": "-1"}, "position is not as"),
        ({"dataschema": "urn:inventory-es:event:Other:1"}, "dataschema is not as"),
        ({"dataschema": "urn:inventory-es:event:StockAddedEvent:x"}, "dataschema is not as"),
        ({"time": "2026-01-05T09:15:00+01:00"}, "time is not in UTC"),
        ({"time": "yesterday"}, "yesterday"),
        ({"subject": "no stream"}, "category"),
        ({"data": [1]}, "data is not as"),
        ({"id": "x"}, "UUID"),
    ],
    ids=str,
)
def test_what_is_no_event_of_an_inventory_is_refused_by_name(changes: dict[str, Any], problem: str) -> None:
    found = json.loads(to_json(event(), source="shop")) | changes
    with pytest.raises(ValueError, match=problem):
        from_json(json.dumps(found).encode())
    with pytest.raises(ValueError, match="specversion"):
        from_headers({"content-type": "application/json"}, b"{}")


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b"[" * 100_000], ids=["empty", "array", "open", "no UTF-8", "deep"])
def test_no_bytes_raise_another_error(text: bytes) -> None:
    with pytest.raises(ValueError, match="no CloudEvent"):
        from_json(text)


def test_what_can_not_be_one_is_refused() -> None:
    with pytest.raises(ValueError, match="data of event 3 of stream inventory-café 1"):
        to_json(event(data=b"[1]"), source="shop")
    with pytest.raises(ValueError, match="metadata of event 3"):
        to_headers(event(metadata=b"{\n}"), source="shop")
    with pytest.raises(ValueError, match="source of a CloudEvent is empty"):
        to_json(event(), source="")


def test_only_texts_of_the_context_become_attributes() -> None:
    metadata = b'{"correlation_id":7,"causation_id":"","traceparent":{"a":[1]},"tracestate":"a\\tb"}'
    text = to_json(event(metadata=metadata), source="shop")
    assert not {"correlationid", "causationid", "traceparent", "tracestate"} & set(json.loads(text))
    assert from_json(text).metadata == metadata


def test_a_bus_writes_a_cloud_event_unless_the_event_can_not_be_one() -> None:
    assert from_json(encode_entry(event(), source="shop")) == event()
    assert not encode_entry(event(data=b"raw"), source="shop").startswith(b"{")
    assert schema_uri("Tea: poured", 2) == "urn:inventory-es:event:Tea%3A%20poured:2"
