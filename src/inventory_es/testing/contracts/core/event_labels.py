"""Events of the cases, made and shown by short labels, so that a report reads like the case.

A label is a letter or word (``a``). Equal labels are the same event with the same id. With a prime (``a'``) the event has the same id
and other data. Streams are named by words too: ``x@2 b c`` is a write of two events to the stream ``x``, expected at version 2.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

import attrs
import msgspec

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import NewEvent, RecordedEvent, StreamWrite
from inventory_es.testing.contracts.core.difference import difference

T = TypeVar("T")

CATEGORY = "contract"
EVENT_TYPE = "ContractCheckedEvent"
_FIRST_TIME = datetime(2026, 1, 5, 9, 0, 0, 123_457, tzinfo=UTC)
_STEP = timedelta(seconds=1, microseconds=1)
_MOST_LABELS = 16
_END_LABELS = 5


@attrs.define
class EventLabels:
    """The events of one run, by label."""

    _by_label: dict[str, NewEvent] = attrs.field(factory=dict[str, NewEvent])
    _labels: dict[tuple[UUID, bytes], str] = attrs.field(factory=dict[tuple[UUID, bytes], str])

    def event(self, label: str) -> NewEvent:
        """Return the event of this label, made on first use."""
        if label not in self._by_label:
            data = msgspec.json.encode({"label": label})
            time = _FIRST_TIME + len(self._by_label) * _STEP
            number = len(self._by_label) + 1
            self.add(label, NewEvent(event_id(label), EVENT_TYPE, 1, time, data, msgspec.json.encode({"number": number})))
        return self._by_label[label]

    def events(self, labels: str) -> list[NewEvent]:
        """Return the events of labels separated by blanks."""
        return [self.event(label) for label in labels.split()]

    def add(self, label: str, event: NewEvent) -> NewEvent:
        """Give a label to an event that the case made itself."""
        self._by_label[label] = event
        self._labels[event.event_id, event.data] = label
        return event

    def with_data(self, label: str, data: bytes, metadata: bytes = b"{}") -> NewEvent:
        """Return an event with a payload of its own."""
        return self.add(label, NewEvent(event_id(label), EVENT_TYPE, 1, _FIRST_TIME, data, metadata))

    def sized(self, label: str, size: int) -> NewEvent:
        """Return an event of exactly ``size`` bytes, payload and metadata together (20 or more)."""
        return self.with_data(label, b'{"pad":"' + b"x" * (size - 12) + b'"}')

    def write(self, text: str) -> StreamWrite:
        """Return the write of a text such as ``x@2 b c``."""
        place, _, labels = text.partition(" ")
        name, _, version = place.rpartition("@")
        return StreamWrite(stream_id(name), int(version), self.events(labels))

    def label(self, event: NewEvent | RecordedEvent) -> str:
        """Return the label of an event; the label is marked where the data differs, and replaced by the id of an unknown event."""
        known = self._labels.get((event.event_id, event.data))
        if known is None:
            known = next((f"{label}(changed)" for (id_, _), label in self._labels.items() if id_ == event.event_id), f"?{event.event_id}")
        return known

    def show(self, events: Iterable[NewEvent | RecordedEvent]) -> str:
        """Return ``[a b c]``, shortened where it is long. Only the events that are shown are read."""
        return _show(events if isinstance(events, Sequence) else [*events], self.label)

    def show_write(self, write: StreamWrite) -> str:
        """Return ``x@2 [b c]``."""
        return f"{stream_name(write.stream)}@{write.expected_version} {self.show(write.events)}"


def show_labels(labels: Sequence[str]) -> str:
    """Return ``[a b c]``, shortened where it is long."""
    return _show(labels, str)


def _show(all_of_them: Sequence[T], label: Callable[[T], str]) -> str:
    if len(all_of_them) <= _MOST_LABELS:
        return f"[{' '.join(map(label, all_of_them))}]"
    first, last = all_of_them[:_END_LABELS], all_of_them[-_END_LABELS:]
    left_out = f"…{len(all_of_them) - 2 * _END_LABELS} more…"
    return f"[{' '.join((*map(label, first), left_out, *map(label, last)))}]"


@lru_cache(maxsize=1 << 15)
def event_id(label: str) -> UUID:
    """Return the id of a label; a prime does not change it."""
    return uuid5(NAMESPACE_OID, label.rstrip("'"))


def stream_id(name: str) -> StreamId:
    """Return the stream of a name."""
    return StreamId(CATEGORY, name)


def stream_name(stream: StreamId) -> str:
    """Return the name of a stream: as given to :func:`stream_id`, or its text."""
    if stream.category == CATEGORY and len(stream.parts) == 1:
        return stream.parts[0]
    return str(stream)


def recorded(stream: StreamId, version: int, position: int, event: NewEvent) -> RecordedEvent:
    """Return ``event`` as it is read from a store."""
    return RecordedEvent(
        stream,
        version,
        position,
        event.event_id,
        event.event_type,
        event.schema_version,
        event.recorded_at,
        event.data,
        event.metadata,
    )


def same_content(events: Sequence[NewEvent], read: Sequence[RecordedEvent]) -> str | None:
    """Return the difference between events as written and as read; ``None`` where they are equal."""
    for written, found in zip(events, read, strict=False):
        problem = difference(written, found)
        if problem is not None:
            return f"{problem}, at version {found.version}"
    return None if len(events) == len(read) else f"{len(events)} events were written and {len(read)} read"
