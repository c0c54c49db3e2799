"""A journal: lines that are appended, each durable before it counts, by any number of processes, through crashes.

A journal knows nothing of streams or events. An entry is whatever its user numbers: a line carries one or more entries, whose
positions go up by one. The event store and the event bus both stand on it.

How it is laid out
    Segments ``00000000000000000001.jsonl``, each named by the position of its first entry. A new one is begun when the current
    one has reached its size; the older ones never change again. A lock file says how far the journal is durable (its *tail*)
    and whether somebody is writing beyond that (*dirty*).

How a line is written, by one process at a time, under the lock
    1. Mark the lock file dirty.
    2. If a new segment is due, create it and sync the directory, before anything is written into it.
    3. Write the line after the tail. Sync the segment.
    4. Advance the tail in the lock file, which clears the mark. Only now does the caller hear of success.

Why this is safe

    *What was acknowledged stays.* Step 4 follows a successful sync, and nobody writes before the tail, except that recovery
    writes the very same bytes again.

    *Nobody sees what could be taken back.* Readers stop at the tail, and the tail only ever advances over what was synced. The lock
    file itself is never synced: after a power cut it may be older than the journal, never newer. An older one says "the
    journal is longer than the tail", which makes the next process check what follows.

    *At most one line is not durable.* A writer starts the next line only after the sync of the one before. So after a crash, what
    follows the tail is: nothing; whole lines, of which only the last may not be durable; or in the end a torn one. A bad line with a
    good and newer one anywhere after it cannot come from a crash. It is damage, and is refused. Each line proves itself (see
    :mod:`.stored_form`), so this is known even if the lock file is lost. (A good line that is not newer may be what an old file
    left on the disk.)

    *A failed sync is never tried again.* After one, the system may have dropped the data and yet serve it from its cache. The next
    sync would report success. The writer forgets its handle and leaves the mark. Recovery, under the lock, writes the last whole
    line again, in place, so that there is something to sync. It copies a torn tail to a file beside the segment and cuts it off. Then
    it syncs, and only then advances the tail. If that fails, the mark stays, and the next one starts over.

    *A new segment is durable before it has a line.* Recovery removes a segment without a whole line: then its entry in the
    directory is made, and synced, again. It never relies on an entry whose sync had failed.

    *The mark and the length find every unfinished write.* A process that dies leaves the mark, since the system outlives it. A power
    cut may lose the mark; then the journal is longer than the tail, or nothing was written.

    *No segment is missing.* Opening compares each segment with the one before: its name with the position that that one ends at, the
    checksum in its first line with that of the last line. It reads two lines of each, whatever their size. If the lock file is lost too,
    what was made of the journal tells how far it went.

    *What is acknowledged can be found.* Each commit and each read compares the lock file's path with the open lock file. A folder that
    was moved, removed or replaced by a copy is refused: a process that opens its path would not see the lines written here.

Limits of the protection
    - A file system or drive that reports a sync and forgets.
    - Somebody who edits the files: damage is found when it is read, or by ``verify``.
    - Two machines on a network file system whose locks don't work.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from errno import EACCES
from functools import partial
from typing import NoReturn

import attrs

from inventory_es.adapters.file.journal.recovery import JournalRecovery
from inventory_es.adapters.file.journal.segments import JournalSegments
from inventory_es.adapters.file.journal.stored_form import (
    STATE_SIZE,
    JournalState,
    JournalTail,
    Line,
    checksum_before,
    decode_state,
    empty_tail,
    encode_state,
    read_lines,
    seal,
    write_state,
)
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, LockWait
from inventory_es.ports.errors import CorruptStoreError, StoreClosedError
from inventory_es.ports.file_system import File, FileSystem, LockFile
from inventory_es.ports.toolkit.remedy import NOT_WRITTEN

_logger = logging.getLogger(__name__)
_TRIES = 3

READ_ONLY = "it was opened with read permission only"
"""The reason why a journal is neither written nor recovered."""

_UNRECOVERED = f"it has to be recovered, and {READ_ONLY}"


class UncertainWriteError(Exception):
    """A line was perhaps written; the cause says what failed."""


class Journal:
    """One process's handle on a journal. Synchronous.

    Any number of threads may read; :meth:`exclusive` lets one in at a time, over all processes. Errors of the file system pass
    through as ``OSError``: then nothing was written.

    Args:
        file_system: the file system that it is on.
        directory: of the segments; it exists.
        lock_path: the lock file, made if missing.
        seed: of the checksums, 32 bits, the journal's own.
        segment_bytes: a new segment is begun when the current one has reached this size.
        last_position: the position of the last entry of a line, needed to recover.
        name: of the journal, for errors.
        lock_timeout: the longest wait for the lock, in seconds.
        read_only: never lock, write or recover: readers are served up to the end that the lock file says is durable.
        witnesses: gives places that the journal once reached, each with the file that was made of it. A journal that recovers must
            not end before one of them.

    Attributes:
        segments: its files.
        was_recovered: True if this handle had to recover the journal, for whatever reason.
    """

    def __init__(
        self,
        file_system: FileSystem,
        directory: str,
        lock_path: str,
        *,
        seed: int,
        segment_bytes: int,
        last_position: Callable[[bytes], int],
        name: str,
        lock_timeout: float = LOCK_TIMEOUT,
        read_only: bool = False,
        witnesses: Callable[[], Iterable[tuple[str, JournalTail]]] = tuple,
    ) -> None:
        self._fs = file_system
        self._seed = seed
        self._segment_bytes = segment_bytes
        self._last_position = last_position
        self._name = name
        self._witnesses = witnesses
        self._hold = _Hold()
        self._writer: tuple[int, str, File] | None = None
        self._seen: tuple[bytes, JournalState | None] = b"", None
        self._lock_path = lock_path
        self.was_recovered: bool = False
        self.segments: JournalSegments = JournalSegments(file_system, directory, name=name)
        self._lock = None if read_only else file_system.open_lock(lock_path)
        try:
            self._state_file: File = self._lock or file_system.open(lock_path, "read")
        except FileNotFoundError:
            raise PermissionError(EACCES, _UNRECOVERED) from None
        self._wait = LockWait(lock_path, lock_timeout)

    @property
    def start(self) -> JournalTail:
        """The beginning, where :meth:`lines` starts to read all."""
        return empty_tail(self._seed)

    def exclusive(self, *, check_all: bool = False) -> "ExclusiveLock":
        """Hold the lock of all processes, after recovery if it is due; gives the tail. Reentrant within a thread.

        Args:
            check_all: compare all segments with each other, and look for some that the lock file does not know of, as on opening.

        Raises:
            StoreClosedError: the journal was moved, removed or replaced while it was open; see :meth:`check_place`.
            CorruptStoreError: the stored data contradicts itself.
            PermissionError: it is read only.
            OSError: the journal can't be read or recovered now, or others kept the lock (``TimeoutError``).
        """
        if self._lock is None:
            raise PermissionError(EACCES, READ_ONLY)
        return ExclusiveLock(self._hold, self._lock, self._wait, partial(self._settle, check_all=check_all))

    def begin_turn(self, turn: object) -> None:
        """Keep other handles from writing until :meth:`end_turn`. Any thread of this handle may write meanwhile. Raises as above."""
        with self.exclusive():
            self._hold.turn = turn

    def end_turn(self, turn: object) -> None:
        """Let other handles write, once no thread writes here. Idempotent; for any thread."""
        with self._hold.mutex:
            if self._hold.turn is turn:
                self._hold.turn = None
                if self._lock is not None and not self._hold.depth:
                    self._lock.release()

    def let_go(self) -> None:
        """Undo what a signal left of :meth:`exclusive` in this thread, which is in no such block any more."""
        if not self._hold.mutex.acquire(blocking=False):
            return  # another thread's, so this one left nothing
        self._hold.depth = 0
        if self._lock is not None and self._hold.turn is None:
            self._lock.release()
        with suppress(RuntimeError):  # of the last one, which is one too many
            while True:
                self._hold.mutex.release()

    def append(self, tail: JournalTail, body: bytes, *, position: int) -> JournalTail:
        """Write one line and make it durable, while :meth:`exclusive`.

        Args:
            tail: the end, as :meth:`exclusive` or the last append gave it.
            body: a JSON object without line breaks and without its closing brace.
            position: of the last entry in it; the first has the one after ``tail.position``.

        Returns:
            The new end. The line stands right before it, in the segment that it names.

        Raises:
            OSError: nothing was written.
            UncertainWriteError: perhaps written; the next :meth:`exclusive` finds out.
        """
        line, checksum = seal(body, previous=tail.checksum, seed=self._seed)
        segment, offset = tail.segment, tail.offset
        if offset >= self._segment_bytes:
            segment, offset = tail.position + 1, 0
        self._state_file.write(encode_state(tail, dirty=True), 0)
        file = self._begin(segment) if offset == 0 else self._opened(segment)
        written = JournalTail(segment, offset + len(line), checksum, position)
        try:
            file.write(line, offset)
        except OSError as problem:
            self._forget_writer()
            if problem.errno in NOT_WRITTEN:  # no whole line: the mark stays, and recovery takes the rest away
                raise
            raise UncertainWriteError from problem
        try:
            file.sync()
            content = encode_state(written, dirty=False)
            self._state_file.write(content, 0)
        except OSError as problem:
            self._forget_writer()
            raise UncertainWriteError from problem
        self._seen = content, JournalState(written, dirty=False)
        return written

    def tail(self) -> JournalTail:
        """Return the end that readers may see now, over all processes; cheap.

        Raises:
            StoreClosedError, CorruptStoreError, OSError: as :meth:`exclusive`.
        """
        self.check_place()
        for _ in range(_TRIES):
            state = self._state()
            if state is not None:
                return state.tail
        if self._lock is None:
            raise PermissionError(EACCES, _UNRECOVERED)
        with self.exclusive() as tail:
            return tail

    def glance(self) -> JournalTail | None:
        """Return the end that readers may see now, without waiting; ``None`` if the lock file does not tell."""
        try:
            state = self._state() if self._state_file.is_at(self._lock_path) else None
        except OSError:
            return None
        return None if state is None else state.tail

    def check_place(self) -> None:
        """Raise ``StoreClosedError`` if the lock file's path no longer leads to the file that this handle has open.

        A process that opens the path then finds nothing, or another journal: it would never see the lines of this handle.
        """
        if not self._state_file.is_at(self._lock_path):
            raise StoreClosedError(store=self._name, reason=f"{self._lock_path} was moved, removed or replaced while it was open")

    def ends_line(self, place: JournalTail) -> bool:
        """Return True if a line of this journal ends at the place, or it is the beginning."""
        if place.offset == 0:
            return place == self.start
        try:
            return checksum_before(self.segments.open(place.segment), place.offset) == place.checksum
        except CorruptStoreError:
            return False

    def lines(self, start: JournalTail, end: JournalTail) -> Iterator[tuple[int, Line]]:
        """Yield every line between two tails, with its segment, checked.

        Raises:
            CorruptStoreError: a line is bad or does not follow the one before.
        """
        while start.segment != end.segment:
            last: Line | None = None
            for line in self._lines(start, self.segments.open(start.segment).size()):
                last = line
                yield start.segment, line
            if last is None and start.offset == 0:
                self.refuse(start.segment, 0, f"durable lines after position {start.position} are missing")
            if last is not None:
                try:
                    position = self._last_position(last.data)
                except ValueError:
                    self.refuse(start.segment, last.offset, "a line has a good checksum and no position")
                start = JournalTail(start.segment, last.end, last.checksum, position)
            start = JournalTail(start.position + 1, 0, start.checksum, start.position)
        for line in self._lines(start, end.offset):
            yield start.segment, line

    def refuse(self, segment: int, offset: int, problem: str) -> NoReturn:
        """Raise ``CorruptStoreError`` for a byte of a segment."""
        place = f"{self.segments.path(segment)}, byte {offset}"
        raise CorruptStoreError(store=self._name, place=place, problem=problem)

    def close(self) -> None:
        """Release every handle. No call is in flight any more, but perhaps a turn."""
        self._hold.turn = None
        self._forget_writer()
        self.segments.close()
        self._state_file.close()

    def _lines(self, start: JournalTail, end: int) -> Iterator[Line]:
        if end == start.offset:
            return
        checksum, offset = start.checksum, start.offset
        for line in read_lines(self.segments.open(start.segment), start=start.offset, end=end, seed=self._seed):
            if line.chain is None or line.chain[0] != checksum:
                problem = "a line is damaged" if line.chain is None else "a line does not follow the one before it"
                self.refuse(start.segment, line.offset, problem)
            checksum, offset = line.chain[1], line.end
            yield line
        if offset != end:
            self.refuse(start.segment, offset, f"{end - offset} durable bytes are missing")

    def _state(self) -> JournalState | None:
        """Return the state in the lock file, decoded only if it changed."""
        content = self._state_file.read(STATE_SIZE, 0)
        if content != self._seen[0]:
            state = decode_state(content)
            is_sound = state is None or state.tail.offset > 0 or state.tail == self.start
            self._seen = content, state if is_sound else None
        return self._seen[1]

    def _settle(self, *, check_all: bool) -> JournalTail:
        self.check_place()
        state = self._state()
        if check_all:
            self._recovery().check_chain(state)
        if state is not None and self._is_settled(state, check_all=check_all):
            return state.tail
        self._forget_writer()
        recovery = self._recovery(self._witnesses()).run(state)
        write_state(self._state_file, recovery.tail, dirty=False)
        self.was_recovered = True
        if recovery.kept or recovery.quarantined:
            facts = attrs.asdict(recovery) | {"journal": self._name}
            _logger.warning("journal_recovered", extra=facts)
        return recovery.tail

    def _recovery(self, witnesses: Iterable[tuple[str, JournalTail]] = ()) -> JournalRecovery:
        return JournalRecovery(self._fs, self.segments, self._seed, self._last_position, self._name, witnesses)

    def _is_settled(self, state: JournalState, *, check_all: bool) -> bool:
        """Return True if nothing stands after the tail."""
        tail = state.tail
        if state.dirty or (check_all and self.segments.names()[-1:] != ([tail.segment] if tail.offset else [])):
            return False
        if tail.offset == 0:
            return True
        if self._writer is not None and not self._writer[2].is_at(self._writer[1]):
            self._forget_writer()
        known = self._writer
        file = self._opened(tail.segment)
        if file.size() != tail.offset:
            return False
        if self._writer is not known and checksum_before(file, tail.offset) != tail.checksum:
            self._forget_writer()
            self.refuse(tail.segment, tail.offset, "the last line is not the one that the lock file names")
        return True

    def _opened(self, segment: int) -> File:
        """Return the segment's file, opened for writing."""
        if self._writer is not None and self._writer[0] == segment:
            return self._writer[2]
        self._forget_writer()
        file = self.segments.open_file(segment, "write")
        self._writer = segment, self.segments.path(segment), file
        return file

    def _begin(self, segment: int) -> File:
        """Create a segment, and make its entry in the directory durable."""
        self._forget_writer()
        path = self.segments.path(segment)
        file = self._fs.open(path, "create")
        try:
            self._fs.sync_directory(self.segments.directory)
        except OSError:
            file.close()
            raise
        self._writer = segment, path, file
        return file

    def _forget_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer[2].close()


@attrs.define(eq=False)
class _Hold:
    """The lock of this process, how often the thread that holds it has entered, and the turn of all its threads."""

    mutex: threading.RLock = attrs.field(factory=lambda: threading.RLock())  # noqa: PLW0108  # gevent may have patched it since
    depth: int = 0
    turn: object = None


@attrs.define(eq=False)
class ExclusiveLock(AbstractContextManager[JournalTail]):
    """A block in which no other thread and no other process writes. A generator would cost a commit several microseconds more.

    A signal between two steps can leave it half entered or left; see :meth:`Journal.let_go`.
    """

    _hold: _Hold
    _lock: LockFile
    _wait: LockWait
    _settle: Callable[[], JournalTail]

    def __enter__(self) -> JournalTail:
        hold, deadline = self._hold, None
        if not hold.mutex.acquire(blocking=False):
            deadline = self._wait.deadline
            self._wait.until(hold.mutex.acquire, deadline)
        try:
            if not hold.depth and hold.turn is None and not self._lock.acquire(timeout=0):
                self._wait.until(self._lock.acquire, self._wait.deadline if deadline is None else deadline)
            hold.depth += 1
        except BaseException:
            hold.mutex.release()
            raise
        try:
            return self._settle()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        hold = self._hold
        hold.depth -= 1
        try:
            if not hold.depth and hold.turn is None:
                self._lock.release()
        finally:
            hold.mutex.release()
