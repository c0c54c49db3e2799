"""A codec of the kit's own: plain JSON, no more than a simulation needs."""

import json
from datetime import datetime
from enum import Enum
from types import UnionType
from typing import Any, get_args, get_type_hints

import attrs

from inventory_es.domain.events import EVENT_TYPES
from inventory_es.ports import EncodedEvent, EventMetadata, RecordedEvent
from inventory_es.ports.errors import EventDecodeError

_BY_NAME = {kind.__name__: kind for kind in EVENT_TYPES}
_HINTS = {kind: get_type_hints(kind) for kind in EVENT_TYPES}


class PlainCodec:
    """An :class:`~inventory_es.ports.EventCodec` for the events of an inventory. Not the stored form of any version."""

    def encode(self, event: object, /) -> EncodedEvent:
        """The fields of an event as one JSON object."""
        kind: type[Any] = type(event)
        fields = {field.name: _plain(getattr(event, field.name)) for field in attrs.fields(kind)}
        return EncodedEvent(kind.__name__, 1, _dump(fields))

    def encode_metadata(self, metadata: EventMetadata, /) -> bytes:
        """What is not ``None``, as one JSON object."""
        return _dump({name: value for name, value in attrs.asdict(metadata).items() if value})

    def decode(self, recorded: RecordedEvent, /) -> Any:
        """The event that was encoded.

        Raises:
            EventDecodeError: it is none of an inventory's.
        """
        kind = _BY_NAME.get(recorded.event_type)
        if kind is None:
            raise EventDecodeError(
                stream=recorded.stream,
                version=recorded.version,
                event_type=recorded.event_type,
                schema_version=recorded.schema_version,
                problem="it is no event of an inventory",
            )
        hints = _HINTS[kind]
        return kind(**{name: _typed(hints[name], value) for name, value in json.loads(recorded.data).items()})

    def decode_metadata(self, recorded: RecordedEvent, /) -> EventMetadata:
        """The metadata that was encoded."""
        return EventMetadata(**json.loads(recorded.metadata))


def _plain(value: object) -> object:
    match value:
        case Enum():
            return value.value
        case datetime():
            return value.isoformat()
        case _:
            return value


def _typed(hint: Any, value: Any) -> Any:
    if isinstance(hint, UnionType):
        hint = next(one for one in get_args(hint) if one is not type(None))
    if value is None or not issubclass(hint, datetime | Enum):
        return value
    return datetime.fromisoformat(value) if issubclass(hint, datetime) else hint(value)


def _dump(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
