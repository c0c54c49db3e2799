"""What a store does when it has time: index files of finished segments, and the people's files. Nothing depends on either."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Lock
from typing import TypeVar

from inventory_es.adapters.file.folder import StoreFolder
from inventory_es.adapters.file.index.store_index import SUFFIX as INDEX_SUFFIX
from inventory_es.adapters.file.index.store_index import StoreIndex
from inventory_es.adapters.file.index.table import IndexTable
from inventory_es.adapters.file.index.table_file import read_end
from inventory_es.adapters.file.journal.journal import Journal
from inventory_es.adapters.file.journal.segments import JournalSegments
from inventory_es.adapters.file.journal.state import JournalTail, read_state
from inventory_es.adapters.file.store.stream_files import StreamFiles
from inventory_es.ports.errors import CorruptStoreError, StoreClosedError
from inventory_es.ports.file_system import File, FileSystem

_T = TypeVar("_T")

_logger = logging.getLogger(__name__)
_CHUNK = 10_000


class Maintenance:
    """Keeps what is derived in step with the journal. One thread at a time.

    A failure is logged once, and made good when it is tried again: people's files on the next call, index files by whoever opens the store.

    Args:
        journal: the truth.
        index: whose tables are written out.
        people: the people's files.
        mutex: the index's.
        store: its name, for the log.
    """

    def __init__(self, journal: Journal, index: StoreIndex, people: StreamFiles, mutex: Lock, *, store: str) -> None:
        self._journal = journal
        self._index = index
        self._people = people
        self._mutex = mutex
        self._store = store
        self._not_written: set[int] = set()
        self._lock_was_kept = False
        self._people_failed = False

    @property
    def backlog(self) -> int:
        """How many events the people's files are behind."""
        return self._index.end.position - self._people.end.position

    def begin(self) -> None:
        """After opening: doubt the people's files if the journal had to be recovered, unless nothing was ever stored."""
        if self._index.end.position == 0:
            self._people.trust_empty()
        elif self._journal.was_recovered:
            self._people.distrust(self._index.segment_start)

    def doubt_all(self) -> None:
        """Have all people's files compared."""
        self._people.distrust(self._journal.start)

    def tidy(self, *, max_events: int) -> bool:
        """Write what is due; see :meth:`FileStore.tidy`."""
        self._lock_was_kept = False
        return self._tidy(max_events)

    def _tidy(self, max_events: int) -> bool:
        with self._mutex:
            finished = self._index.finished()
        for segment, tables in finished:
            if segment not in self._not_written and not self._lock_was_kept:
                self._write(segment, tables)
        try:
            is_done = self._people.catch_up(max_events=max_events)
        except (OSError, CorruptStoreError, StoreClosedError) as problem:
            if not self._people_failed:
                _logger.warning("people_files_not_written", extra={"store": self._store, "reason": str(problem)})
            self._people_failed = True
            return True
        self._people_failed = False
        return is_done

    def finish(self) -> None:
        """Write all that is due, and the index file of the current segment, for a quick opening."""
        self._not_written.clear()
        self._lock_was_kept = False
        try:
            while not self._tidy(_CHUNK):
                pass
            tables = self._index.current()
            if tables and not self._lock_was_kept:
                self._write(self._index.end.segment, tables)
        except StoreClosedError as problem:
            _logger.warning("store_not_tidied", extra={"store": self._store, "reason": str(problem)})

    def _write(self, segment: int, tables: Sequence[IndexTable]) -> None:
        try:
            with self._journal.exclusive():
                table = self._index.write(segment, tables)
        except (OSError, CorruptStoreError, StoreClosedError) as problem:
            self._not_written.add(segment)
            _logger.warning("index_not_written", extra={"store": self._store, "segment": segment, "reason": str(problem)})
            self._lock_was_kept = isinstance(problem, TimeoutError)  # it is waited for once, not once for each segment
            return
        with self._mutex:
            self._index.replace(segment, table)


def derived_ends(file_system: FileSystem, folder: StoreFolder) -> Iterator[tuple[str, JournalTail]]:
    """How far the journal was when the newest index file and the people's files were made: durable places, each with its file."""
    segments = JournalSegments(file_system, folder.journal, name=folder.name)
    for segment in segments.names(INDEX_SUFFIX)[-1:]:
        path = segments.path(segment, INDEX_SUFFIX)
        end = _read(file_system, path, partial(read_end, segment=segment, seed=folder.seed))
        if end is not None:
            yield path, end
    path = f"{folder.events}/.lock"
    state = _read(file_system, path, read_state)
    if state is not None:
        yield path, state.tail


def _read(file_system: FileSystem, path: str, read: Callable[[File], _T | None]) -> _T | None:
    """What a derived file says; ``None`` where it can't be read, whatever the reason."""
    try:
        file = file_system.open(path, "read")
    except OSError:
        return None
    try:
        return read(file)
    except OSError:
        return None
    finally:
        file.close()
