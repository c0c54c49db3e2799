"""The file of an index table: flat arrays, mapped into memory, made once and never changed.

After the header, in this order: places and event keys by row; keys and first versions of the streams, sorted by text; their row
ranges and name ranges; rows by stream; checksums by row; hash slots of events and of streams; the streams' texts. The whole is
checked when it is opened, which happens when it is first needed; it is read in pieces for that, since what is touched through the map
would stay in memory. A file that is missing or wrong in any way is no error: it is made again from its segment.
"""

import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Literal
from zlib import crc32

from inventory_es.adapters.file.index.hash_slots import build_slots, find_rows, stream_key
from inventory_es.adapters.file.index.table import IndexTable, StreamRun
from inventory_es.adapters.file.journal.state import JournalTail
from inventory_es.ports.file_system import File

_MAGIC = b"inv-idx1"
_HEADER = struct.Struct("=8sIIQQQQQIIII")
_CRC = struct.Struct("=I")
_CHUNK = 1 << 20


class SealedTable:
    """A table over mapped memory.

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

    def run(self, name: str, key: int) -> StreamRun | None:
        """The events of a stream."""
        self.check()
        for row in find_rows(self._stream_slots, self._stream_keys, key):
            if self._name(row) == name:
                return self._run(row)
        return None

    def rows(self, key: int) -> Sequence[int]:
        """The rows of events whose id has this key."""
        self.check()
        return find_rows(self._id_slots, self.keys, key)

    def runs(self, start: str = "") -> Iterator[tuple[str, StreamRun]]:
        """Every stream from ``start`` on, by its text."""
        self.check()
        streams = range(len(self._stream_keys))
        for row in streams[bisect_left(streams, start, key=self._name) :]:
            yield self._name(row), self._run(row)

    def _name(self, row: int) -> str:
        return str(self._names[self._name_ends[row] : self._name_ends[row + 1]], "utf-8")

    def _run(self, row: int) -> StreamRun:
        return StreamRun(self._first_versions[row], self._rows[self._row_ends[row] : self._row_ends[row + 1]])


def pack_table(table: IndexTable, *, seed: int) -> bytes:
    """The content of a file for a table that begins with its segment."""
    runs = list(table.runs())
    names = [name.encode() for name, _ in runs]
    stream_keys = array("Q", [stream_key(name) for name, _ in runs])
    id_slots, stream_slots = build_slots(table.keys), build_slots(stream_keys)
    rows = array("I")
    for _, run in runs:
        rows.extend(run.rows)
    content = b"".join(
        (
            array("Q", table.places).tobytes(),
            array("Q", table.keys).tobytes(),
            stream_keys.tobytes(),
            array("Q", [run.first_version for _, run in runs]).tobytes(),
            array("I", accumulate((len(run.rows) for _, run in runs), initial=0)).tobytes(),
            array("I", accumulate(map(len, names), initial=0)).tobytes(),
            rows.tobytes(),
            array("I", table.checksums).tobytes(),
            id_slots.tobytes(),
            stream_slots.tobytes(),
            *names,
        )
    )
    sizes = len(table.places), len(runs), table.end.offset, sum(map(len, names)), len(id_slots), len(stream_slots)
    header = _HEADER.pack(_MAGIC, seed, table.end.checksum, table.segment, *sizes, crc32(content), 0)[: -_CRC.size]
    return header + _CRC.pack(crc32(header)) + content


def read_end(file: File, *, segment: int, seed: int) -> JournalTail | None:
    """How far the file covers its segment, by its header alone; ``None`` if that is not whole, or of another segment or store."""
    header = file.read(_HEADER.size, 0)
    try:
        magic, its_seed, checksum, its_segment, count, _, offset, *_, header_crc = _HEADER.unpack(header)
    except struct.error:
        return None
    if (magic, its_seed, its_segment, header_crc) != (_MAGIC, seed, segment, crc32(header[: -_CRC.size])):
        return None
    return JournalTail(segment, offset, checksum, segment + count - 1)


def load_table(file: File, *, segment: int, seed: int) -> SealedTable | None:
    """The table in a file, or ``None`` if it is not whole, or of another segment or store."""
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
