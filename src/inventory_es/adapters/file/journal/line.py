"""One line of a journal: a JSON object that ends in the checksum of the line before and its own.

    {…,"previous":"1a2b3c4d","checksum":"5e6f7a8b"}

``checksum`` is the CRC-32 of all bytes before it, seeded with the journal's own seed, so that lines of two journals never mix.
``previous`` chains the lines. Both stand in the line, so each line proves itself without its neighbours: whether a bad line has
good ones after it can be told from the journal alone.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from inventory_es.ports.file_system import File

TRAILER_SIZE = len(b',"previous":"00000000","checksum":"00000000"}\n')
CHUNK = 1 << 20
_EDGE = 4 << 10

_PREVIOUS = b',"previous":"'
_CHECKSUM = b'","checksum":"'
_END = b'"}\n'
_TRAILER = re.compile(_PREVIOUS + b"([0-9a-f]{8})" + _CHECKSUM + b"([0-9a-f]{8})" + _END)


class Line(NamedTuple):
    """What stands between two line breaks.

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
        """Its own checksum; 0 for a bad line."""
        return 0 if self.chain is None else self.chain[1]


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
    """The two checksums at the end of a line, not verified; ``None`` if they are not there."""
    found = _TRAILER.fullmatch(trailer)
    return None if found is None else (int(found[1], 16), int(found[2], 16))


def check(line: bytes, *, seed: int) -> tuple[int, int] | None:
    """The checksum of the line before and its own, if the line is whole and unchanged."""
    chain = read_trailer(line[-TRAILER_SIZE:])
    return chain if chain is not None and crc32(memoryview(line)[: -len(_END) - 8], seed) == chain[1] else None


def read_lines(file: File, *, start: int, end: int, seed: int, chunk_size: int = CHUNK) -> Iterator[Line]:
    """Every line between two offsets, good or bad; the last one may lack its line break."""
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
    """The first line, good or bad, without reading much more; ``None`` for an empty file."""
    return next(read_lines(file, start=0, end=file.size(), seed=seed, chunk_size=_EDGE), None)


def read_last_line(file: File, *, seed: int) -> Line:
    """The last line, good or bad, without reading much more. An empty file has a bad one."""
    size, reach = file.size(), _EDGE
    while True:
        start = max(0, size - reach)
        window = file.read(size - start, start)
        begin = window.rfind(b"\n", 0, -1) + 1
        if begin or not start:
            return Line(start + begin, window[begin:], check(window[begin:], seed=seed))
        reach *= 8
