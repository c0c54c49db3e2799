import json
import pickle
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from inventory_es.adapters.file.stored_event import (
    StoredEvent,
    StoredPage,
    decode_events,
    encode_event,
    encode_line,
    encode_text,
    last_position,
    split_line,
)
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import NewEvent, RecordedEvent

STREAM = StreamId("inventory", 'é"\\', "a-b")
EVENT = NewEvent(
    UUID("0f8fad5b-d9cb-469f-a165-70867728950e"),
    'Odd "Type"',
    3,
    datetime(2026, 1, 5, 9, tzinfo=UTC),
    '{"text" : "\u2028\u2029\x85\U0001f98a", "n": 9007199254740992, "metadata": {} }'.encode(),
    b'{"}":",\\"metadata\\":"}',
)


def stored(version: int = 2, position: int = 17) -> bytes:
    return encode_event(EVENT, encode_text(STREAM.text), version, position)


def test_the_form_is_the_documented_one() -> None:
    assert list(json.loads(stored())) == [
        "event_id", "event_type", "schema_version", "stream", "version", "position", "recorded_at", "data", "metadata",
    ]  # fmt: skip
    assert b'"recorded_at":"2026-01-05T09:00:00.000000Z","data":{"text"' in stored()
    assert stored().startswith(b'{"event_id":"0f8fad5b-d9cb-469f-a165-70867728950e","event_type":')


def test_it_reads_back_as_it_was_written() -> None:
    expected = RecordedEvent(STREAM, 2, 17, EVENT.event_id, EVENT.event_type, 3, EVENT.recorded_at, EVENT.data, EVENT.metadata)
    (event,) = map(StoredEvent, decode_events([stored()]))
    assert event == expected
    assert expected == event
    assert hash(event) == hash(expected)
    assert event.has_identity_of(NewEvent(EVENT.event_id, EVENT.event_type, 3, EVENT.recorded_at, event.data), STREAM)
    assert pickle.loads(pickle.dumps(event)) == expected
    assert event.size == len(event.data) + len(event.metadata)


def test_its_fields_are_those_of_the_event() -> None:
    (fields,) = decode_events([stored()])
    assert (fields.stream_name, bytes(fields.payload)) == (STREAM.text, EVENT.data)


class Instant(datetime):
    """As pandas has one, for instance."""


def test_times_long_ago_have_four_digits_for_the_year() -> None:
    event = NewEvent(EVENT.event_id, "Happened", 1, datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC), b"{}")
    assert b',"recorded_at":"0001-01-01T00:00:00.000001Z",' in encode_event(event, b'"s"', 1, 1)


@pytest.mark.parametrize("kind", [datetime, Instant])
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(0), "here"), ZoneInfo("Africa/Abidjan")], ids=["utc", "offset", "zone"])
@pytest.mark.parametrize("microseconds", [0, 1, 999_999])
def test_times_keep_their_microseconds(microseconds: int, zone: tzinfo, kind: type[datetime]) -> None:
    event = NewEvent(EVENT.event_id, "Happened", 1, kind(2026, 1, 5, 9, 0, 0, microseconds, tzinfo=zone), b"{}")
    assert f',"recorded_at":"2026-01-05T09:00:00.{microseconds:06d}Z",'.encode() in encode_event(event, b'"s"', 1, 1)


def test_a_line_holds_the_stored_forms_byte_for_byte() -> None:
    events = [stored(1, 16), stored(2, 17)]
    line = encode_line(events) + b"}\n"
    assert [(length, event.version, event.position) for length, event in split_line(line)] == [
        (len(events[0]), 1, 16),
        (len(events[1]), 2, 17),
    ]
    assert last_position(line) == 17


@pytest.mark.parametrize("line", [b"{}", b'{"events":[1]}', b'{"events":{}}', b"\xff", b'{"events":[{"position":1}]}'])
def test_anything_else_is_no_line_of_events(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        split_line(line)


def test_field_by_field_a_page_says_what_its_events_say() -> None:
    run = StoredPage(StoredEvent, decode_events([stored(2, 17), stored(3, 18)]))
    assert run.kinds() == [(event.event_type, event.schema_version) for event in run]
    assert run.streams() == [event.stream for event in run]
    assert run.payloads() == [EVENT.data] * 2
    assert {type(payload) for payload in run.payloads()} == {bytes}
    assert (run.versions(), run.instants()) == ([2, 3], [EVENT.recorded_at] * 2)
