"""What the lock file of a journal says: how far the journal is durable, and whether somebody is writing.

One line of fixed length, written in place under the lock and read without it, so it carries a checksum of its own. It is never
synced: after a power cut it may say less than the journal holds, never more.
"""

import re
from zlib import crc32

import attrs

from inventory_es.ports.file_system import File

_RECORD = re.compile(
    rb'\{"dirty":([01]),"segment":"([0-9]{20})","offset":"([0-9]{20})","line":"([0-9a-f]{8})","position":"([0-9]{20})","checksum":"([0-9a-f]{8})"\}\n'
)


STATE_SIZE = 151
"""Bytes of a lock file's content."""


@attrs.frozen
class JournalTail:
    """The end of a journal: all before it is durable.

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
    """The tail, and whether somebody writes, or died writing, beyond it."""

    tail: JournalTail
    dirty: bool


def write_state(file: File, tail: JournalTail, *, dirty: bool) -> None:
    """Write in place; the caller holds the lock."""
    file.write(encode_state(tail, dirty=dirty), 0)


def encode_state(tail: JournalTail, *, dirty: bool) -> bytes:
    """The content of a lock file."""
    body = b'{"dirty":%d,"segment":"%020d","offset":"%020d","line":"%08x","position":"%020d"' % (
        dirty,
        tail.segment,
        tail.offset,
        tail.checksum,
        tail.position,
    )
    return b'%b,"checksum":"%08x"}\n' % (body, crc32(body))


def read_state(file: File) -> JournalState | None:
    """What was written last; ``None`` when it is missing, torn or foreign."""
    return decode_state(file.read(STATE_SIZE + 1, 0))


def decode_state(data: bytes) -> JournalState | None:
    """What the content of a lock file says; ``None`` when it says nothing."""
    found = _RECORD.fullmatch(data)
    if found is None or crc32(data[: found.start(6) - len(b',"checksum":"')]) != int(found[6], 16):
        return None
    tail = JournalTail(segment=int(found[2]), offset=int(found[3]), checksum=int(found[4], 16), position=int(found[5]))
    return JournalState(tail, dirty=found[1] == b"1")
