"""JSON Schemas of the registered events, and the AsyncAPI document of what the relay publishes. Pure."""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from inspect import getdoc
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs

from inventory_es.adapters.serialization.registry import EventKind, EventRegistry, default_registry
from inventory_es.ports.toolkit.cloudevents import STRUCTURED_TYPE, schema_uri

Schema = dict[str, Any]
"""A JSON Schema of draft 7, which AsyncAPI 3.0 takes as it is."""

_DRAFT = "http://json-schema.org/draft-07/schema#"
_UUID: Schema = {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"}
_PLAIN: Mapping[Any, Schema] = {
    Any: {},
    NoneType: {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    UUID: _UUID,
    Decimal: {"type": "string"},
}
_NO_KEY = re.compile(r"[^A-Za-z0-9.-]", re.ASCII)
_NO_TYPES: Mapping[Any, Schema] = MappingProxyType({})
_ENVELOPE_KEY = "Cloud_Event"
_TEXT = {"type": "string", "minLength": 1}
_ENVELOPE: Schema = {
    "description": "A CloudEvent in structured mode. Consumers recognise a repeated event by subject and streamversion.",
    "type": "object",
    "properties": {
        "specversion": {"const": "1.0"},
        "id": _UUID,
        "source": {**_TEXT, "format": "uri-reference", "description": "The publisher and the stream, so that source and id are unique."},
        "type": _TEXT,
        "subject": {**_TEXT, "description": "The stream."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {"type": "string", "format": "uri"},
        "streamversion": {"type": "string", "pattern": "^[1-9][0-9]*$", "description": "The place in the stream, from 1, without gaps."},
        "position": {"type": "string", "pattern": "^(0|[1-9][0-9]*)$", "description": "The place in the store; 0 without a feed."},
        "correlationid": _TEXT,
        "causationid": _TEXT,
        "traceparent": _TEXT,
        "tracestate": _TEXT,
        "metadata": {"type": "string", "contentEncoding": "base64", "description": "The JSON object of the recorded metadata."},
        "data": {"type": "object"},
    },
    "required": [
        *("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"),
        *("streamversion", "position", "data"),
    ],
}


def event_schemas(registry: EventRegistry | None = None, *, types: Mapping[Any, Schema] = _NO_TYPES) -> Mapping[str, Schema]:
    """Return the JSON Schema of each event type in its newest schema version, by wire name.

    A schema allows further properties, so that a consumer of today reads the events of a later release.

    Args:
        registry: the event types; those of inventories and processes by default.
        types: the schemas of further field types, for which a host's converter has hooks.

    Raises:
        ValueError: a field of a type without a schema.
    """
    kinds = (default_registry() if registry is None else registry).kinds
    newest = {kind.event_type: kind for kind in sorted(kinds, key=lambda kind: kind.schema_version)}
    return {kind.event_type: _schema_of(newest[kind.event_type], {**_PLAIN, **types}) for kind in kinds}


def asyncapi_document(registry: EventRegistry | None = None, *, title: str = "Events of an inventory") -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of the CloudEvents that the relay publishes, for JSON. Its references stay within it.

    Args:
        registry: the event types; those of inventories and processes by default.
        title: of the document.

    Raises:
        ValueError: as :func:`event_schemas`.
    """
    schemas = event_schemas(registry)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": "1.0.0", "description": "Domain events, at least once, in order within each stream."},
        "defaultContentType": STRUCTURED_TYPE,
        "channels": {
            "events": {
                "address": None,
                "description": "The log of the bus. Its address depends on the bus and on its prefix.",
                "messages": {_key(name): {"$ref": f"#/components/messages/{_key(name)}"} for name in schemas},
            }
        },
        "operations": {"publish": {"action": "send", "channel": {"$ref": "#/channels/events"}}},
        "components": {
            "messages": {_key(name): _message(name, schema) for name, schema in schemas.items()},
            "schemas": {
                _ENVELOPE_KEY: _ENVELOPE,
                **{_key(name): {key: value for key, value in one.items() if key[:1] != "$"} for name, one in schemas.items()},
            },
        },
    }


def _schema_of(kind: EventKind, types: Mapping[Any, Schema]) -> Schema:
    identity = {"$schema": _DRAFT, "$id": schema_uri(kind.event_type, kind.schema_version), "title": kind.event_type}
    return {**identity, **_object(kind.cls, types, kind.event_type)}


def _object(cls: type[Any], types: Mapping[Any, Schema], place: str) -> Schema:
    hints = get_type_hints(cls)
    fields = {field.name: hints[field.name] for field in attrs.fields(cls)}
    properties = {name: _schema(hint, types, f"{place}.{name}") for name, hint in fields.items()}
    description = " ".join((getdoc(cls) or "").partition("\n\n")[0].replace("``", "").replace("None", "null").split())
    return {"description": description, "type": "object", "properties": properties, "required": list(fields), "additionalProperties": True}


def _schema(hint: Any, types: Mapping[Any, Schema], place: str) -> Schema:
    """Return the schema of a type.

    Raises:
        ValueError: a type without a schema.
    """
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in types:
        return types[origin]
    if origin in {Union, UnionType}:
        return _any_of([_schema(one, types, place) for one in arguments])
    if origin is Literal:
        return {"enum": list(arguments)}
    if isinstance(origin, type):
        if issubclass(origin, Enum):
            return {"enum": [member.value for member in origin]}
        if attrs.has(origin):
            return _object(origin, types, place)
        if issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": _schema(arguments[1], types, place) if arguments else {}}
        if issubclass(origin, tuple) and arguments and arguments[-1] is not Ellipsis:
            items = [_schema(one, types, place) for one in arguments]
            return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}
        if issubclass(origin, Sequence | AbstractSet):
            return {"type": "array", "items": _schema(arguments[0], types, place) if arguments else {}}
    msg = f"{place}: {hint} has no JSON Schema: give one in types"
    raise ValueError(msg)


def _any_of(options: Sequence[Schema]) -> Schema:
    """Return the schema of any of these. A plain type, or null, is one schema with two types."""
    (first, *others) = options
    if others == [{"type": "null"}] and isinstance(first.get("type"), str) and first.keys() <= {"type", "format", "pattern"}:
        return {**first, "type": [first["type"], "null"]}
    return {"anyOf": list(options)}


def _message(name: str, schema: Schema) -> dict[str, Any]:
    own = {
        "type": {"const": name},
        "dataschema": {"const": schema["$id"]},
        "data": {"$ref": f"#/components/schemas/{_key(name)}"},
    }
    payload = {"allOf": [{"$ref": f"#/components/schemas/{_ENVELOPE_KEY}"}, {"properties": own}]}
    return {"name": name, "title": name, "summary": schema["description"], "contentType": STRUCTURED_TYPE, "payload": payload}


def _key(name: str) -> str:
    """Return the key of an event type: AsyncAPI allows letters, digits, dots and dashes, and no type has the key of the envelope."""
    return _NO_KEY.sub(lambda match: f"_{ord(match[0]):x}_", name)
