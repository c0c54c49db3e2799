"""Hostile and foreign payloads of an inventory's events: one error, which names the place and holds no value."""

import sys
import traceback
from typing import Any

import pytest

from inventory_es.adapters.serialization import JsonEventCodec, default_registry
from inventory_es.domain.events import StockReservedEvent
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import EventDecodeError
from tests.unit.adapters.serialization.recording import RESERVED, STREAM, recorded

CODEC = JsonEventCodec()


def decode(data: bytes, **place: Any) -> Any:
    """The event, or the error: the same alone and in one go with others."""
    stored = recorded(data, **place)
    try:
        event = CODEC.decode(stored)
    except EventDecodeError as alone:
        with pytest.raises(EventDecodeError) as together:
            list(CODEC.decode_many([recorded(RESERVED), stored]))
        assert str(together.value) == str(alone)  # noqa: PT017  # both ways end in an error
        raise
    assert list(CODEC.decode_many([stored, recorded(RESERVED), stored])) == [event, CODEC.decode(recorded(RESERVED)), event]
    return event


def more(pair: bytes) -> bytes:
    return RESERVED[:-1] + b"," + pair + b"}"


def problem_of(data: bytes, **place: Any) -> str:
    with pytest.raises(EventDecodeError) as caught:
        decode(data, **place)
    assert (caught.value.stream, caught.value.version) == (place.get("stream", STREAM), 2)
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))
    return caught.value.problem


@pytest.mark.parametrize(
    "pair",
    [
        b'"gift_wrap":true',
        b'"nested":{"a":[1,2,{"b":null}]}',
        b'"text":"\\"quoted\\" \xf0\x9f\x9b\x92"',
        b'"number":9007199254740992',
        b'"brackets":"' + b"[" * 100 + b'"',
    ],
)
def test_unknown_fields_are_tolerated(pair: bytes) -> None:
    assert decode(more(pair)) == decode(RESERVED)


@pytest.mark.parametrize(
    "pair, problem",
    [
        (b'"a":9007199254740993', "2^53"),
        (b'"a":1e999', "too large"),
        (b'"a":"\xff"', "UTF-8"),
        (b'"\xff":1', "UTF-8"),
        (b'"a":"\\ud800"', "lone surrogate"),
        (b'"a":1,"a":1', "one key twice"),
        (b'"quantity":3', "one key twice"),
        (b'"quant\\u0069ty":3', "one key twice"),
        (b'"a":' + b"[" * 40 + b"]" * 40, "deeper than 32"),
        (b'"a":' + b"[" * 100_000 + b"]" * 100_000, "deeper than 32"),
        (b'"a":"' + b"x" * (1 << 20) + b'"', "more than 1048576"),
    ],
)
def test_unknown_fields_obey_the_rules(pair: bytes, problem: str) -> None:
    assert problem in problem_of(more(pair))


@pytest.mark.parametrize(
    "old, new, problem",
    [
        (b":3,", b":3.0,", "quantity must be a whole number, not a fraction"),
        (b":3,", b":true,", "quantity must be a whole number, not a boolean"),
        (b":3,", b':"3",', "quantity must be a whole number, not a text"),
        (b":3,", b":0,", "quantity of an event must be"),
        (b":3,", b":9007199254740992,", "quantity of an event must be"),
        (b":3,", b":1e400,", "a number is too large"),
        (b":3,", b":" + b"9" * 500 + b",", "an integer is outside ±2^53"),
        (b"ORDER", b"SECRET", "purpose must be a text of Purpose"),
        (b'"R1"', b"1", "reservation_id must be a text, not a whole number"),
        (b'"R1"', b'""', "1 to 128 characters"),
        (b'"R1"', b'"' + b"SECRET" * 30 + b'"', "1 to 128 characters"),
        (b'"R1"', b'"SECRET\x7f"', "control characters"),
        (b'"R1"', b'"SECRET\\u0000"', "control characters"),
        (b'"R1"', b'"SECRET\xff"', "it is not UTF-8"),
        (b"null", b'""', "owner_id must have 1 to 128"),
        (b"null", b'"SECRET\xc2\x85"', "control characters"),
        (b"09:15:00.000000Z", b"09:15:00.000000", "aware datetime in UTC"),
        (b"09:15:00.000000Z", b"09:15:00.000000+01:00", "aware datetime in UTC"),
        (b"2026-01-05", b"SECRET", "expires_at must be a text of an instant (RFC 3339) or null"),
        (b"2026-01-05T09:15:00.000000Z", b"9999-12-31T23:59:59.9999999Z", "expires_at must be a text of an instant (RFC 3339) or null"),
        (b":100", b":2", "on_hand ≥ reserved"),
        (b'"quantity":3,', b"", "quantity is missing"),
        (b"85123A", b"SECRET", "not those of its stream"),
        (b"berlin", b"Berlin", "not those of its stream"),
        (b'{"product', b'["product', "it is not JSON at character 13"),
        (b"}", b"", "it is not JSON at character 181"),
        (b"}", b"}}", "it is not JSON at character 182"),
        (b"{", b"\xef\xbb\xbf{", "it is not JSON at character 0"),
    ],
)
def test_a_broken_payload_is_one_error(old: bytes, new: bytes, problem: str) -> None:
    assert old in RESERVED
    assert problem in problem_of(RESERVED.replace(old, new, 1))


@pytest.mark.parametrize("data", [b"", b"null", b"{}", b"[]", b"\x00", b"[" * 200_000, b'{"a":' * 200_000, b"\xff" * 100, b" " * (1 << 21)])
def test_garbage_is_one_error(data: bytes) -> None:
    assert problem_of(data)


@pytest.mark.parametrize(
    "stream", [StreamId("inventory", "85123A"), StreamId("order", "85123A", "berlin"), StreamId("inventory", "berlin", "85123A")]
)
def test_an_event_of_another_stream_is_refused(stream: StreamId) -> None:
    assert "not those of its stream" in problem_of(RESERVED, stream=stream)


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(EventDecodeError) as caught:
        decode(RESERVED, event_type="StockTeleportedEvent")
    assert str(caught.value) == (
        "event 2 of stream inventory-85123A-berlin (StockTeleportedEvent v1) can't be decoded: "
        "the type is not registered: add it with EventRegistry.with_event"
    )


@pytest.mark.parametrize("version", [0, 2, -1])
def test_an_unknown_version_is_named(version: int) -> None:
    problem = problem_of(RESERVED, schema_version=version)
    assert problem == "the schema version is not registered (known: 1): was it written by a newer release?"


def test_a_stack_that_is_almost_full_is_one_error() -> None:
    def descend(levels: int) -> Any:
        return descend(levels - 1) if levels else decode(more(b'"a":' + b"[" * 20 + b"]" * 20))

    depth = len(traceback.extract_stack())
    outcomes = set()
    for left in range(1, 60):
        try:
            outcomes.add(type(descend(sys.getrecursionlimit() - depth - left)))
        except (EventDecodeError, RecursionError) as error:
            outcomes.add(type(error))
    assert {StockReservedEvent, EventDecodeError} <= outcomes


def test_a_short_payload_is_bounded_by_its_codec_too() -> None:
    codec = JsonEventCodec(max_bytes=4_096)
    with pytest.raises(EventDecodeError, match="more than 4096"):
        codec.decode(recorded(more(b'"a":"' + b"x" * 4_096 + b'"')))
    assert codec.decode(recorded(more(b'"a":"' + b"x" * 2_048 + b'"')))


def test_a_bound_below_what_an_event_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes must be 4096 or more"):
        JsonEventCodec(registry=default_registry(), max_bytes=4_095)
