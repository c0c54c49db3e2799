"""The people's files: for each stream, its events as lines, to be read with an editor and ``grep``. The store never reads them.

They follow the journal: a lock file of their own says up to which tail they are written, and whether somebody is at it. They are
written when the store has time, never synced, and made good after a crash: whoever finds the mark dirty compares each
file's last line before it goes on.
"""

import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress

import msgspec

from inventory_es.adapters.file.journal.journal import Journal
from inventory_es.adapters.file.journal.state import JournalTail, read_state, write_state
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, LockWait
from inventory_es.adapters.file.store.file_names import file_name
from inventory_es.adapters.file.stored_event import LINE_START, parse_stream, split_line
from inventory_es.ports.file_system import File, FileSystem, LockFile, is_foreign, is_missing

_FIRST_REACH = 64 << 10
_LAST_REACH = 64 << 20
"""No line of a stream is longer: what has none in so many bytes is no file of ours, and is written anew."""

_logger = logging.getLogger(__name__)


class _LastLine(msgspec.Struct):
    stream: str
    version: int


class StreamFiles:
    """The files of one store. Synchronous; one thread at a time.

    Args:
        file_system: where they live.
        directory: theirs.
        journal: what they follow.
        stored_after: the stored forms of a stream (by its text) after a version and up to a position, from the journal.
        lock_timeout: the longest wait for their lock, in seconds.
    """

    def __init__(
        self,
        file_system: FileSystem,
        directory: str,
        journal: Journal,
        stored_after: Callable[[str, int, int], Iterable[bytes]],
        *,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        self._fs = file_system
        self._directory = directory
        self._journal = journal
        self._stored_after = stored_after
        self._doubted: JournalTail | None = None
        self._skipped: set[str] = set()
        self._wait = LockWait(f"{directory}/.lock", lock_timeout)
        self.end: JournalTail = journal.start
        with suppress(OSError), self._opened() as lock:
            self.end = self._written(lock)[0]

    def path(self, name: str) -> str:
        """The file of the stream with this text."""
        return f"{self._directory}/{file_name(parse_stream(name))}"

    def trust_empty(self) -> None:
        """Take it that nothing was ever written, unless the lock file says otherwise: the journal was empty."""
        with suppress(OSError), self._opened() as lock:
            self._wait.take(lock)
            if read_state(lock) is None:
                write_state(lock, self._journal.start, dirty=False)

    def distrust(self, tail: JournalTail) -> None:
        """Have the files compared from this tail on, because a crash may have taken what was written after it."""
        self._doubted, self.end = tail, min(self.end, tail, key=_position)
        with suppress(OSError), self._opened() as lock:
            self._wait.take(lock)
            written, _ = self._written(lock)
            write_state(lock, written, dirty=True)
            self._doubted = None

    def catch_up(self, *, max_events: int) -> bool:
        """Write what is missing.

        Args:
            max_events: stop after about so many.

        Returns:
            Whether nothing is left to do, for now: also when another process is at it.

        Raises:
            OSError: a file could not be written; go on another time.
        """
        if self.end.position >= self._journal.tail().position and not self._skipped:
            return True
        with self._opened() as lock:
            if not lock.acquire(timeout=0):
                return True
            end = self._journal.tail()  # under the lock: whoever died here had written no further
            written, is_sure = self._written(lock)
            for name in tuple(self._skipped):
                self._write(name, None, up_to=written.position)
            if written.position < end.position:
                write_state(lock, written, dirty=True)
                waiting, written = self._read(written, end, max_events)
                for name, stored in waiting.items():
                    self._write(name, stored if is_sure else None, up_to=written.position)
                write_state(lock, written, dirty=not is_sure and written.position < end.position)
            self._doubted = None
            self.end = written
        return written.position >= end.position

    @contextmanager
    def _opened(self) -> Generator[LockFile, None, None]:
        """The lock file, made anew, with its folder, where it is missing or something else is in its place."""
        if not self._fs.exists(self._directory):
            self._fs.make_directory(self._directory)
        path = f"{self._directory}/.lock"
        try:
            lock = self._fs.open_lock(path)
        except OSError as problem:
            if not is_foreign(problem):
                raise
            self._fs.remove(path)
            lock = self._fs.open_lock(path)
        try:
            yield lock
        finally:
            lock.close()

    def _written(self, lock: LockFile) -> tuple[JournalTail, bool]:
        """Up to where the files are written, and whether they are surely no further: from the beginning, if that can't be told."""
        state = read_state(lock)
        if state is None or not self._journal.ends_line(state.tail):
            return self._journal.start, False
        if self._doubted is not None:
            return min(state.tail, self._doubted, key=_position), False
        return state.tail, not state.dirty

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

    def _write(self, name: str, stored: Sequence[bytes] | None, *, up_to: int) -> None:
        """Add lines to a file, or with ``None`` all that follow its last good line."""
        path = self.path(name)
        try:
            file = self._open(path)
        except OSError as problem:
            if not is_missing(problem):
                raise
            if name not in self._skipped:
                _logger.warning("people_file_not_written", extra={"path": path, "reason": problem.strerror or str(problem)})
            self._skipped.add(name)
            return
        try:
            size = file.size()
            if stored is None or (size == 0 and _version(stored[0], name) != 1):
                size, version = _last_whole_line(file, size, name)
                file.truncate(size)
                lines: Iterable[bytes] = self._stored_after(name, version, up_to)
            else:
                lines = stored
            file.write(b"".join([line + b"\n" for line in lines]), size)
        finally:
            file.close()
        self._skipped.discard(name)

    def _open(self, path: str) -> File:
        """Open a file, and put a new one in the place of what is none, or can't be opened."""
        try:
            return self._fs.open(path, "write")
        except FileNotFoundError:
            return self._fs.open(path, "create")
        except OSError as problem:
            if not is_missing(problem):
                raise
        self._fs.remove(path)
        return self._fs.open(path, "create")


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
        if start == 0 or reach > _LAST_REACH:
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
