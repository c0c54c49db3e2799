"""From decided events to events ready to append: ids, payload, metadata."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from inventory_es.application.requests import CommandRequest
from inventory_es.domain.event_ids import EventIds
from inventory_es.domain.events import Event
from inventory_es.domain.fingerprint import fingerprint
from inventory_es.ports import NewEvent
from inventory_es.ports.codec import EventCodec, KnownGoodCodec
from inventory_es.ports.metadata import OWN_FIELDS, EventMetadata


class Drafting:
    """Makes the events of accepted commands into what a store takes.

    Args:
        codec: for their payloads and metadata.
    """

    __slots__ = ("_codec", "_encode_fields", "_new_event")

    def __init__(self, codec: EventCodec) -> None:
        self._codec = codec
        if isinstance(codec, KnownGoodCodec):
            self._new_event, self._encode_fields = NewEvent.unchecked, codec.encode_fields
        else:
            self._new_event, self._encode_fields = NewEvent, self._encode_metadata

    def draft(self, request: CommandRequest, events: Sequence[Event], *, at: datetime, ids: EventIds) -> list[NewEvent]:
        """The events of one accepted command, with their ids and one metadata."""
        command, context, encode = request.command, request.context, self._codec.encode
        told = context.correlation_id, context.causation_id, context.actor_id
        metadata = self._encode_fields(command.command_id, fingerprint(command), *told, command.reference)
        drafted: list[NewEvent] = []
        for event_id, event in zip(ids.of(command, events), events, strict=True):
            event_type, schema_version, data = encode(event)
            drafted.append(self._new_event(event_id, event_type, schema_version, at, data, metadata))
        return drafted

    def _encode_metadata(self, *fields: str | None) -> bytes:
        named: dict[str, Any] = dict(zip(OWN_FIELDS, fields, strict=True))
        return self._codec.encode_metadata(EventMetadata(**named))
