"""Tables of an index: where the events of one segment stand, by position, by stream and version, and by event id.

A segment that still grows has a :class:`GrowingTable` in memory; one that was written out has a
:class:`~inventory_es.adapters.file.index.table_file.SealedTable`. Both answer alike. Inside a table an event is its *row*: 0 for its first.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol
from zlib import crc32

import attrs

from inventory_es.adapters.file.index.hash_slots import event_key, stream_key
from inventory_es.adapters.file.journal.line import Line
from inventory_es.adapters.file.journal.state import JournalTail
from inventory_es.adapters.file.stored_event import LINE_START, StoredFields, read_id

LENGTH_BITS = 24
LENGTHS = (1 << LENGTH_BITS) - 1
_MASK = (1 << 64) - 1


class StreamRun(NamedTuple):
    """The events of one stream that a table holds.

    Attributes:
        first_version: of the first of them.
        rows: of each, in order.
    """

    first_version: int
    rows: Sequence[int]

    @property
    def version(self) -> int:
        """Of the last of them."""
        return self.first_version + len(self.rows) - 1


class IndexedEvent(NamedTuple):
    """What the index must know of an event that was just written.

    Attributes:
        name: the stream's text.
        version: in the stream.
        key: of the event id.
        checksum: CRC-32 of the stored form.
        length: of the stored form.
    """

    name: str
    version: int
    key: int
    checksum: int
    length: int


class IndexTable(Protocol):
    """What both kinds of table answer."""

    @property
    def segment(self) -> int:
        """Whose events these are."""
        ...

    @property
    def first(self) -> int:
        """The position of the first event."""
        ...

    @property
    def end(self) -> JournalTail:
        """How far the journal is covered."""
        ...

    @property
    def places(self) -> Sequence[int]:
        """By row, the place of an event in its segment; see :func:`unpack_place`."""
        ...

    @property
    def checksums(self) -> Sequence[int]:
        """By row, the CRC-32 of an event's stored form."""
        ...

    @property
    def keys(self) -> Sequence[int]:
        """By row, the key of an event's id."""
        ...

    def run(self, name: str, key: int) -> StreamRun | None:
        """The events of a stream, given its text and key."""
        ...

    def rows(self, key: int) -> Sequence[int]:
        """The rows of events whose id has this key: nearly always those asked for, so look closer."""
        ...

    def runs(self, start: str = "") -> Iterator[tuple[str, StreamRun]]:
        """Every stream from ``start`` on, by its text."""
        ...


def unpack_place(place: int) -> tuple[int, int]:
    """The offset and the length of a stored form in its segment, from ``offset << LENGTH_BITS | length``."""
    return place >> LENGTH_BITS, place & LENGTHS


@attrs.define
class _GrowingRun:
    key: int
    first_version: int
    rows: "array[int]"


@attrs.define
class GrowingTable:
    """A table in memory, for the events of a segment from some place on.

    Attributes:
        segment: whose events these are.
        first: the position of the first event.
        end: how far the journal is covered.
        is_whole: True unless an error interrupted an addition: then what the table says may be wrong.
    """

    segment: int
    first: int
    end: JournalTail
    is_whole: bool = attrs.field(default=True, init=False)
    places: "array[int]" = attrs.field(factory=lambda: array("Q"), init=False)
    checksums: "array[int]" = attrs.field(factory=lambda: array("I"), init=False)
    keys: "array[int]" = attrs.field(factory=lambda: array("Q"), init=False)
    _streams: dict[str, _GrowingRun] = attrs.field(factory=dict, init=False)
    _rows: dict[int, int] = attrs.field(factory=dict, init=False)
    _sorted: list[str] = attrs.field(factory=list, init=False)

    def add_line(self, line: Line, events: Sequence[tuple[int, StoredFields]]) -> None:
        """Take in the next line, given the length and the fields of its events."""
        indexed: list[IndexedEvent] = []
        at, position = len(LINE_START), self.end.position
        for length, event in events:
            key = event_key(read_id(event.event_id), self.key(event.stream_name))
            indexed.append(IndexedEvent(event.stream_name, event.version, key, crc32(line.data[at : at + length]), length))
            at, position = at + length + 1, event.position
        self.add(indexed, line.offset + len(LINE_START))
        self.end = JournalTail(self.segment, line.end, line.checksum, position)

    def add(self, events: Iterable[IndexedEvent], offset: int) -> None:
        """Take in the events of one line.

        Args:
            events: in order; there is one byte between two of them.
            offset: where the stored form of the first begins in the segment.
        """
        self.is_whole = False
        places, streams, by_key = self.places, self._streams, self._rows
        for row, (name, version, key, checksum, length) in enumerate(events, len(places)):
            places.append(offset << LENGTH_BITS | length)
            offset += length + 1
            self.checksums.append(checksum)
            self.keys.append(key)
            run = streams.get(name)
            if run is None:
                streams[name] = _GrowingRun(stream_key(name), version, array("I", (row,)))
            else:
                run.rows.append(row)
            free = key
            while free in by_key:
                free = (free + 1) & _MASK
            by_key[free] = row
        self.is_whole = True

    def take_in(self, other: IndexTable) -> None:
        """Take in a table that begins where this one ends."""
        base = len(self.places)
        self.places.extend(other.places)
        self.checksums.extend(other.checksums)
        self.keys.extend(other.keys)
        for row, key in enumerate(other.keys, base):
            free = key
            while free in self._rows:
                free = (free + 1) & _MASK
            self._rows[free] = row
        for name, run in other.runs():
            rows = array("I", [row + base for row in run.rows])
            known = self._streams.get(name)
            if known is None:
                self._streams[name] = _GrowingRun(stream_key(name), run.first_version, rows)
            else:
                known.rows.extend(rows)
        self.end = other.end

    def key(self, name: str) -> int:
        """The key of a stream, given its text."""
        run = self._streams.get(name)
        return stream_key(name) if run is None else run.key

    def run(self, name: str, key: int) -> StreamRun | None:  # noqa: ARG002 - a sealed table needs the key, this one the text
        """The events of a stream."""
        run = self._streams.get(name)
        return None if run is None else StreamRun(run.first_version, run.rows)

    def rows(self, key: int) -> Sequence[int]:
        """The rows of events whose id has this key."""
        if key not in self._rows:
            return ()
        found, probe = list[int](), key
        while (row := self._rows.get(probe)) is not None:
            if self.keys[row] == key:
                found.append(row)
            probe = (probe + 1) & _MASK
        return found

    def runs(self, start: str = "") -> Iterator[tuple[str, StreamRun]]:
        """Every stream from ``start`` on, by its text."""
        if len(self._sorted) != len(self._streams):
            self._sorted = sorted(self._streams)
        names = self._sorted
        for at in range(bisect_left(names, start), len(names)):
            run = self._streams[names[at]]
            yield names[at], StreamRun(run.first_version, run.rows)
