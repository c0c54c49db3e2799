"""Metadata: ours in order, a host's own keys kept."""

import json
from typing import Any

import pytest

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.ports.errors import EventDecodeError
from inventory_es.ports.records import OWN_FIELDS, EventMetadata
from tests.unit.adapters.serialization.recording import RESERVED, recorded

CODEC = JsonEventCodec()
FULL = EventMetadata(command_id="c", fingerprint="1:f", correlation_id="k", causation_id="a", actor_id="u", reference="urn:po:7")


def decode(metadata: bytes) -> EventMetadata:
    return CODEC.decode_metadata(recorded(RESERVED, metadata=metadata))


@pytest.mark.parametrize(
    "metadata, data",
    [
        (EventMetadata(), b"{}"),
        (EventMetadata(command_id="c", fingerprint="1:f"), b'{"command_id":"c","fingerprint":"1:f"}'),
        (EventMetadata(reference="r"), b'{"reference":"r"}'),
        (
            FULL,
            b'{"command_id":"c","fingerprint":"1:f","correlation_id":"k","causation_id":"a","actor_id":"u","reference":"urn:po:7"}',
        ),
        (EventMetadata(actor_id="u", extra={"b": [1, {"c": None}], "a": "é"}), '{"actor_id":"u","b":[1,{"c":null}],"a":"é"}'.encode()),
        (EventMetadata(extra={"tenant": "acme"}), b'{"tenant":"acme"}'),
        (EventMetadata(command_id="c", more=True), b'{"command_id":"c","more":true}'),
        (EventMetadata(reference="r", more=True, extra={"tenant": "acme"}), b'{"reference":"r","more":true,"tenant":"acme"}'),
        (EventMetadata(extra={"more": 7}), b'{"more":7}'),
        (EventMetadata(command_id='"\\', actor_id=""), b'{"command_id":"\\"\\\\","actor_id":""}'),
    ],
)
def test_it_is_written_in_order_and_read_back(metadata: EventMetadata, data: bytes) -> None:
    assert CODEC.encode_metadata(metadata) == data
    assert decode(data) == metadata
    if not (metadata.extra or metadata.more):
        fields = [getattr(metadata, name) for name in OWN_FIELDS]
        assert CODEC.encode_fields(*fields) == data


def test_a_null_is_nothing() -> None:
    assert decode(b'{"actor_id":null,"tenant":null}') == EventMetadata(extra={"tenant": None})


@pytest.mark.parametrize(
    "data, problem",
    [
        (b"", "it is not JSON at character 0"),
        (b"[]", "it is not a JSON object"),
        (b'{"command_id":1}', "command_id must be a text or null, not a whole number"),
        (b'{"command_id":"a","command_id":"b"}', "one key twice"),
        (b'{"command_id":null,"command_id":"b"}', "one key twice"),
        (b'{"x":1,"x":1}', "one key twice"),
        (b'{"x":9007199254740993}', "2^53"),
        (b'{"x":NaN}', "NaN or Infinity"),
        (b'{"x":"\xff"}', "UTF-8"),
        (b'{"command_id":"\xff"}', "UTF-8"),
        (b'{"x":"\\ud800"}', "metadata"),
        (b'{"":1}', "a key is empty"),
        (b'{"x":' + b"[" * 100_000, "deeper than 32"),
        (b'{"x":"' + b"x" * (1 << 20) + b'"}', "more than 1048576"),
    ],
)
def test_what_is_no_metadata_is_one_error(data: bytes, problem: str) -> None:
    with pytest.raises(EventDecodeError) as caught:
        decode(data)
    assert caught.value.problem.startswith("metadata: ")
    assert problem in caught.value.problem
    assert caught.value.version == 2


@pytest.mark.parametrize("value", [7, b"c", ["c"], True])
@pytest.mark.parametrize("name", OWN_FIELDS)
def test_its_fields_are_texts(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match="text or None"):
        EventMetadata(**{name: value})


@pytest.mark.parametrize("value", [1, "true", None])
def test_the_mark_of_an_instant_that_goes_on_is_a_boolean(value: Any) -> None:
    with pytest.raises(ValueError, match="boolean"):
        EventMetadata(more=value)
    with pytest.raises(ValueError, match="an extra key"):
        EventMetadata(extra={"more": True})


@pytest.mark.parametrize("value", ["7", '"later"', "false", "[]", "null"])
def test_a_key_of_a_host_that_is_called_as_the_mark_stays_the_hosts(value: str) -> None:
    metadata = decode(f'{{"actor_id":"u","more":{value}}}'.encode())
    assert (metadata.more, metadata.extra) == (False, {"more": json.loads(value)})


@pytest.mark.parametrize("key", ["", 7, *OWN_FIELDS])
def test_an_extra_key_is_a_name_of_its_own(key: Any) -> None:
    with pytest.raises(ValueError, match="an extra key"):
        EventMetadata(extra={key: "x"})


@pytest.mark.parametrize(
    "metadata, problem",
    [
        (EventMetadata(extra={"x": 2**53 + 1}), "x is outside"),
        (EventMetadata(extra={"x": object()}), "x is of type object"),
        (EventMetadata(extra={"x": "\ud800"}), "lone surrogate"),
        (EventMetadata(actor_id="\ud800"), "lone surrogate"),
        (EventMetadata(actor_id="x" * (1 << 20)), "more than 1048576"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(metadata: EventMetadata, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        CODEC.encode_metadata(metadata)


def test_it_can_be_a_key() -> None:
    assert hash(EventMetadata(extra={"x": []})) == hash(EventMetadata())
