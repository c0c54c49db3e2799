"""The stored form of any event by way of a dict: host-defined types, older schema versions, sealed payloads."""

from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol, cast

import attrs

from inventory_es.adapters.serialization.registry import Upcaster
from inventory_es.adapters.serialization.strict_json import PayloadError, check_bounds, read_object, write_object
from inventory_es.domain.errors import name_of_function
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import RecordedEvent


class PayloadSeal(Protocol):
    """A host's own transform of payloads, as the last step of writing and the first of reading: encrypt fields, forget keys.

    ``open`` undoes ``seal``, also for payloads that were stored before there was a seal. ``seal`` gives the same result for the
    same payload every time (deterministic encryption): a command that is sent again is recognised by the bytes of its events.
    Where a key was forgotten, ``open`` puts something in place of what can't be read any more. Called from any thread.
    """

    def seal(self, event_type: str, data: dict[str, Any], /) -> dict[str, Any]:
        """What is stored in place of ``data``: a dict of JSON values."""
        ...

    def open(self, event_type: str, data: dict[str, Any], /) -> dict[str, Any]:
        """What ``seal`` was given."""
        ...


@attrs.frozen(kw_only=True)
class PlainForm:
    """How events of one type and schema version become dicts of JSON values, and how these become events.

    Attributes:
        event_type: the wire name.
        to_plain: the payload of an event.
        from_plain: the event of a payload in the newest schema version.
        check: refuses an event that does not belong to the stream.
        upcasters: from the stored version to the newest one, in order.
        seal: the host's transform, if there is one.
        max_bytes: of one payload.
    """

    event_type: str
    to_plain: Callable[[Any], dict[str, Any]]
    from_plain: Callable[[dict[str, Any]], Any]
    check: Callable[[Any, StreamId], None]
    upcasters: Sequence[Upcaster]
    seal: PayloadSeal | None
    max_bytes: int

    def write(self, event: Any) -> bytes:
        """The payload of an event of the newest schema version.

        Raises:
            PayloadError: values that JSON has no form for.
        """
        plain = self.to_plain(event)
        if self.seal is not None:
            plain = _run("the seal", partial(self.seal.seal, self.event_type), plain)
        return write_object(plain, self.max_bytes)

    def read(self, recorded: RecordedEvent) -> Any:
        """The event of a payload, opened, brought to the newest schema version and checked.

        Raises:
            PayloadError: no such payload.
        """
        check_bounds(recorded.data, self.max_bytes)
        plain = read_object(recorded.data)
        if self.seal is not None:
            plain = _run("the seal", partial(self.seal.open, self.event_type), plain)
        for upcaster in self.upcasters:
            plain = _run(f"upcaster {name_of_function(upcaster)}", upcaster, plain)
        event = self.from_plain(plain)
        self.check(event, recorded.stream)
        return event


def _run(name: str, step: Callable[[dict[str, Any]], object], plain: dict[str, Any]) -> dict[str, Any]:
    try:
        result = step(plain)
    except Exception as error:
        msg = f"{name} failed with {type(error).__name__}"
        raise PayloadError(msg) from error
    if isinstance(result, Coroutine):
        result.close()
    if type(result) is not dict:
        msg = f"{name} gave a {type(result).__name__} and not a dict"
        raise PayloadError(msg)
    return cast("dict[str, Any]", result)
