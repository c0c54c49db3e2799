"""JSON without the parts on which readers differ."""

import json
from enum import Enum
from typing import Any

import pytest

from inventory_es.adapters.serialization.strict_json import MAX_DEPTH, PayloadError, check_bounds, read_object, write_object

LARGE = 1 << 20


class Colour(Enum):
    RED = "red"


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    "data, value",
    [
        (b"{}", {}),
        (b' {"a" : 1 , "b" : [ ] } \n', {"a": 1, "b": []}),
        (b'{"a":9007199254740992,"b":-9007199254740992}', {"a": 2**53, "b": -(2**53)}),
        (b'{"a":{"b":1},"b":2}', {"a": {"b": 1}, "b": 2}),
        (b'{"a":"\\ud83d\\uded2","b":"\xf0\x9f\x9b\x92"}', {"a": "🛒", "b": "🛒"}),
        (b'{"a":1.5,"b":true,"c":null}', {"a": 1.5, "b": True, "c": None}),
    ],
)
def test_json_is_read(data: bytes, value: dict[str, Any]) -> None:
    assert read_object(data) == value


@pytest.mark.parametrize(
    "data, problem",
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"{", "not JSON"),
        (b"{}{}", "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":01}', "not JSON"),
        (b'{"a":"\x01"}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "UTF-8"),
        (b'{"a":"\xc0\x80"}', "UTF-8"),
        (b'{"a":"\\ud800"}', "lone surrogate"),
        (b'{"\\udfff":1}', "lone surrogate"),
        (b'{"a":1,"a":1}', "one key twice"),
        (b'{"a":1,"\\u0061":1}', "one key twice"),
        (b'{"x":{"a":1,"a":1}}', "one key twice"),
        (b'{"a":NaN}', "NaN or Infinity"),
        (b'{"a":-Infinity}', "NaN or Infinity"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":9007199254740993}', "2\\^53"),
        (b'{"a":[-9007199254740993]}', "2\\^53"),
        (b'{"a":' + b"9" * 5_000 + b"}", "2\\^53"),
    ],
)
def test_what_readers_disagree_on_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(PayloadError, match=problem):
        read_object(data)


def test_bounds_are_checked_before_parsing() -> None:
    check_bounds(b"{" * MAX_DEPTH, LARGE)
    with pytest.raises(PayloadError, match="deeper than 32"):
        check_bounds(b"{" * (MAX_DEPTH + 1), LARGE)
    check_bounds(b"x" * 10, 10)
    with pytest.raises(PayloadError, match="11 bytes, more than 10"):
        check_bounds(b"x" * 11, 10)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":"' + b"[" * 1_000 + b'"}',
        b'{"a":"\\"' + b"[" * 1_000 + b'"}',
        b'{"a":"\\\\","b":[' + b"[]," * 1_000 + b"[]]}",
        nested(MAX_DEPTH),
        b'{"unterminated' + b"[" * 1_000,
        b'{"unterminated' + b"[" * 1_000 + b"\\",
    ],
)
def test_depth_is_that_of_the_structure(data: bytes) -> None:
    assert refusal_of(data) is None


def refusal_of(data: bytes) -> PayloadError | None:
    try:
        check_bounds(data, LARGE)
    except PayloadError as problem:
        return problem
    return None


@pytest.mark.parametrize("data", [nested(MAX_DEPTH + 1), b'{"a":"\\\\"' + b"[" * MAX_DEPTH, b'{"\\"":1,"b":' + b"[" * MAX_DEPTH])
def test_depth_behind_escapes_is_seen(data: bytes) -> None:
    with pytest.raises(PayloadError, match="deeper"):
        check_bounds(data, LARGE)


@pytest.mark.parametrize(
    "value",
    [{}, {"b": 1, "a": [1, 2.5, None, True, "é", {}]}, {"a": 2**53}, {"": {"": []}}, json.loads(nested(MAX_DEPTH))],
)
def test_what_is_written_is_read_back(value: dict[str, Any]) -> None:
    assert read_object(write_object(value, LARGE)) == value


def test_a_tuple_is_written_as_an_array() -> None:
    assert write_object({"a": (1, ("b",))}, LARGE) == b'{"a":[1,["b"]]}'


@pytest.mark.parametrize(
    "value, problem",
    [
        ([], "it must be a dict"),
        ({1: 2}, "it has a key of type int"),
        ({"a": {None: 2}}, "a has a key of type NoneType"),
        ({"a": 2**53 + 1}, "a is outside"),
        ({"a": [{"b": -(2**53) - 1}]}, "a.0.b is outside"),
        ({"a": float("nan")}, "a is NaN"),
        ({"a": float("-inf")}, "a is NaN or infinite"),
        ({"a": b"bytes"}, "a is of type bytes"),
        ({"a": {1, 2}}, "a is of type set"),
        ({"a": Colour.RED}, "a is of type Colour"),
        ({"a": "\ud800"}, "lone surrogate"),
        (json.loads(nested(MAX_DEPTH + 1)), "nested deeper"),
        ({"a": "x" * LARGE}, "bytes, more than"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(value: Any, problem: str) -> None:
    with pytest.raises(PayloadError, match=problem):
        write_object(value, LARGE)


def test_a_value_that_holds_itself_is_not_written() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = [endless]
    with pytest.raises(PayloadError, match="nested deeper than 32 levels"):
        write_object(endless, LARGE)
