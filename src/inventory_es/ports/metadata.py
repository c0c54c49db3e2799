"""The open part of an event's envelope: which command made it, who sent it, what it follows from."""

from collections.abc import Mapping
from types import NoneType
from typing import Any

import attrs

_TEXTS = {str, NoneType}


@attrs.frozen(kw_only=True)
class EventMetadata:
    """What is known about an event beside what happened.

    No personal data: every id is opaque, and whom it means stands elsewhere, where it can be forgotten.

    Attributes:
        command_id: of the command that was decided to this event.
        fingerprint: of that command's payload; tells a repeated command from another one under the same id.
        correlation_id: of the whole conversation that it belongs to.
        causation_id: of what it is a direct answer to: a command or an event.
        actor_id: who asked, opaque.
        reference: why, URI-like text: an order, a purchase order, a count sheet.
        extra: a host's own keys, values of JSON. Kept as they are, also those of a version of the host that nobody runs any more.

    Raises:
        ValueError: a field that is no text, or an extra key that is empty, no text, or the name of a field above.
    """

    command_id: str | None = None
    fingerprint: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    actor_id: str | None = None
    reference: str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    def __attrs_post_init__(self) -> None:
        if not (
            type(self.command_id) in _TEXTS
            and type(self.fingerprint) in _TEXTS
            and type(self.correlation_id) in _TEXTS
            and type(self.causation_id) in _TEXTS
            and type(self.actor_id) in _TEXTS
            and type(self.reference) in _TEXTS
        ):
            msg = "every field of an event's metadata is a text or None"
            raise ValueError(msg)
        if self.extra and not all(type(key) is str and key and key not in OWN_FIELDS for key in self.extra):
            msg = f"an extra key of an event's metadata is a text other than {', '.join(OWN_FIELDS)}"
            raise ValueError(msg)


OWN_FIELDS = tuple(field.name for field in attrs.fields(EventMetadata) if field.name != "extra")
"""The keys that this package gives a meaning, in the order in which they are written."""
