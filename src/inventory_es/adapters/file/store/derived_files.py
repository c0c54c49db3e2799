"""Derived files: index files of finished segments, and readable copies. Written when the store has time; no promise depends on them."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from inventory_es.adapters.file.folder import StoreFolder
from inventory_es.adapters.file.index.store_index import SUFFIX as INDEX_SUFFIX
from inventory_es.adapters.file.index.store_index import StoreIndex
from inventory_es.adapters.file.index.table import IndexTable, read_end
from inventory_es.adapters.file.journal.journal import Journal
from inventory_es.adapters.file.journal.segments import JournalSegments
from inventory_es.adapters.file.journal.stored_form import JournalTail, read_state
from inventory_es.adapters.file.store.stream_files import StreamFiles
from inventory_es.ports.errors import CorruptStoreError, StoreClosedError
from inventory_es.ports.file_system import File, FileSystem

_T = TypeVar("_T")

_logger = logging.getLogger(__name__)
_CHUNK = 10_000


class DerivedFiles:
    """Keeps the derived files in step with the journal. One thread at a time.

    A failure is logged once. Readable copies are tried again on the next call, index files when the store is opened.

    Args:
        journal: the truth.
        index: whose tables are written out.
        copies: the readable copies.
        mutex: the index's.
        store: its name, for the log.
    """

    def __init__(self, journal: Journal, index: StoreIndex, copies: StreamFiles, mutex: threading.Lock, *, store: str) -> None:
        self.copies: StreamFiles = copies
        self._journal = journal
        self._index = index
        self._mutex = mutex
        self._store = store
        self._not_written: set[int] = set()
        self._lock_was_kept = False
        self._copies_failed = False

    def begin(self) -> None:
        """Doubt the readable copies if opening had to recover the journal, unless no event was ever stored."""
        if self._index.end.position == 0:
            self.copies.trust_empty()
        elif self._journal.was_recovered:
            self.copies.distrust(self._index.segment_start)

    def doubt_all(self) -> None:
        """Have all readable copies compared."""
        self.copies.distrust(self._journal.start)

    def tidy(self, *, max_events: int) -> bool:
        """Write what is due; see :meth:`FileStore.tidy`."""
        self._lock_was_kept = False
        return self._tidy(max_events)

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

    def _tidy(self, max_events: int) -> bool:
        with self._mutex:
            finished = self._index.finished()
        for segment, tables in finished:
            if segment not in self._not_written and not self._lock_was_kept:
                self._write(segment, tables)
        try:
            is_done = self.copies.catch_up(max_events=max_events)
        except (OSError, CorruptStoreError, StoreClosedError) as problem:
            if not self._copies_failed:
                _logger.warning("people_files_not_written", extra={"store": self._store, "reason": str(problem)})
            self._copies_failed = True
            return True
        self._copies_failed = False
        return is_done

    def _write(self, segment: int, tables: Sequence[IndexTable]) -> None:
        try:
            with self._journal.exclusive():
                table = self._index.write(segment, tables)
        except (OSError, CorruptStoreError, StoreClosedError) as problem:
            self._not_written.add(segment)
            _logger.warning("index_not_written", extra={"store": self._store, "segment": segment, "reason": str(problem)})
            self._lock_was_kept = isinstance(problem, TimeoutError)  # wait once, not once per segment
            return
        with self._mutex:
            self._index.replace(segment, table)


def derived_ends(file_system: FileSystem, folder: StoreFolder) -> Iterator[tuple[str, JournalTail]]:
    """Yield how far the journal was when the newest index file and the readable copies were made, each with its file."""
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
    """Return the content of a derived file; ``None`` if it can't be read, whatever the reason."""
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
