"""Event types that a host registers: fields of many types, strictness, upcasters, seals."""

import traceback
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, Literal
from uuid import UUID

import attrs
import pytest

from inventory_es.adapters.serialization import EventRegistry, JsonEventCodec, default_converter, default_registry
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import EventDecodeError
from inventory_es.ports.records import RecordedEvent
from tests.unit.adapters.serialization.recording import RESERVED, STORED_EVENTS, STREAM, frozen, recorded

PARCEL = StreamId("parcel", "P-1")


class Carrier(StrEnum):
    BIKE = "bike"


class Floor(IntEnum):
    GROUND = 0


class Size(Enum):
    SMALL = "S"


class Mixed(str, Enum):  # noqa: UP042  # hosts have enums of this kind
    A = "a"


@attrs.frozen
class Line:
    sku: str
    quantity: int


@attrs.frozen
class Packed:
    text: str
    number: int
    ratio: float
    flag: bool
    instant: datetime
    day: date
    uid: UUID
    price: Decimal
    carrier: Carrier
    floor: Floor
    size: Size
    mixed: Mixed
    lines: list[Line]
    counts: dict[str, int]
    tags: frozenset[str]
    pair: tuple[int, str]
    numbers: tuple[int, ...]
    anything: list[Any]
    kind: Literal["x", "y"]
    note: str | None = None
    first: Line | None = None


PACKED = Packed(
    text="é",
    number=2**53,
    ratio=1.5,
    flag=True,
    instant=datetime(2026, 1, 5, 9, tzinfo=UTC),
    day=date(2026, 1, 5),
    uid=UUID(int=1),
    price=Decimal("1.10"),
    carrier=Carrier.BIKE,
    floor=Floor.GROUND,
    size=Size.SMALL,
    mixed=Mixed.A,
    lines=[Line("s", 1)],
    counts={"b": 1, "a": 2},
    tags=frozenset({"z", "y"}),
    pair=(1, "one"),
    numbers=(1, 2),
    anything=[1, {"a": None}],
    kind="x",
)
STORED = (
    '{"text":"é","number":9007199254740992,"ratio":1.5,"flag":true,"instant":"2026-01-05T09:00:00.000000Z","day":"2026-01-05",'
    '"uid":"00000000-0000-0000-0000-000000000001","price":"1.10","carrier":"bike","floor":0,"size":"S","mixed":"a",'
    '"lines":[{"sku":"s","quantity":1}],"counts":{"a":2,"b":1},"tags":["y","z"],"pair":[1,"one"],"numbers":[1,2],'
    '"anything":[1,{"a":null}],"kind":"x","note":null,"first":null}'
)
CODEC = JsonEventCodec(registry=default_registry().with_event(Packed, name="Packed", schema_version=1))


def packed(data: str | bytes) -> RecordedEvent:
    return recorded(data if isinstance(data, bytes) else data.encode(), event_type="Packed", stream=PARCEL)


def test_one_event_has_one_form() -> None:
    assert CODEC.encode(PACKED) == ("Packed", 1, STORED.encode())
    reordered = attrs.evolve(PACKED, counts={"a": 2, "b": 1}, tags=frozenset({"y", "z"}))
    assert CODEC.encode(reordered).data == CODEC.encode(PACKED).data


def test_it_is_read_back() -> None:
    event = CODEC.decode(packed(STORED))
    assert event == PACKED
    assert [type(value) for value in attrs.astuple(event, recurse=False)] == [type(value) for value in attrs.astuple(PACKED, recurse=False)]


def test_fields_that_it_does_not_know_are_tolerated() -> None:
    assert CODEC.decode(packed(STORED.replace('"text"', '"gift_wrap":true,"text"'))) == PACKED


def test_a_default_stands_for_a_missing_field() -> None:
    assert CODEC.decode(packed(STORED.replace(',"first":null', ""))) == PACKED


@pytest.mark.parametrize(
    "old, new, problem",
    [
        ('"é"', "7", "text: expected str, got int"),
        (":9007199254740992", ':"SECRET"', "number: expected int, got str"),
        (":9007199254740992", ":true", "number: expected int, got bool"),
        (":9007199254740992", ":1.0", "number: expected int, got float"),
        (":9007199254740992", ":9007199254740993", "an integer is outside ±2^53"),
        ("1.5", '"1.5"', "ratio: expected float, got str"),
        ("true", "1", "flag: expected bool, got int"),
        (".000000Z", ".000000+01:00", "instant: expected an instant in UTC"),
        (".000000Z", "", "instant: expected an instant in UTC"),
        ("2026-01-05T09:00:00.000000Z", "SECRET", "instant: ValueError"),
        ('"2026-01-05"', '"SECRET"', "day: ValueError"),
        ('"2026-01-05"', "20260105", "day: expected date, got int"),
        ("00000000-0000-0000-0000-000000000001", "SECRET", "uid: ValueError"),
        ('"1.10"', "1.10", "price: expected Decimal, got float"),
        ('"1.10"', '"SECRET"', "price: InvalidOperation"),
        ("bike", "SECRET", "carrier: ValueError"),
        ('"floor":0', '"floor":7', "floor: ValueError"),
        ('"floor":0', '"floor":false', "floor: expected int, got bool"),
        ('"S"', '"SECRET"', "size: ValueError"),
        ('"mixed":"a"', '"mixed":"SECRET"', "mixed: ValueError"),
        ('"quantity":1', '"quantity":"SECRET"', "lines.quantity: expected int, got str"),
        ('{"a":2,"b":1}', '{"SECRET":"x"}', "counts: expected int, got str"),
        ('["y","z"]', '"SECRET"', "tags: expected list, got str"),
        ('[1,"one"]', '[1,"one",2]', "pair: expected 2 items, got 3"),
        ('[1,"one"]', '["SECRET",1]', "pair: expected int, got str"),
        ("[1,2]", '"12"', "numbers: expected list, got str"),
        ('"x"', '"SECRET"', "kind: "),
        ('"text":"é",', "", "text: KeyError"),
        ('"text":', '"text":"twice","text":', "one key twice"),
        ("{", "[", "not JSON"),
    ],
)
def test_nothing_is_coerced(old: str, new: str, problem: str) -> None:
    assert old in STORED
    with pytest.raises(EventDecodeError) as caught:
        CODEC.decode(packed(STORED.replace(old, new, 1)))
    assert problem in caught.value.problem
    assert caught.value.stream == PARCEL
    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"number": 2**53 + 1}, "number is outside"),
        ({"ratio": float("nan")}, "ratio is NaN"),
        ({"text": "\ud800"}, "lone surrogate"),
        ({"instant": datetime(2026, 1, 5)}, "aware datetime in UTC"),  # noqa: DTZ001  # what is refused
        ({"instant": datetime(2026, 1, 5, tzinfo=timezone(timedelta(hours=1)))}, "aware datetime in UTC"),
        ({"anything": [object()]}, "anything.0 is of type object"),
        ({"anything": [b"bytes"]}, "anything.0 is of type bytes"),
        ({"tags": frozenset({"a", 1})}, "a hook of the converter failed with TypeError"),
        ({"text": "x" * (1 << 20)}, "more than 1048576"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=f"event of type Packed can't be encoded: .*{problem}"):
        CODEC.encode(attrs.evolve(PACKED, **change))


def with_more(value: str) -> RecordedEvent:
    return packed(f'{{"more":{value},{STORED[1:]}')


def test_its_payload_is_bounded_too() -> None:
    assert CODEC.decode(with_more("[" * 31 + "]" * 31)) == PACKED
    with pytest.raises(EventDecodeError, match="nested deeper than 32"):
        CODEC.decode(with_more("[" * 32 + "]" * 32))
    with pytest.raises(EventDecodeError, match="more than 1048576"):
        CODEC.decode(with_more('"' + "x" * (1 << 20) + '"'))


def test_it_has_no_place_in_the_stream_of_an_inventory() -> None:
    with pytest.raises(EventDecodeError, match="does not belong in the stream of an inventory"):
        CODEC.decode(recorded(STORED.encode(), event_type="Packed", stream=STREAM))


@attrs.frozen
class Weight:
    grams: int


@attrs.frozen
class Weighed:
    weight: Weight


def test_hooks_of_the_host_shape_its_own_types() -> None:
    converter = default_converter()
    converter.register_unstructure_hook(Weight, lambda weight: f"{weight.grams} g")
    converter.register_structure_hook(Weight, lambda text, _: Weight(int(text.removesuffix(" g"))))
    codec = JsonEventCodec(registry=EventRegistry().with_event(Weighed, name="Weighed", schema_version=1), converter=converter)
    assert codec.encode(Weighed(Weight(7))).data == b'{"weight":"7 g"}'
    assert codec.decode(recorded(b'{"weight":"7 g"}', event_type="Weighed", stream=PARCEL)) == Weighed(Weight(7))
    with pytest.raises(EventDecodeError, match="weight: ValueError"):
        codec.decode(recorded(b'{"weight":"SECRET"}', event_type="Weighed", stream=PARCEL))


class Opaque:
    pass


@attrs.frozen
class Wrapped:
    value: Opaque


def test_a_field_without_a_hook_is_told_when_the_codec_is_made() -> None:
    registry = EventRegistry().with_event(Wrapped, name="Wrapped", schema_version=1)
    with pytest.raises(ValueError, match=r"no structure hook for .*Opaque.*, a field of Wrapped: register one"):
        JsonEventCodec(registry=registry)


# Three schema versions of one type: kilograms, then grams, then a list of boxes.


@attrs.frozen
class ParcelPacked:
    parcel_id: str
    box_grams: list[int]


def in_grams(payload: dict[str, Any]) -> dict[str, Any]:
    return {"parcel_id": payload["parcel_id"], "grams": round(payload["kilograms"] * 1_000)}


def in_boxes(payload: dict[str, Any]) -> dict[str, Any]:
    return {"parcel_id": payload["parcel_id"], "box_grams": [payload["grams"]]}


PARCELS = JsonEventCodec(
    registry=default_registry().with_event(ParcelPacked, name="ParcelPacked", schema_version=3, upcasters={1: in_grams, 2: in_boxes})
)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_is_read_as_the_newest(version: int) -> None:
    stored = frozen(STORED_EVENTS / "host" / f"ParcelPacked.v{version}.json")
    assert PARCELS.decode(stored) == ParcelPacked("P-1", [1_250])


def test_the_newest_version_is_written() -> None:
    assert PARCELS.encode(ParcelPacked("P-1", [1_250])) == ("ParcelPacked", 3, b'{"parcel_id":"P-1","box_grams":[1250]}')


def test_an_upcaster_that_fails_is_named_with_its_cause() -> None:
    with pytest.raises(EventDecodeError, match="upcaster in_grams failed with KeyError") as caught:
        PARCELS.decode(recorded(b'{"parcel_id":"P-1"}', event_type="ParcelPacked", stream=PARCEL))
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_upcaster_gives_a_payload() -> None:
    mistaken: Any = {1: lambda _payload: None}
    registry = EventRegistry().with_event(ParcelPacked, name="ParcelPacked", schema_version=2, upcasters=mistaken)
    with pytest.raises(EventDecodeError, match="gave a NoneType and not a dict"):
        JsonEventCodec(registry=registry).decode(recorded(b"{}", event_type="ParcelPacked", stream=PARCEL))


class ReversingSeal:
    """Turns owner ids round. A host would encrypt, always to the same result."""

    def __init__(self) -> None:
        self.forgotten = False

    def seal(self, event_type: str, data: dict[str, Any]) -> dict[str, Any]:
        assert event_type in {"StockReservedEvent", "Packed"}
        return {**data, "owner_id": f"sealed:{data['owner_id'][::-1]}"} if data.get("owner_id") else data

    def open(self, event_type: str, data: dict[str, Any]) -> dict[str, Any]:
        assert event_type in {"StockReservedEvent", "Packed"}
        owner = data.get("owner_id")
        if owner is None or not owner.startswith("sealed:"):
            return data
        return {**data, "owner_id": "forgotten" if self.forgotten else owner.removeprefix("sealed:")[::-1]}


def test_a_seal_stands_between_the_event_and_its_bytes() -> None:
    seal = ReversingSeal()
    codec = JsonEventCodec(seal=seal)
    event = codec.decode(recorded(RESERVED.replace(b"null", b'"cust-4711"')))
    stored = codec.encode(event).data
    assert stored == RESERVED.replace(b"null", b'"sealed:1174-tsuc"')
    assert codec.decode(recorded(stored)) == event
    seal.forgotten = True
    assert codec.decode(recorded(stored)) == attrs.evolve(event, owner_id="forgotten")


def test_a_seal_does_not_weaken_a_check() -> None:
    codec = JsonEventCodec(seal=ReversingSeal())
    for old, new in ((b"berlin", b"hamburg"), (b":3,", b":3.0,"), (b'"R1"', b'""'), (b":100", b":2"), (b'{"', b'{"x":1,"x":1,"')):
        with pytest.raises(EventDecodeError):
            codec.decode(recorded(RESERVED.replace(old, new, 1)))


class BrokenSeal:
    def seal(self, _event_type: str, _data: dict[str, Any]) -> dict[str, Any]:
        msg = "no key"
        raise LookupError(msg)

    open = seal


def test_a_seal_that_fails_is_named_with_its_cause() -> None:
    codec = JsonEventCodec(seal=BrokenSeal())
    with pytest.raises(EventDecodeError, match="the seal failed with LookupError") as caught:
        codec.decode(recorded(RESERVED))
    assert isinstance(caught.value.__cause__, LookupError)
    with pytest.raises(ValueError, match="the seal failed with LookupError"):
        codec.encode(JsonEventCodec().decode(recorded(RESERVED)))
