"""The open part of an event's envelope: which command made it, who sent it, what it follows from."""

from collections.abc import Mapping
from types import NoneType
from typing import Any

import attrs

_TEXTS = {str, NoneType}
_BOOLEANS = {bool}


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
        more: True if the next event of the stream belongs to the same instant: to the same command, or to the same ``execute_all``
            and time. The last event of an instant has no mark, and so has one that is an instant alone.
        extra: a host's own keys, values of JSON. Kept as they are, also those of a version of the host that nobody runs any more.

    Raises:
        ValueError: a field that is no text, ``more`` that is no boolean, or an extra key that is empty, no text, the name of a text field
            above, or ``more`` with the value True.
    """

    command_id: str | None = None
    fingerprint: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    actor_id: str | None = None
    reference: str | None = None
    more: bool = False
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
        if type(self.more) not in _BOOLEANS:
            msg = "more of an event's metadata is a boolean"
            raise ValueError(msg)
        if self.extra and not all(type(key) is str and key and not is_own(key, value) for key, value in self.extra.items()):
            msg = f"an extra key of an event's metadata is a text other than {', '.join(OWN_FIELDS)}"
            raise ValueError(msg)


OWN_FIELDS = tuple(field.name for field in attrs.fields(EventMetadata) if field.name not in {"more", "extra"})
"""The keys of texts that this package gives a meaning, in the order in which they are written."""


def is_own(key: str, value: object) -> bool:
    """Return whether this package gives the key a meaning; ``more`` has one with the value True alone."""
    return key in OWN_FIELDS or (key == "more" and value is True)
