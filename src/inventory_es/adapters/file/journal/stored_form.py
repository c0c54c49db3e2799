"""The stored form of a journal: its lines, and the lock file that says how far they are durable.

A line is a JSON object that ends in the checksum of the line before and its own::

    {…,"previous":"1a2b3c4d","checksum":"5e6f7a8b"}

``checksum`` is the CRC-32 of all bytes before it, seeded with the journal's own seed, so that lines of two journals never mix.
``previous`` chains the lines. Each line proves itself without its neighbours, so the journal alone tells if a bad line has good
ones after it.

The lock file is one line of fixed length. It is written in place under the lock and read without it, so it carries a checksum of
its own. It is never synced: after a power cut it may say less than the journal holds, never more.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

import attrs

from inventory_es.ports.file_system import File

TRAILER_SIZE = len(b',"previous":"00000000","checksum":"00000000"}\n')
CHUNK = 1 << 20
STATE_SIZE = 151
"""Bytes of a lock file's content."""

_EDGE = 4 << 10
_PREVIOUS = b',"previous":"'
_CHECKSUM = b'","checksum":"'
_END = b'"}\n'
_TRAILER = re.compile(_PREVIOUS + b"([0-9a-f]{8})" + _CHECKSUM + b"([0-9a-f]{8})" + _END)
_STATE = re.compile(
    rb'\{"dirty":([01]),"segment":"([0-9]{20})","offset":"([0-9]{20})","line":"([0-9a-f]{8})","position":"([0-9]{20})","checksum":"([0-9a-f]{8})"\}\n'
)


class Line(NamedTuple):
    """The bytes between two line breaks.

    Attributes:
        offset: in its file, in bytes.
        data: with the line break, if it has one.
        chain: the checksum of the line before and its own; ``None`` for a bad line.
    """

    offset: int
    data: bytes
    chain: tuple[int, int] | None

    @property
    def end(self) -> int:
        """The offset after the line."""
        return self.offset + len(self.data)

    @property
    def checksum(self) -> int:
        """The line's own checksum; 0 for a bad line."""
        return 0 if self.chain is None else self.chain[1]


@attrs.frozen
class JournalTail:
    """The end of a journal: everything before it is durable.

    Attributes:
        segment: the name of the segment, which is the position of its first entry.
        offset: in the segment, in bytes.
        checksum: of the last line.
        position: of the last entry; 0 for an empty journal.
    """

    segment: int
    offset: int
    checksum: int
    position: int


@attrs.frozen
class JournalState:
    """The tail, and ``dirty`` if a process writes, or died writing, beyond it."""

    tail: JournalTail
    dirty: bool


def empty_tail(seed: int) -> JournalTail:
    """Return the end of a journal without a line."""
    return JournalTail(segment=1, offset=0, checksum=crc32(b"", seed), position=0)


def seal(body: bytes, *, previous: int, seed: int) -> tuple[bytes, int]:
    """Make a line.

    Args:
        body: a JSON object without line breaks and without its closing brace.
        previous: the checksum of the line before.
        seed: of the journal.

    Returns:
        The line, and its checksum.
    """
    opening = b"%b%08x%b" % (_PREVIOUS, previous, _CHECKSUM)
    checksum = crc32(opening, crc32(body, seed))
    return b"%b%b%08x%b" % (body, opening, checksum, _END), checksum


def read_trailer(trailer: bytes) -> tuple[int, int] | None:
    """Return the two checksums at the end of a line, not verified; ``None`` if they are not there."""
    found = _TRAILER.fullmatch(trailer)
    return None if found is None else (int(found[1], 16), int(found[2], 16))


def check(line: bytes, *, seed: int) -> tuple[int, int] | None:
    """Return the checksum of the line before and its own, if the line is whole and unchanged."""
    chain = read_trailer(line[-TRAILER_SIZE:])
    return chain if chain is not None and crc32(memoryview(line)[: -len(_END) - 8], seed) == chain[1] else None


def read_lines(file: File, *, start: int, end: int, seed: int, chunk_size: int = CHUNK) -> Iterator[Line]:
    """Yield every line between two offsets, good or bad; the last one may lack its line break."""
    offset, parts = start, list[bytes]()
    while start < end:
        chunk = file.read(min(chunk_size, end - start), start)
        if not chunk:
            break
        start += len(chunk)
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            data = b"".join((*parts, piece, b"\n"))
            parts.clear()
            yield Line(offset, data, check(data, seed=seed))
            offset += len(data)
        if rest:
            parts.append(rest)
    if parts:
        yield Line(offset, b"".join(parts), None)


def read_first_line(file: File, *, seed: int) -> Line | None:
    """Return the first line, good or bad, without reading much more; ``None`` for an empty file."""
    return next(read_lines(file, start=0, end=file.size(), seed=seed, chunk_size=_EDGE), None)


def read_last_line(file: File, *, seed: int) -> Line:
    """Return the last line, good or bad, without reading much more. An empty file has a bad one."""
    size, reach = file.size(), _EDGE
    while True:
        start = max(0, size - reach)
        window = file.read(size - start, start)
        begin = window.rfind(b"\n", 0, -1) + 1
        if begin or not start:
            return Line(start + begin, window[begin:], check(window[begin:], seed=seed))
        reach *= 8


def checksum_before(file: File, end: int) -> int | None:
    """Return the checksum, not verified, of the line that ends at ``end``; ``None`` if no line does."""
    chain = read_trailer(file.read(TRAILER_SIZE, max(0, end - TRAILER_SIZE)))
    return None if chain is None else chain[1]


def encode_state(tail: JournalTail, *, dirty: bool) -> bytes:
    """Return the content of a lock file."""
    body = b'{"dirty":%d,"segment":"%020d","offset":"%020d","line":"%08x","position":"%020d"' % (
        dirty,
        tail.segment,
        tail.offset,
        tail.checksum,
        tail.position,
    )
    return b'%b,"checksum":"%08x"}\n' % (body, crc32(body))


def write_state(file: File, tail: JournalTail, *, dirty: bool) -> None:
    """Write a lock file in place; the caller holds the lock."""
    file.write(encode_state(tail, dirty=dirty), 0)


def decode_state(data: bytes) -> JournalState | None:
    """Return the state in a lock file's content; ``None`` if it is missing, torn or foreign."""
    found = _STATE.fullmatch(data)
    if found is None or crc32(data[: found.start(6) - len(b',"checksum":"')]) != int(found[6], 16):
        return None
    tail = JournalTail(segment=int(found[2]), offset=int(found[3]), checksum=int(found[4], 16), position=int(found[5]))
    return JournalState(tail, dirty=found[1] == b"1")


def read_state(file: File) -> JournalState | None:
    """Return the state that was written last; ``None`` as :func:`decode_state`."""
    return decode_state(file.read(STATE_SIZE + 1, 0))
