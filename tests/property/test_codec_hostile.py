"""Hostile bytes: an event of the right type that can be written again, or ``EventDecodeError`` without any value. Nothing else."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from inventory_es.adapters.serialization import JsonEventCodec, default_registry
from inventory_es.domain.events import EVENT_TYPES
from inventory_es.domain.reasons import AdjustReason
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import EventDecodeError
from inventory_es.ports.records import RecordedEvent

STREAM = StreamId("inventory", "85123A", "berlin")
SHARED = {"product_id": "85123A", "store_id": "berlin", "on_hand": 100, "reserved": 3}
OWN: dict[str, dict[str, Any]] = {
    "StockAddedEvent": {"quantity": 1, "reason": "FOUND"},
    "StockReservedEvent": {
        "quantity": 3,
        "reservation_id": "R1",
        "purpose": "ORDER",
        "owner_id": None,
        "expires_at": "2026-01-05T09:15:00.000000Z",
    },
    "ReservationExtendedEvent": {"reservation_id": "R1", "previous_expires_at": "2026-01-05T09:15:00.000000Z", "expires_at": None},
    "StockReleasedEvent": {"quantity": 1, "reservation_id": "R1", "remaining": 0, "reason": "EXPIRED"},
    "StockCommittedEvent": {"quantity": 1, "reservation_id": "R1", "remaining": 0, "reason": "SOLD"},
    "StockAdjustedEvent": {"delta": -1, "reason": "COUNT", "counted": 4, "observed_version": 2},
}


@attrs.frozen
class Line:
    sku: str
    quantity: int


@attrs.frozen
class Ordered:
    lines: list[Line]
    at: datetime
    note: str | None


CODEC = JsonEventCodec(registry=default_registry().with_event(Ordered, name="Ordered", schema_version=2, upcasters={1: dict}))
ORDERED = {"lines": [{"sku": "s", "quantity": 1}], "at": "2026-01-05T09:15:00.000000Z", "note": None}
PAYLOADS: dict[str, dict[str, Any]] = {**{name: SHARED | own for name, own in OWN.items()}, "Ordered": ORDERED}

kinds = st.sampled_from(sorted(PAYLOADS))
scraps = st.sampled_from(
    [b'"', b"\\", b"\\u", b"\\ud800", b"\xff", b"\xc3", b"\xf0\x9f\x9b\x92", b"\x00", b"\x7f", b" ", b"\n", b"Z"]
) | st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"-",
        b"0",
        b"9" * 30,
        b"1e9",
        b".5",
        b"NaN",
        b"null",
        b"true",
        b'"R1"',
        b'"quantity":1,',
        b"[" * 40,
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200) | st.sampled_from(["85123A", "ORDER", "SOLD", 1, 3]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, kind: str) -> bytes:
    """Draw a valid payload with some bytes cut out, and some scraps or noise put in."""
    data = json.dumps(PAYLOADS[kind], separators=(",", ":")).encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(start + 12, len(data))))
        data = data[:start] + draw(scraps | st.binary(max_size=4) | st.just(b"")) + data[end:]
    return data


@st.composite
def misfilled(draw: st.DrawFn, kind: str) -> bytes:
    """Draw a valid payload with fields dropped, renamed, repeated, or of any other value."""
    pairs = list(PAYLOADS[kind].items())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(pairs) - 1))
        name = draw(st.sampled_from([pairs[at][0], *PAYLOADS[kind]]) | st.text(max_size=5))
        pairs[at : at + draw(st.integers(0, 1))] = [(name, draw(values))]
    return b"{" + b",".join(json.dumps(name).encode() + b":" + json.dumps(value).encode() for name, value in pairs) + b"}"


def outcome(kind: str, data: bytes, version: int = 1) -> object:
    stream = STREAM if kind in OWN else StreamId("order", "1")
    stored = RecordedEvent(stream, 7, 70, UUID(int=7), kind, version, datetime(2026, 1, 5, tzinfo=UTC), data, data)
    metadata = attempt(CODEC.decode_metadata, stored)
    if metadata is not None:
        CODEC.encode_metadata(metadata)
    event = attempt(CODEC.decode, stored)
    assert attempt(among_good_ones, stored) == event
    return event


def among_good_ones(stored: RecordedEvent) -> Any:
    """Decode the event in one batch with others."""
    good = attrs.evolve(stored, schema_version=1, data=json.dumps(PAYLOADS[stored.event_type]).encode())
    first, *others = CODEC.decode_many([stored, good, good])
    assert others == [CODEC.decode(good)] * 2
    return first


def attempt(decode: Callable[[RecordedEvent], Any], stored: RecordedEvent) -> Any:
    """Decode, and return ``None`` after the one error that is allowed. Any other error fails the test."""
    try:
        return decode(stored)
    except EventDecodeError as error:
        assert (error.stream, error.version, error.event_type) == (stored.stream, 7, stored.event_type)  # noqa: PT017  # both ways end here
        return None


def check(kind: str, data: bytes) -> None:
    event = outcome(kind, data)
    if event is None:
        return
    assert type(event).__name__ == kind
    encoded = CODEC.encode(event)
    assert outcome(kind, encoded.data, encoded.schema_version) == event
    if kind in OWN:
        assert accepts_strictly(data, type(event)), "a payload was accepted that a strict reader refuses"


def accepts_strictly(data: bytes, kind: type[Any]) -> bool:
    """Check every rule of the format on the parsed text: a slow second implementation."""
    names: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names.extend(sorted(name for name, _ in found) if len(dict(found)) == len(found) else ["twice"])
        return dict(found)

    value = json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=lambda _: 2**64)
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return "twice" not in names and {field.name for field in attrs.fields(kind)} <= set(value) and all(map(is_small, leaves(value)))


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [leaf for item in value for leaf in leaves(item)] if isinstance(value, list) else [value]


def is_small(leaf: Any) -> bool:
    return (
        isinstance(leaf, bool) or not isinstance(leaf, int | float) or (abs(leaf) <= 2**53 if isinstance(leaf, int) else abs(leaf) < 1e309)
    )


@given(reason=st.sampled_from(AdjustReason), delta=st.sampled_from([b"0", b"-0", b"0.0", b"-0.0", b"0e0", b"false", b"null", b'"0"']))
def test_only_a_count_adjusts_by_nothing(reason: AdjustReason, delta: bytes) -> None:
    written = json.dumps(PAYLOADS["StockAdjustedEvent"] | {"delta": "delta", "reason": reason.value}).encode()
    data = written.replace(b'"delta": "delta"', b'"delta": ' + delta)
    check("StockAdjustedEvent", data)
    event = outcome("StockAdjustedEvent", data)
    if event is not None:
        assert reason is AdjustReason.COUNT
        assert int(delta) == 0
    else:
        assert delta != b"0" or reason is not AdjustReason.COUNT


def test_all_events_are_here() -> None:
    assert set(OWN) == {kind.__name__ for kind in EVENT_TYPES}
    for kind, payload in PAYLOADS.items():
        assert outcome(kind, json.dumps(payload).encode()) is not None


@given(kind=kinds, data=st.binary(max_size=400))
@example(kind="StockAddedEvent", data=b"")
def test_noise(kind: str, data: bytes) -> None:
    check(kind, data)


@given(case=kinds.flatmap(lambda kind: st.tuples(st.just(kind), damaged(kind))))
def test_a_damaged_payload(case: tuple[str, bytes]) -> None:
    check(*case)


@given(case=kinds.flatmap(lambda kind: st.tuples(st.just(kind), misfilled(kind))))
def test_a_misfilled_payload(case: tuple[str, bytes]) -> None:
    check(*case)


@given(kind=kinds, value=values)
def test_any_json(kind: str, value: Any) -> None:
    check(kind, json.dumps(value).encode())
    check(kind, json.dumps(PAYLOADS[kind] | {"more": value}).encode())
    for name in PAYLOADS[kind]:
        check(kind, json.dumps(PAYLOADS[kind] | {name: value}).encode())
