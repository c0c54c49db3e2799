"""Readable copies: for each stream, its events as lines, to be read with an editor and ``grep``. The store never reads them.

The copies follow the journal: a lock file of their own says up to which tail they are written, and if a process is writing. They are
written when the store has time, and never synced. After a crash the next writer finds the mark dirty, and compares each file's
last line before it goes on.
"""

import logging
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from operator import attrgetter

import msgspec

from inventory_es.adapters.file.journal.journal import Journal
from inventory_es.adapters.file.journal.stored_form import JournalTail, read_state, write_state
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, LockWait
from inventory_es.adapters.file.stored_event import LINE_START, parse_stream, split_line
from inventory_es.domain.stream_id import StreamId, encode_parts
from inventory_es.ports.file_system import File, FileSystem, LockFile, is_foreign, is_missing

SUFFIX = ".jsonl"
_FIRST_REACH = 64 << 10
_LAST_REACH = 64 << 20
"""The longest line of a stream is shorter: a file without a line in so many bytes is foreign, and is written again from the start."""

_ENCODED_IN_NAME = re.compile(r"[^a-z0-9_.]")
_MAX_NAME = 255 - len(SUFFIX)
_KEPT = 180

_logger = logging.getLogger(__name__)


def file_name(stream: StreamId) -> str:
    """Return the name of a stream's file, at most 255 bytes of ASCII.

    No two streams share a name, on case-folding and normalising file systems either. Every character but lower-case ASCII letters,
    digits, ``_`` and ``.`` is percent-encoded; a canonical UUID stays. A longer name is cut and ends in ``+`` and a hash of the
    stream id; no other name has a ``+``.
    """
    name = "-".join((stream.category, *encode_parts(stream.parts, _ENCODED_IN_NAME)))
    if len(name) > _MAX_NAME:
        name = f"{name[:_KEPT]}+{blake2b(stream.text.encode(), digest_size=16).hexdigest()}"
    return name + SUFFIX


class _LastLine(msgspec.Struct):
    stream: str
    version: int


class StreamFiles:
    """The readable copies of one store. Synchronous; one thread at a time.

    Args:
        file_system: the file system of the store.
        directory: of the copies.
        journal: the journal that they follow.
        stored_after: yields the stored forms of a stream (by its text) after a version and up to a position, from the journal.
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
        """Return the path of the file of the stream with this text."""
        return f"{self._directory}/{file_name(parse_stream(name))}"

    def trust_empty(self) -> None:
        """Mark the copies as empty, unless the lock file says otherwise: the journal was empty."""
        with suppress(OSError), self._opened() as lock:
            self._wait.take(lock)
            if read_state(lock) is None:
                write_state(lock, self._journal.start, dirty=False)

    def distrust(self, tail: JournalTail) -> None:
        """Have the files compared from this tail on, because a crash may have taken the lines after it."""
        self._doubted, self.end = tail, min(self.end, tail, key=attrgetter("position"))
        with suppress(OSError), self._opened() as lock:
            self._wait.take(lock)
            written, _ = self._written(lock)
            write_state(lock, written, dirty=True)
            self._doubted = None

    def catch_up(self, *, max_events: int) -> bool:
        """Write the missing lines.

        Args:
            max_events: stop after about so many.

        Returns:
            True if nothing is left to do for now, or another process is writing.

        Raises:
            OSError: a file could not be written; the next call goes on.
        """
        if self.end.position >= self._journal.tail().position and not self._skipped:
            return True
        with self._opened() as lock:
            if not lock.acquire(timeout=0):
                return True
            end = self._journal.tail()  # under the lock: a process that died here had written no further
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
        """Open the lock file; create it, and its folder, where it is missing or something else is in its place."""
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
        """Return up to where the files are written, and True if they are surely no further. Unknown means from the beginning."""
        state = read_state(lock)
        if state is None or not self._journal.ends_line(state.tail):
            return self._journal.start, False
        if self._doubted is not None:
            return min(state.tail, self._doubted, key=attrgetter("position")), False
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
        """Append lines to a file; with ``None``, all that follow its last good line."""
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
        """Open a file. Something else in its place, or a file that can't be opened, is replaced by a new one."""
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
    """Return where the last good line of a copy ends, and its version; 0 and 0 if there is none."""
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
