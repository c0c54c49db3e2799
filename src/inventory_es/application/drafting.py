"""From decided events to events ready to append: ids, payload, metadata."""

from collections.abc import Sequence
from datetime import datetime

from inventory_es.application.requests import CommandRequest
from inventory_es.domain.event_ids import EventIds
from inventory_es.domain.events import Event
from inventory_es.domain.fingerprint import fingerprint
from inventory_es.ports import NewEvent
from inventory_es.ports.codec import EventCodec
from inventory_es.ports.metadata import EventMetadata


def draft_events(request: CommandRequest, events: Sequence[Event], *, at: datetime, ids: EventIds, codec: EventCodec) -> list[NewEvent]:
    """The events of one accepted command as a store takes them."""
    command, context = request.command, request.context
    metadata = codec.encode_metadata(
        EventMetadata(
            command_id=command.command_id,
            fingerprint=fingerprint(command),
            correlation_id=context.correlation_id,
            causation_id=context.causation_id,
            actor_id=context.actor_id,
            reference=command.reference,
        )
    )
    drafted: list[NewEvent] = []
    for event_id, event in zip(ids.of(command, events), events, strict=True):
        encoded = codec.encode(event)
        drafted.append(NewEvent(event_id, encoded.event_type, encoded.schema_version, at, encoded.data, metadata))
    return drafted
