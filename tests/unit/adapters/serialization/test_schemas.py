"""The JSON Schemas of the events, and the AsyncAPI document: current, right for every event, and readable for consumers of yesterday."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import attrs
import jsonschema_rs
import pytest
from hypothesis import given

from inventory_es.adapters.serialization import JsonEventCodec, asyncapi_document, default_registry, event_schemas
from inventory_es.domain.events import Event
from inventory_es.ports import RecordedEvent
from inventory_es.ports.toolkit.cloudevents import to_json
from inventory_es.testing.domain import strategies
from tests.documentation.schemas import REFERENCE, files
from tests.unit.adapters.serialization.recording import STORED_EVENTS, frozen

FROZEN = Path(__file__).parents[3] / "data" / "event_schemas.json"
"""The schemas that consumers of the first version have. Never edited."""
CODEC = JsonEventCodec()
FILES = sorted(STORED_EVENTS.glob("*.json"))
STORED = [frozen(path) for path in FILES]


def validators(schemas: Mapping[str, Any]) -> Mapping[str, jsonschema_rs.Draft7Validator]:
    return {name: jsonschema_rs.Draft7Validator(schema, validate_formats=True) for name, schema in schemas.items()}


NEW = validators(event_schemas())
OLD = validators(json.loads(FROZEN.read_text(encoding="utf-8")))


def problems(validator: jsonschema_rs.Draft7Validator, instance: object) -> list[str]:
    return [problem.message for problem in validator.iter_errors(instance)]


def test_the_files_of_the_reference_are_current() -> None:
    written = {path: path.read_text(encoding="utf-8") for path in (*(REFERENCE / "schemas").iterdir(), REFERENCE / "asyncapi.json")}
    assert written == files(), "run: python -m tests.documentation.schemas"


def test_every_registered_event_has_one() -> None:
    assert set(NEW) == {kind.event_type for kind in default_registry().kinds} == {event.event_type for event in STORED}


@pytest.mark.parametrize("schemas", [NEW, OLD], ids=["new", "old"])
@pytest.mark.parametrize("event", STORED, ids=[path.stem for path in FILES])
def test_each_event_that_was_ever_stored_is_valid(event: RecordedEvent, schemas: Mapping[str, jsonschema_rs.Draft7Validator]) -> None:
    plain = json.loads(event.data)
    assert problems(schemas[event.event_type], plain) == []
    assert problems(schemas[event.event_type], plain | {"field_of_a_later_version": 1}) == []
    for name in plain:
        assert problems(schemas[event.event_type], plain | {name: {"no": "value"}}) != [], name
        assert problems(schemas[event.event_type], {key: value for key, value in plain.items() if key != name}) != [], name


@given(strategies.events())
def test_whatever_is_written_today_is_valid_for_consumers_of_today_and_of_yesterday(event: Event) -> None:
    encoded = CODEC.encode(event)
    assert problems(NEW[encoded.event_type], json.loads(encoded.data)) == []
    assert problems(OLD[encoded.event_type], json.loads(encoded.data)) == []


def test_formats_are_checked() -> None:
    event, *_ = [event for event in STORED if event.event_type == "OrderHeldEvent"]
    plain = json.loads(event.data)
    assert problems(NEW["OrderHeldEvent"], plain | {"expires_at": "tomorrow"}) == ['"tomorrow" is not a "date-time"']


@attrs.frozen
class Tasting:
    cups: tuple[int, float]
    by: Literal["guest", "barista"]
    at: date
    price: Decimal
    lot: UUID | None
    grams: tuple[int, ...] | None
    notes: Mapping[str, Sequence[str]]
    extra: Any
    tags: frozenset[str] = frozenset()


def test_the_events_of_a_host_have_schemas_too() -> None:
    registry = default_registry().with_event(Tasting, name="Tea_tasted: twice", schema_version=1)
    codec = JsonEventCodec(registry=registry)
    event = Tasting((1, 0.5), "guest", date(2026, 1, 5), Decimal("1.20"), None, (3,), {"nose": ["malt"]}, {"x": [1]}, frozenset({"b", "a"}))
    (schema,) = validators({"": event_schemas(registry)["Tea_tasted: twice"]}).values()
    plain = json.loads(codec.encode(event).data)
    assert problems(schema, plain) == []
    for wrong in ({"cups": [1]}, {"by": "me"}, {"at": "5 Jan"}, {"lot": "x"}, {"grams": 3}, {"notes": {"nose": [1]}}, {"tags": "a"}):
        assert len(problems(schema, plain | wrong)) == 1, wrong
    assert "Tea_5f_tasted_3a__20_twice" in asyncapi_document(registry)["components"]["messages"]


def test_a_field_without_a_schema_is_named() -> None:
    @attrs.frozen
    class Odd:
        weight: complex

    registry = default_registry().with_event(Odd, name="Odd", schema_version=2)
    with pytest.raises(ValueError, match=r"Odd.weight: <class 'complex'> has no JSON Schema: give one in types"):
        event_schemas(registry)
    assert event_schemas(registry, types={complex: {"type": "string"}})["Odd"]["properties"] == {"weight": {"type": "string"}}


def references(document: object) -> Iterator[str]:
    if isinstance(document, Mapping):
        yield from (value for key, value in document.items() if key == "$ref")
        for value in document.values():
            yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)


def test_the_asyncapi_document_is_whole() -> None:
    document = asyncapi_document()
    assert set(document) == {"asyncapi", "info", "defaultContentType", "channels", "operations", "components"}
    found = list(references(document))
    assert len(found) == 3 * len(NEW) + 1
    for reference in found:
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
        assert isinstance(place, dict)


def test_a_published_event_is_valid_under_its_message_and_under_no_other() -> None:
    document = asyncapi_document()
    payloads = {name: message["payload"] for name, message in document["components"]["messages"].items()}
    messages = validators({name: {**payload, "components": document["components"]} for name, payload in payloads.items()})
    for event in STORED:
        published = json.loads(to_json(event, source="shop"))
        assert [name for name, message in messages.items() if message.is_valid(published)] == [event.event_type]
        assert problems(messages[event.event_type], published | {"time": "now"}) != []
