"""Where a group of a file bus stands: two small files, of which one is always durable.

A cursor changes with every delivery and every answer, far too often to sync each time. So it is written in place into the *working*
file, which survives the process, and after some hundred writes it is synced. Then the two files change roles: the one that is durable
is left alone until the other one is. A power cut takes back at most the answers since; those events are delivered again.
"""

from zlib import crc32

import attrs
import msgspec

from inventory_es.adapters.file.journal.stored_form import JournalTail
from inventory_es.ports.file_system import File, FileSystem

_WRITES_BETWEEN_SYNCS = 256
_MAX_BYTES = 1 << 20


@attrs.frozen
class CursorState:
    """What is answered, and what was delivered in vain.

    Attributes:
        place: in the journal of published events, after lines of which everything is answered.
        through: events up to this number are answered, but for those in ``open``; events after it were never delivered.
        open: the number of each event up to ``through`` that is not answered, and how often it was delivered.
        revived: the number of each dead letter that is delivered again, and how often it was since.
    """

    place: JournalTail
    through: int
    open: dict[int, int]
    revived: dict[int, int] = attrs.field(factory=dict[int, int])


class _Content(msgspec.Struct):
    writes: int
    place: tuple[int, int, int, int]
    through: int
    open: dict[int, int]
    revived: dict[int, int] = {}


class BusCursor:
    """The two files of one group's cursor. One process at a time uses them.

    Args:
        file_system: where they are.
        directory: of the group.
    """

    def __init__(self, file_system: FileSystem, directory: str) -> None:
        paths = [f"{directory}/cursor.{name}" for name in "ab"]
        is_new = not all(map(file_system.exists, paths))
        self._files = [file_system.open(path, "write" if file_system.exists(path) else "create") for path in paths]
        if is_new:
            file_system.sync_directory(directory)
        contents = [_read(file) for file in self._files]
        self._writes = max((content.writes for content in contents if content is not None), default=0)
        newest = next((content for content in contents if content is not None and content.writes == self._writes), None)
        self._working = int(newest is not None and newest is contents[0])
        self._since_sync = 0
        self.state = None if newest is None else CursorState(JournalTail(*newest.place), newest.through, newest.open, newest.revived)
        if newest is not None:
            self._files[1 - self._working].sync()

    def save(self, state: CursorState) -> None:
        """Write a new state; durable after one of the next hundreds of writes."""
        self._writes += 1
        place = state.place
        body = msgspec.json.encode(
            _Content(self._writes, (place.segment, place.offset, place.checksum, place.position), state.through, state.open, state.revived)
        )
        self._files[self._working].write(b"%08x %b\n" % (crc32(body), body), 0)
        self.state = state
        self._since_sync += 1
        if self._since_sync >= _WRITES_BETWEEN_SYNCS:
            self.settle()

    def settle(self) -> None:
        """Make the last state durable."""
        if self._since_sync:
            self._since_sync = 0  # after a failed sync the next write comes first: it writes everything again
            self._files[self._working].sync()
            self._working = 1 - self._working

    def close(self) -> None:
        """Release the files, synced or not."""
        for file in self._files:
            file.close()


def _read(file: File) -> _Content | None:
    line, end, _ = file.read(_MAX_BYTES, 0).partition(b"\n")
    checksum, _, body = line.partition(b" ")
    if not end or checksum != b"%08x" % crc32(body):
        return None
    try:
        return msgspec.json.decode(body, type=_Content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
