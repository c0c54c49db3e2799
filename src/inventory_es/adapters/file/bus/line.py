"""The lines of a file bus's journal: published events, numbered in the order of publication.

    {"first":17,"events":[{…},{…}]…

Each event has the stored form that it has in a file store. The number is the bus's own: one event published twice has two.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from inventory_es.adapters.file.stored_event import StoredEvent, check_events, encode_event, encode_name
from inventory_es.ports.records import RecordedEvent

MAX_LINE_EVENTS = 1_000
MAX_LINE_BYTES = 8 << 20


class _Line(msgspec.Struct, gc=False):
    first: int
    events: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(_Line)


def encode_published(event: RecordedEvent) -> bytes:
    """The stored form of an event.

    Raises:
        ValueError: it would come back as another one; above all, data or metadata is not one JSON object without line breaks.
    """
    stored = encode_event(event, encode_name(event.stream), event.version, event.position)
    if b"\n" not in stored:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            (fields,) = check_events([stored])
            if StoredEvent(fields) == event:
                return stored
    rule = "data and metadata are one JSON object each, without line breaks, and the time is in UTC"
    msg = f"event {event.version} of {event.stream} can't be published: {rule}"
    raise ValueError(msg)


def encode_lines(stored: Sequence[bytes], *, first: int) -> Iterator[tuple[bytes, int]]:
    """The lines of these stored forms, but for their trailers, each with the number of its last event.

    Args:
        stored: in order; of any number.
        first: the number of the first.
    """
    start = 0
    while start < len(stored):
        end, size = start, 0
        while end < len(stored) and end - start < MAX_LINE_EVENTS and (end == start or size + len(stored[end]) <= MAX_LINE_BYTES):
            size += len(stored[end])
            end += 1
        yield b'{"first":%d,"events":[%b]' % (first + start, b",".join(stored[start:end])), first + end - 1
        start = end


def decode_line(line: bytes) -> list[tuple[int, StoredEvent]]:
    """The events of a good line, with their numbers.

    Raises:
        ValueError: not a line of published events.
    """
    content = _content(line)
    events = check_events([bytes(raw) for raw in content.events])
    return [(number, StoredEvent(fields)) for number, fields in enumerate(events, content.first)]


def last_number(line: bytes) -> int:
    """The number of a good line's last event.

    Raises:
        ValueError: not a line of published events.
    """
    content = _content(line)
    return content.first + len(content.events) - 1


def _content(line: bytes) -> _Line:
    content = _decoder.decode(line)
    if not content.events:
        msg = "a line without events"
        raise ValueError(msg)
    return content
