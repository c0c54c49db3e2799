"""The people's files: for each stream, its events as lines, to be read with an editor and ``grep``. The store never reads them.

They follow the journal: a lock file of their own says up to which tail they are written, and whether somebody is at it. They are
written when the store has time, never synced, and made good after a crash: whoever finds the mark dirty compares each
file's last line before it goes on.
"""

from collections.abc import Callable, Iterable

import msgspec

from inventory_es.adapters.file.file_names import file_name
from inventory_es.adapters.file.journal import Journal
from inventory_es.adapters.file.journal_state import JournalTail, read_state, write_state
from inventory_es.adapters.file.stored_form import LINE_START, parse_stream, split_line
from inventory_es.ports.file_system import File, FileSystem

_FIRST_REACH = 64 << 10


class _LastLine(msgspec.Struct):
    stream: str
    version: int


class PeopleFiles:
    """The files of one store. Synchronous; one thread at a time.

    Args:
        file_system: where they live.
        directory: theirs.
        journal: what they follow.
        stored_after: the stored forms of a stream (by its text) after a version and up to a position, from the journal.
    """

    def __init__(
        self, file_system: FileSystem, directory: str, journal: Journal, stored_after: Callable[[str, int, int], Iterable[bytes]]
    ) -> None:
        self._fs = file_system
        self._directory = directory
        self._journal = journal
        self._stored_after = stored_after
        self._lock = file_system.open_lock(f"{directory}/.lock")
        self.end: JournalTail = self._written()

    def path(self, name: str) -> str:
        """The file of the stream with this text."""
        return f"{self._directory}/{file_name(parse_stream(name))}"

    def trust_empty(self) -> None:
        """Take it that nothing was ever written, unless the lock file says otherwise: the journal was empty."""
        self._lock.acquire()
        try:
            if read_state(self._lock) is None:
                write_state(self._lock, self._journal.start, dirty=False)
        finally:
            self._lock.release()

    def distrust(self, tail: JournalTail) -> None:
        """Have the files compared from this tail on, because a crash may have taken what was written after it."""
        self._lock.acquire()
        try:
            written = self._written()
            write_state(self._lock, min(written, tail, key=_position), dirty=True)
        finally:
            self._lock.release()

    def catch_up(self, *, max_events: int) -> bool:
        """Write what is missing.

        Args:
            max_events: stop after about so many.

        Returns:
            Whether nothing is left to do, for now: also when another process is at it.

        Raises:
            OSError: a file could not be written; go on another time.
        """
        if not self._lock.acquire(wait=False):
            return True
        try:
            end = self._journal.tail()  # under the lock: whoever died here had written no further
            state = read_state(self._lock)
            written, is_sure = (self._journal.start, False) if state is None else (state.tail, not state.dirty)
            if written.position < end.position:
                write_state(self._lock, written, dirty=True)
                waiting, written = self._read(written, end, max_events)
                for name, stored in waiting.items():
                    self._write(name, stored if is_sure else None, up_to=written.position)
                write_state(self._lock, written, dirty=not is_sure and written.position < end.position)
            self.end = written
        finally:
            self._lock.release()
        return written.position >= end.position

    def close(self) -> None:
        """Release the lock file."""
        self._lock.close()

    def _written(self) -> JournalTail:
        state = read_state(self._lock)
        return self._journal.start if state is None else state.tail

    def _read(self, start: JournalTail, end: JournalTail, max_events: int) -> tuple[dict[str, list[bytes]], JournalTail]:
        waiting: dict[str, list[bytes]] = {}
        position = start.position
        for segment, line in self._journal.lines(start, end):
            at = len(LINE_START)
            for length, event in split_line(line.data):
                waiting.setdefault(event.stream_name, []).append(line.data[at : at + length])
                at, position = at + length + 1, event.position
            end = JournalTail(segment, line.end, line.checksum, position)
            if position - start.position >= max_events:
                break
        return waiting, end

    def _write(self, name: str, stored: Iterable[bytes] | None, *, up_to: int) -> None:
        path = self.path(name)
        try:
            file = self._fs.open(path, "write")
        except FileNotFoundError:
            file = self._fs.open(path, "create")
        try:
            size = file.size()
            if stored is None:
                size, version = _last_whole_line(file, size, name)
                file.truncate(size)
                stored = self._stored_after(name, version, up_to)
            file.write(b"".join([line + b"\n" for line in stored]), size)
        finally:
            file.close()


def _last_whole_line(file: File, size: int, name: str) -> tuple[int, int]:
    """Where the last good line of a people's file ends, and its version; 0 and 0 if there is none."""
    reach = _FIRST_REACH
    while True:
        start = max(0, size - reach)
        window = file.read(size - start, start)
        end = window.rfind(b"\n") + 1
        while end > 0:
            begin = window.rfind(b"\n", 0, end - 1) + 1
            version = _version(window[begin:end], name)
            if version:
                return start + end, version
            end = begin
        if start == 0:
            return 0, 0
        reach *= 8


def _version(line: bytes, name: str) -> int:
    try:
        last = msgspec.json.decode(line, type=_LastLine)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return last.version if last.stream == name else 0


def _position(tail: JournalTail) -> int:
    return tail.position
