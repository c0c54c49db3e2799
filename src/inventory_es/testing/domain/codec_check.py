"""Property P27: a codec reads back what it wrote."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NoReturn
from uuid import UUID

from inventory_es.domain.errors import InventoryError
from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports.codec import EventCodec
from inventory_es.ports.records import RecordedEvent
from inventory_es.testing.domain.formatting import describe
from inventory_es.testing.domain.history import PropertyError

__tracebackhide__ = True
"""For pytest: a failure shows the line of the test that asked, not ours."""

SENTENCE = "Encoding and decoding an event gives the same event, and encoding that the same bytes."

_SOME_TIME = datetime(2026, 1, 5, 9, tzinfo=UTC)


def check_codec(codec: EventCodec, events: Iterable[Event]) -> int:
    """Check that a codec reads back each event as it was, such as those of a drawn history.

    Args:
        codec: the codec.
        events: events of any inventories.

    Returns:
        The number of events that were checked.

    Raises:
        PropertyError: an event is not read back as it was.
    """
    number = 0
    for number, event in enumerate(events, start=1):
        encoded = codec.encode(event)
        stored = RecordedEvent(
            stream=InventoryId(event.product_id, event.store_id).stream,
            version=number,
            position=number,
            event_id=UUID(int=number),
            event_type=encoded.event_type,
            schema_version=encoded.schema_version,
            recorded_at=_SOME_TIME,
            data=encoded.data,
            metadata=b"{}",
        )
        try:
            decoded = codec.decode(stored)
            again = codec.encode(decoded)
        except InventoryError as error:
            _broken(event, f"it is not read back: {describe(error)}")
        if decoded != event or type(decoded) is not type(event):
            _broken(event, f"it is read back as {describe(decoded)}")
        if again != encoded:
            _broken(event, f"it is written as {encoded.data!r}, then as {again.data!r}")
    return number


def _broken(event: Event, problem: str) -> NoReturn:
    msg = f"P27  {SENTENCE}\n  at        {describe(event)}\n  problem   {problem}"
    raise PropertyError(msg, frozenset({"P27"}))
