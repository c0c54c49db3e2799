"""The arguments of ``append_v1`` for a group commit, and the outcomes that its answer means."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, ClassVar, Self
from uuid import UUID

import attrs
import psycopg
from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import ConcurrencyError, EventIdCollisionError
from inventory_es.ports.records import AppendResult, RecordedEvent, StreamWrite
from inventory_es.ports.toolkit.append_rules import find_earlier_append

MAX_GROUPS = 512
"""The most appends in one call of the function. Larger ones gain nothing, and hold the lock for longer."""

MAX_BYTES = 8 << 20
"""The bytes above which appends do not share a call."""

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""The instant from which the server counts microseconds."""

_FAR = 1 << 62
"""A version beyond every stored one. An expected version above it is as wrong, and might not fit into a column."""

_MICROSECOND = timedelta(microseconds=1)
_HEAD = Struct("!iiIii").pack
_LENGTH = Struct("!i").pack
_SHORT = Struct("!ii").pack
_LONG = Struct("!iq").pack
_INSTANT = Struct("!q").pack


@attrs.frozen
class Column:
    """An array in the server's binary form. The driver's own form takes three times as long to make.

    Attributes:
        payload: the whole array.
    """

    payload: bytes
    array: ClassVar[int]
    element: ClassVar[int]

    @classmethod
    def of(cls, count: int, elements: Iterable[bytes]) -> Self:
        """Return the array of elements that have their lengths in front of them."""
        return cls(_HEAD(1, 0, cls.element, count, 1) + b"".join(elements))


class Integers(Column):
    """An array of 32-bit numbers."""

    array: ClassVar[int] = 1007
    element: ClassVar[int] = 23


class Longs(Column):
    """An array of 64-bit numbers."""

    array: ClassVar[int] = 1016
    element: ClassVar[int] = 20


class Texts(Column):
    """An array of texts."""

    array: ClassVar[int] = 1009
    element: ClassVar[int] = 25


class Blobs(Column):
    """An array of bytes. The driver's own form depends on settings of the session."""

    array: ClassVar[int] = 1001
    element: ClassVar[int] = 17


class Ids(Column):
    """An array of UUIDs."""

    array: ClassVar[int] = 2951
    element: ClassVar[int] = 2950


class Times(Column):
    """An array of instants."""

    array: ClassVar[int] = 1185
    element: ClassVar[int] = 1184


class Instant(Column):
    """One instant, in microseconds since 2000."""

    array: ClassVar[int] = 1184
    element: ClassVar[int] = 1184

    @classmethod
    def at(cls, microseconds: int) -> Self:
        """Return the instant."""
        return cls(_INSTANT(microseconds))


_COLUMNS: tuple[type[Column], ...] = (Integers, Longs, Texts, Blobs, Ids, Times, Instant)


def register_columns(link: psycopg.Connection[Any]) -> None:
    """Let a connection send columns."""
    for kind in _COLUMNS:
        link.adapters.register_dumper(kind, type(f"_{kind.__name__}", (_ColumnDumper,), {"oid": kind.array}))


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def __init__(self, cls: type, context: AdaptContext | None = None) -> None:
        super().__init__(cls, context)

    def dump(self, obj: Column) -> bytes:
        return obj.payload


def integers(numbers: Sequence[int]) -> Integers:
    """Return an array of 32-bit numbers."""
    return Integers.of(len(numbers), [_SHORT(4, number) for number in numbers])


def longs(numbers: Sequence[int]) -> Longs:
    """Return an array of 64-bit numbers."""
    return Longs.of(len(numbers), [_LONG(8, number) for number in numbers])


def texts(values: Sequence[bytes]) -> Texts:
    """Return an array of texts in UTF-8."""
    return Texts.of(len(values), [part for value in values for part in (_LENGTH(len(value)), value)])


def blobs(values: Sequence[bytes]) -> Blobs:
    """Return an array of bytes."""
    return Blobs.of(len(values), [part for value in values for part in (_LENGTH(len(value)), value)])


def uuids(values: Iterable[UUID]) -> Ids:
    """Return an array of UUIDs."""
    parts = [b"\0\0\0\x10" + value.bytes for value in values]
    return Ids.of(len(parts), parts)


def times(values: Sequence[datetime]) -> Times:
    """Return an array of instants."""
    return Times.of(len(values), [_LONG(8, (value - EPOCH) // _MICROSECOND) for value in values])


class AppendBatch:
    """Appends for one call of the function.

    Args:
        groups: the appends, none of which shares a stream with another.
    """

    def __init__(self, groups: Sequence[Sequence[StreamWrite]]) -> None:
        self._groups = groups

    def arguments(self) -> tuple[Column, ...]:
        """Return the arguments of ``append_v1`` from ``names`` on."""
        writes = [(number, write) for number, group in enumerate(self._groups) for write in group]
        events = [
            (place, min(write.expected_version, _FAR) + at, event)
            for place, (_, write) in enumerate(writes, 1)
            for at, event in enumerate(write.events, 1)
        ]
        return (
            texts([write.stream.text.encode() for _, write in writes]),
            integers([number for number, _ in writes]),
            longs([min(write.expected_version, _FAR) for _, write in writes]),
            integers([place for place, _, _ in events]),
            longs([version for _, version, _ in events]),
            uuids([event.event_id for _, _, event in events]),
            texts([event.event_type.encode() for _, _, event in events]),
            integers([event.schema_version for _, _, event in events]),
            times([event.recorded_at for _, _, event in events]),
            texts([event.data for _, _, event in events]),
            texts([event.metadata for _, _, event in events]),
        )

    def outcomes(
        self, base: int, actual: Sequence[int], written: Sequence[bool], contested: Collection[StreamId]
    ) -> Iterator[AppendResult | ConcurrencyError | None]:
        """Yield the outcome of each append; ``None`` for one whose versions fit and of which an id is stored."""
        at, position = 0, base
        for group in self._groups:
            versions: dict[StreamId, int] = {}
            lost: ConcurrencyError | None = None
            is_written = written[at]
            for write in group:
                position += len(write.events) * is_written
                versions[write.stream] = write.expected_version + len(write.events)
                if lost is None and actual[at] != write.expected_version:
                    lost = ConcurrencyError(stream=write.stream, expected=write.expected_version, actual=actual[at])
                at += 1
            yield AppendResult(position, versions, is_contested=not versions.keys().isdisjoint(contested)) if is_written else lost


def batches(groups: Sequence[tuple[int, Sequence[StreamWrite]]]) -> Iterator[list[tuple[int, Sequence[StreamWrite]]]]:
    """Split numbered appends, in order, into batches of bounded size in which no stream occurs twice."""
    batch: list[tuple[int, Sequence[StreamWrite]]] = []
    streams: set[StreamId] = set()
    size = 0
    for number, group in groups:
        bytes_of_group = sum(event.size for write in group for event in write.events)
        own = {write.stream for write in group}
        if batch and (len(batch) == MAX_GROUPS or size + bytes_of_group > MAX_BYTES or not streams.isdisjoint(own)):
            yield batch
            batch, streams, size = [], set(), 0
        batch.append((number, group))
        streams |= own
        size += bytes_of_group
    if batch:
        yield batch


def earlier_of(writes: Sequence[StreamWrite], stored: Mapping[StreamId, Sequence[RecordedEvent]]) -> AppendResult | Exception | None:
    """Return what was stored of an append before, of the events that were found by stream; ``None`` for nothing."""

    def find(stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[RecordedEvent]:
        wanted = set(event_ids)
        return [event for event in stored.get(stream, ()) if event.event_id in wanted]

    try:
        return find_earlier_append(writes, find)
    except EventIdCollisionError as collision:
        return collision
