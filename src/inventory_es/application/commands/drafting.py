"""From decided events to events ready to append: ids, payload, metadata."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from inventory_es.application.commands.requests import CommandRequest
from inventory_es.domain.command_identity import EventIds, fingerprint
from inventory_es.domain.events import Event
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
        """The events of one accepted command, with their ids; all but the last are marked: more of their instant follow."""
        command, context, encode = request.command, request.context, self._codec.encode
        told = context.correlation_id, context.causation_id, context.actor_id
        metadata = self._encode_fields(command.command_id, fingerprint(command), *told, command.reference)
        drafted: list[NewEvent] = []
        for event_id, event in zip(ids.of(command, events), events, strict=True):
            event_type, schema_version, data = encode(event)
            drafted.append(self._new_event(event_id, event_type, schema_version, at, data, metadata))
        return drafted if len(drafted) == 1 else [*self._with_more(request, drafted[:-1]), drafted[-1]]

    def draft_instant(self, commands: Sequence[tuple[CommandRequest, Sequence[NewEvent]]]) -> list[NewEvent]:
        """The drafted events of commands that are one instant of one stream: all but the last of them are marked."""
        drafted: list[NewEvent] = []
        for request, events in commands[:-1]:
            drafted += events[:-1]
            drafted += self._with_more(request, events[-1:])
        return [*drafted, *commands[-1][1]]

    def _with_more(self, request: CommandRequest, drafted: Sequence[NewEvent]) -> list[NewEvent]:
        command, context = request.command, request.context
        metadata = self._codec.encode_metadata(
            EventMetadata(
                command_id=command.command_id,
                fingerprint=fingerprint(command),
                correlation_id=context.correlation_id,
                causation_id=context.causation_id,
                actor_id=context.actor_id,
                reference=command.reference,
                more=True,
            )
        )
        make = self._new_event
        return [make(one.event_id, one.event_type, one.schema_version, one.recorded_at, one.data, metadata) for one in drafted]

    def _encode_metadata(self, *fields: str | None) -> bytes:
        named: dict[str, Any] = dict(zip(OWN_FIELDS, fields, strict=True))
        return self._codec.encode_metadata(EventMetadata(**named))
