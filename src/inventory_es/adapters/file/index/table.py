"""Tables of an index: where the events of one segment stand, by position, by stream and version, and by event id.

A segment that still grows has a :class:`GrowingTable` in memory; one that was written out has a :class:`SealedTable` over its index
file. Both have the same methods. Inside a table an event is its *row*: 0 for the table's first event.

An index file is made once and never changed. After a header it has flat arrays, which are mapped into memory, in this order:

- places and event keys, by row
- keys and first versions of the streams, sorted by text
- the streams' row ranges and name ranges
- rows, by stream
- checksums, by row
- hash slots of events, then of streams
- the streams' texts

The whole file is checked when it is first needed. The check reads the file in pieces, because pages touched through the map would
stay in memory. A missing or wrong file is no error: it is made again from its segment.

Hash slots are an open-addressing table over 64-bit keys. A slot is 0, or one more than the row of the key that stands there. Two rows
may have one key (a collision): a look-up returns both, and its caller compares the events.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from typing import Literal, NamedTuple
from uuid import UUID
from zlib import crc32

import attrs

from inventory_es.adapters.file.journal.stored_form import JournalTail, Line
from inventory_es.adapters.file.stored_event import LINE_START, StoredFields, read_id
from inventory_es.ports.file_system import File

LENGTH_BITS = 24
LENGTHS = (1 << LENGTH_BITS) - 1
_MASK = (1 << 64) - 1
_SPREAD = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio: Fibonacci hashing, Knuth, TAOCP 6.4
_MIN_BITS = 3
_MAGIC = b"inv-idx1"
_HEADER = struct.Struct("=8sIIQQQQQIIII")
_CRC = struct.Struct("=I")
_CHUNK = 1 << 20


class StreamRows(NamedTuple):
    """The events of one stream that a table holds.

    Attributes:
        version: of the last of them.
        rows: of each, in order.
    """

    version: int
    rows: Sequence[int]

    @property
    def first_version(self) -> int:
        """The version of the first of them."""
        return self.version - len(self.rows) + 1


class IndexedEvent(NamedTuple):
    """The facts that the index needs of an event that was just written.

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


@lru_cache(maxsize=8_192)
def stream_key(name: str) -> int:
    """Return 64 bits of a stream's text, the same in every process."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def event_key(event_id: UUID, stream: int) -> int:
    """Return 64 bits of an event id within the stream that has this key."""
    number = event_id.int
    return (number ^ (number >> 64) ^ stream) & _MASK


def unpack_place(place: int) -> tuple[int, int]:
    """Return the offset and the length of a stored form in its segment, from ``offset << LENGTH_BITS | length``."""
    return place >> LENGTH_BITS, place & LENGTHS


@attrs.define
class _GrowingStream:
    key: int
    first_version: int
    rows: "array[int]"


@attrs.define
class GrowingTable:
    """A table in memory, for the events of a segment from some place on.

    Attributes:
        segment: the segment of its events.
        first: the position of the first event.
        end: how far the journal is covered.
        places: by row, the place of an event in its segment; see :func:`unpack_place`.
        checksums: by row, the CRC-32 of an event's stored form.
        keys: by row, the key of an event's id.
    """

    segment: int
    first: int
    end: JournalTail
    places: "array[int]" = attrs.field(factory=lambda: array("Q"), init=False)
    checksums: "array[int]" = attrs.field(factory=lambda: array("I"), init=False)
    keys: "array[int]" = attrs.field(factory=lambda: array("Q"), init=False)
    _streams: dict[str, _GrowingStream] = attrs.field(factory=dict, init=False)
    _rows: dict[int, int] = attrs.field(factory=dict, init=False)
    _sorted: list[str] = attrs.field(factory=list, init=False)

    def add_line(self, line: Line, events: Sequence[tuple[int, StoredFields]]) -> None:
        """Add the next line, given the length and the fields of its events."""
        indexed: list[IndexedEvent] = []
        at, position = len(LINE_START), self.end.position
        for length, event in events:
            key = event_key(read_id(event.event_id), self.key(event.stream_name))
            indexed.append(IndexedEvent(event.stream_name, event.version, key, crc32(line.data[at : at + length]), length))
            at, position = at + length + 1, event.position
        self.add(indexed, line.offset + len(LINE_START))
        self.end = JournalTail(self.segment, line.end, line.checksum, position)

    def add(self, events: Iterable[IndexedEvent], offset: int) -> None:
        """Add the events of one line.

        Args:
            events: in order; there is one byte between two of them.
            offset: where the stored form of the first begins in the segment.
        """
        places, streams, by_key = self.places, self._streams, self._rows
        for row, (name, version, key, checksum, length) in enumerate(events, len(places)):
            places.append(offset << LENGTH_BITS | length)
            offset += length + 1
            self.checksums.append(checksum)
            self.keys.append(key)
            stream = streams.get(name)
            if stream is None:
                streams[name] = _GrowingStream(stream_key(name), version, array("I", (row,)))
            else:
                stream.rows.append(row)
            free = key
            while free in by_key:
                free = (free + 1) & _MASK
            by_key[free] = row

    def extend(self, other: "IndexTable") -> None:
        """Add a table that begins where this one ends."""
        base = len(self.places)
        self.places.extend(other.places)
        self.checksums.extend(other.checksums)
        self.keys.extend(other.keys)
        for row, key in enumerate(other.keys, base):
            free = key
            while free in self._rows:
                free = (free + 1) & _MASK
            self._rows[free] = row
        for name, stream in other.streams():
            rows = array("I", [row + base for row in stream.rows])
            known = self._streams.get(name)
            if known is None:
                self._streams[name] = _GrowingStream(stream_key(name), stream.first_version, rows)
            else:
                known.rows.extend(rows)
        self.end = other.end

    def key(self, name: str) -> int:
        """Return the key of a stream, given its text."""
        stream = self._streams.get(name)
        return stream_key(name) if stream is None else stream.key

    def stream(self, name: str, key: int) -> StreamRows | None:  # noqa: ARG002 - a sealed table needs the key, this one the text
        """Return the events of a stream, given its text and key."""
        stream = self._streams.get(name)
        return None if stream is None else StreamRows(stream.first_version + len(stream.rows) - 1, stream.rows)

    def rows(self, key: int) -> Sequence[int]:
        """Return the rows of events whose id has this key. The caller compares the ids: a collision is rare, and possible."""
        if key not in self._rows:
            return ()
        found, probe = list[int](), key
        while (row := self._rows.get(probe)) is not None:
            if self.keys[row] == key:
                found.append(row)
            probe = (probe + 1) & _MASK
        return found

    def streams(self, start: str = "") -> Iterator[tuple[str, StreamRows]]:
        """Yield every stream from ``start`` on, by its text."""
        if len(self._sorted) != len(self._streams):
            self._sorted = sorted(self._streams)
        names = self._sorted
        for at in range(bisect_left(names, start), len(names)):
            stream = self._streams[names[at]]
            yield names[at], StreamRows(stream.first_version + len(stream.rows) - 1, stream.rows)


class SealedTable:
    """A table over mapped memory, with the attributes and methods of :class:`GrowingTable` that read.

    Raises:
        ValueError: the header does not fit the content.
    """

    def __init__(self, view: memoryview) -> None:
        self._length = len(view)
        self._size: Callable[[], int] = getattr(view.obj, "size", view.__len__)  # a mapping knows the present size of its file
        self.segment: int
        (_, _, checksum, self.segment, count, streams, offset, names, id_slots, stream_slots, _, _) = _HEADER.unpack_from(view)
        self.first: int = self.segment
        self.end: JournalTail = JournalTail(self.segment, offset, checksum, self.segment + count - 1)
        at = _HEADER.size

        def take(size: int, kind: Literal["B", "I", "Q"]) -> memoryview:
            nonlocal at
            part, at = view[at : at + size], at + size
            return part.cast(kind)

        self._places = take(8 * count, "Q")
        self.keys: Sequence[int] = take(8 * count, "Q")
        self._stream_keys = take(8 * streams, "Q")
        self._first_versions = take(8 * streams, "Q")
        self._row_ends = take(4 * streams + 4, "I")
        self._name_ends = take(4 * streams + 4, "I")
        self._rows = take(4 * count, "I")
        self.checksums: Sequence[int] = take(4 * count, "I")
        self._id_slots = take(4 * id_slots, "I")
        self._stream_slots = take(4 * stream_slots, "I")
        self._names = take(names, "B")
        if at != len(view):
            msg = "the size of an index file does not fit its header"
            raise ValueError(msg)

    @property
    def places(self) -> Sequence[int]:
        """By row, the place of an event in its segment."""
        self.check()
        return self._places

    def check(self) -> None:
        """Refuse to touch memory that has no file behind it any more, which would end the process.

        Raises:
            IndexError: the file was shortened in its place since it was mapped.
        """
        if self._size() < self._length:
            raise IndexError(self._length)

    def stream(self, name: str, key: int) -> StreamRows | None:
        """Return the events of a stream, given its text and key."""
        self.check()
        for row in find_rows(self._stream_slots, self._stream_keys, key):
            if self._name(row) == name:
                return self._stream(row)
        return None

    def rows(self, key: int) -> Sequence[int]:
        """Return the rows of events whose id has this key."""
        self.check()
        return find_rows(self._id_slots, self.keys, key)

    def streams(self, start: str = "") -> Iterator[tuple[str, StreamRows]]:
        """Yield every stream from ``start`` on, by its text."""
        self.check()
        streams = range(len(self._stream_keys))
        for row in streams[bisect_left(streams, start, key=self._name) :]:
            yield self._name(row), self._stream(row)

    def _name(self, row: int) -> str:
        return str(self._names[self._name_ends[row] : self._name_ends[row + 1]], "utf-8")

    def _stream(self, row: int) -> StreamRows:
        rows = self._rows[self._row_ends[row] : self._row_ends[row + 1]]
        return StreamRows(self._first_versions[row] + len(rows) - 1, rows)


IndexTable = GrowingTable | SealedTable


def pack_table(table: IndexTable, *, seed: int) -> bytes:
    """Return the content of an index file for a table that begins with its segment."""
    streams = list(table.streams())
    names = [name.encode() for name, _ in streams]
    stream_keys = array("Q", [stream_key(name) for name, _ in streams])
    id_slots, stream_slots = build_slots(table.keys), build_slots(stream_keys)
    rows = array("I")
    for _, stream in streams:
        rows.extend(stream.rows)
    content = b"".join(
        (
            array("Q", table.places).tobytes(),
            array("Q", table.keys).tobytes(),
            stream_keys.tobytes(),
            array("Q", [stream.first_version for _, stream in streams]).tobytes(),
            array("I", accumulate((len(stream.rows) for _, stream in streams), initial=0)).tobytes(),
            array("I", accumulate(map(len, names), initial=0)).tobytes(),
            rows.tobytes(),
            array("I", table.checksums).tobytes(),
            id_slots.tobytes(),
            stream_slots.tobytes(),
            *names,
        )
    )
    sizes = len(table.places), len(streams), table.end.offset, sum(map(len, names)), len(id_slots), len(stream_slots)
    header = _HEADER.pack(_MAGIC, seed, table.end.checksum, table.segment, *sizes, crc32(content), 0)[: -_CRC.size]
    return header + _CRC.pack(crc32(header)) + content


def read_end(file: File, *, segment: int, seed: int) -> JournalTail | None:
    """Return how far an index file covers its segment, by its header alone; ``None`` if that is damaged or foreign."""
    header = file.read(_HEADER.size, 0)
    try:
        magic, its_seed, checksum, its_segment, count, _, offset, *_, header_crc = _HEADER.unpack(header)
    except struct.error:
        return None
    if (magic, its_seed, its_segment, header_crc) != (_MAGIC, seed, segment, crc32(header[: -_CRC.size])):
        return None
    return JournalTail(segment, offset, checksum, segment + count - 1)


def load_table(file: File, *, segment: int, seed: int) -> SealedTable | None:
    """Return the table in an index file; ``None`` if that is not whole, or belongs to another segment or store."""
    if read_end(file, segment=segment, seed=seed) is None:
        return None
    *_, count, streams, _, names, id_slots, stream_slots, content_crc, _ = _HEADER.unpack(file.read(_HEADER.size, 0))
    if file.size() != _HEADER.size + 24 * count + 24 * streams + 8 + names + 4 * (id_slots + stream_slots):
        return None
    found, at = 0, _HEADER.size
    while chunk := file.read(_CHUNK, at):
        found, at = crc32(chunk, found), at + len(chunk)
    if found != content_crc:
        return None
    try:
        return SealedTable(file.map())
    except (ValueError, TypeError):
        return None


def build_slots(keys: Sequence[int]) -> "array[int]":
    """Return the hash slots for these keys, at most half of them taken."""
    bits = max(_MIN_BITS, (2 * len(keys) - 1).bit_length())
    mask, shift = (1 << bits) - 1, 64 - bits
    slots = array("I", bytes(4 << bits))
    for row, key in enumerate(keys, 1):
        at = (key * _SPREAD & _MASK) >> shift
        while slots[at]:
            at = (at + 1) & mask
        slots[at] = row
    return slots


def find_rows(slots: Sequence[int], keys: Sequence[int], key: int) -> Sequence[int]:
    """Return every row that has this key.

    Raises:
        IndexError: no slot is free, or a row has no key: they are not a result of :func:`build_slots`.
    """
    mask = len(slots) - 1
    at = (key * _SPREAD & _MASK) >> (64 - mask.bit_length())
    found: tuple[int, ...] = ()
    for _ in range(mask + 1):
        row = slots[at]
        if not row:
            return found
        if keys[row - 1] == key:
            found = (*found, row - 1)
        at = (at + 1) & mask
    msg = "no slot is free"
    raise IndexError(msg)
