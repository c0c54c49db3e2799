"""JSON without the parts on which readers differ: every reader gets the same value, or the value is refused.

A payload is one object in strict UTF-8 (RFC 8259). It has no duplicate key, no NaN or Infinity and no lone surrogate, and its integers are
within ±2^53. Bytes and depth are bounded before anything is parsed.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import NoneType
from typing import Any, NoReturn, cast, get_args

import msgspec

MAX_BYTES = 1 << 20
"""The most bytes of one payload, unless a codec has another bound."""

MAX_DEPTH = 32
"""The most levels of nested objects and arrays, including the outermost."""

MAX_INTEGER = 2**53
"""The largest integer. Readers that store numbers as doubles disagree on larger ones (RFC 8259 §6)."""

_LONGEST_INTEGER = len(str(-MAX_INTEGER))
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)

write_json: Callable[[Any], bytes] = msgspec.json.Encoder().encode
"""Writes a value of JSON as bytes, without blanks, and with non-ASCII characters unescaped."""


class PayloadError(ValueError):
    """The bytes or values are no payload. The message names the problem and its place, and contains no value."""


def check_bounds(data: bytes, max_bytes: int) -> None:
    """Refuse bytes that are too long or nested too deep, before they are parsed.

    Raises:
        PayloadError: more than ``max_bytes`` bytes or :data:`MAX_DEPTH` levels.
    """
    if len(data) > max_bytes:
        msg = f"it has {len(data)} bytes, more than {max_bytes}"
        raise PayloadError(msg)
    # The depth is at most the number of opening brackets, which is fast to count.
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _check_depth(data)


def read_object(data: bytes) -> dict[str, Any]:
    """Parse one JSON object that :func:`check_bounds` accepts, by the rules of this module.

    Raises:
        PayloadError: the bytes break a rule.
    """
    try:
        text = data.decode("utf-8")
        value: Any = _decoder.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        msg = "it is not UTF-8, or has a lone surrogate"
        raise PayloadError(msg) from None
    except json.JSONDecodeError as error:
        msg = f"it is not JSON at character {error.pos}"
        raise PayloadError(msg) from None
    except RecursionError:
        msg = "it is nested too deep for the stack"
        raise PayloadError(msg) from None
    if type(value) is not dict:
        msg = "it is not a JSON object"
        raise PayloadError(msg)
    return cast("dict[str, Any]", value)


def write_object(value: Any, max_bytes: int) -> bytes:
    """Write an object. :func:`read_object` returns an equal object.

    Raises:
        PayloadError: a value without a JSON form, or that reading would refuse; the message names the place.
    """
    if type(value) is not dict:
        msg = f"it must be a dict, not a {type(value).__name__}"
        raise PayloadError(msg)
    _check_plain(value, "", 1)
    try:
        data = write_json(value)
    except UnicodeEncodeError:
        msg = "it has a lone surrogate, which no encoding can carry"
        raise PayloadError(msg) from None
    check_bounds(data, max_bytes)
    return data


def read_field(plain: Mapping[str, Any], name: str, hint: Any) -> Any:
    """Return a field of an object, converted to its type.

    Raises:
        PayloadError: the field is missing, or has another type. The messages of msgspec change from release to release and may quote
            the payload, so this package has its own.
    """
    if name not in plain:
        _refuse(f".{name}", "is missing")
    try:
        return msgspec.convert(plain[name], hint)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        kinds = get_args(hint) or (hint,)
        given = _NOUNS[type(plain[name])]
        wanted = [_NOUNS.get(kind) or f"a text of {kind.__name__}" for kind in kinds]
        _refuse(f".{name}", f"must be {' or '.join(wanted)}" + ("" if wanted[0].startswith(given) else f", not {given}"))


_NOUNS: Mapping[Any, str] = {
    int: "a whole number",
    str: "a text",
    datetime: "a text of an instant (RFC 3339)",
    NoneType: "null",
    bool: "a boolean",
    float: "a fraction",
    list: "an array",
    dict: "an object",
}


def _check_plain(value: Any, place: str, depth: int) -> None:
    kind = cast("Any", type(value))
    if kind is str or kind is bool or value is None:
        return
    if kind is dict or kind is list or kind is tuple:
        if depth > MAX_DEPTH:
            _refuse(place, f"is nested deeper than {MAX_DEPTH} levels")
        for key, item in value.items() if kind is dict else enumerate(value):
            if kind is dict and type(key) is not str:
                _refuse(place, f"has a key of type {type(key).__name__}: JSON has texts alone")
            _check_plain(item, f"{place}.{key}", depth + 1)
    elif kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            _refuse(place, "is outside ±2^53, where readers disagree: write it as a text")
    elif kind is float:
        if not math.isfinite(value):
            _refuse(place, "is NaN or infinite, which JSON has not")
    else:
        _refuse(place, f"is of type {kind.__name__}, which has no JSON form: register an unstructure hook for it")


def _refuse(place: str, problem: str) -> NoReturn:
    msg = f"{place[1:] or 'it'} {problem}"
    raise PayloadError(msg)


def _check_depth(data: bytes) -> None:
    depth = 0
    for token in _TOKEN.finditer(data):
        mark = token[0]
        if mark in b"{[":
            depth += 1
            if depth > MAX_DEPTH:
                msg = f"it is nested deeper than {MAX_DEPTH} levels"
                raise PayloadError(msg)
        elif mark in b"}]":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        msg = "an object has one key twice"
        raise PayloadError(msg)
    return value


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER or not -MAX_INTEGER <= (value := int(digits)) <= MAX_INTEGER:
        msg = "an integer is outside ±2^53"
        raise PayloadError(msg)
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        msg = "a number is too large"
        raise PayloadError(msg)
    return value


def _constant(_name: str) -> NoReturn:
    msg = "it has NaN or Infinity, which JSON has not"
    raise PayloadError(msg)


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
