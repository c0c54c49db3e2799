"""The file event store without threads and without an event loop: the asynchronous adapter runs it behind its writer thread.

To drive it step by step, as a crash simulator does::

    store = FileStore.open("/stock", file_system=simulated, creation_id="1")

    outcomes = store.commit([[StreamWrite(stream, 0, [event])], [another append]])   # one line, one sync
    page = store.read_stream(stream, after=0, limit=100)

    store.tidy()                        # write some of the derived files, whenever there is time
    store.close()                       # write the rest of them

Every call goes to the given file system and nowhere else, in the order of the program, and makes no use of time or chance. To
crash it, forget the store and open another one on the same files.
"""

import os
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import TracebackType
from typing import Self
from uuid import UUID

from inventory_es.adapters.file.folder import FormatFile, StoreFolder, find_folder, open_folder
from inventory_es.adapters.file.index.store_index import EventPlaces, StoreIndex
from inventory_es.adapters.file.index.table import stream_key
from inventory_es.adapters.file.journal.journal import READ_ONLY, ExclusiveLock, Journal, UncertainWriteError
from inventory_es.adapters.file.journal.stored_form import JournalTail
from inventory_es.adapters.file.locks import LOCK_TIMEOUT
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.adapters.file.store.append_batch import AppendBatch
from inventory_es.adapters.file.store.derived_files import DerivedFiles, derived_ends
from inventory_es.adapters.file.store.event_reader import EventReader, first_on_a_page, last_on_a_page, pages
from inventory_es.adapters.file.store.stream_files import StreamFiles
from inventory_es.adapters.file.stored_event import StoredEvent, StoredFields, StoredPage, encode_line, last_position, parse_stream
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import AppendOutcomeUnknownError, StoreClosedError, StoreUnavailableError
from inventory_es.ports.file_system import FileSystem
from inventory_es.ports.records import AppendResult, FeedPage, StreamHead, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_page, check_stream
from inventory_es.ports.toolkit.remedy import FORBIDDEN, reason_of, remedy_of

SEGMENT_BYTES = 64 << 20


class FileStore:
    """One open handle on a file store. Made by :meth:`open`.

    Any number of threads may read; one at a time commits, tidies and closes. Every method but :meth:`close` may raise
    ``StoreUnavailableError``, ``StoreClosedError`` and ``CorruptStoreError``.

    Attributes:
        name: for errors.
    """

    def __init__(
        self, folder: StoreFolder, file_system: FileSystem, journal: Journal, *, lock_timeout: float = LOCK_TIMEOUT, read_only: bool = False
    ) -> None:
        self.name: str = folder.name
        self._journal = journal
        self._mutex = threading.Lock()
        self._process = os.getpid()
        self._is_closed = False
        self._glanced: tuple[JournalTail | None, str, int] = None, "", 0
        self._unavailable = _Unavailable(folder.name)
        self._format = FormatFile(file_system, folder)
        self._index = StoreIndex(file_system, journal, seed=folder.seed, name=folder.name)
        self._reader = EventReader(journal.segments, name=folder.name)
        self._derived: DerivedFiles | None = None
        if not read_only:
            copies = StreamFiles(file_system, folder.events, journal, self._stored_after, lock_timeout=lock_timeout)
            self._derived = DerivedFiles(journal, self._index, copies, self._mutex, store=folder.name)

    @classmethod
    def open(
        cls,
        path: str,
        *,
        creation_id: str,
        file_system: FileSystem | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> Self:
        """Open a store, or make one in an empty or missing folder. Recovers first where it is due.

        Where this user has read permission only, the store serves reads, and refuses to write.

        Args:
            path: of the folder, absolute; its parent exists.
            creation_id: for a new store, unlike any other's; not used for an old one.
            file_system: the operating system's, unless given.
            segment_bytes: a new segment is begun when the current one has reached this size.
            lock_timeout: the longest wait for a lock that another process holds, in seconds, 0 or more.

        Raises:
            IncompatibleStoreError: the folder holds something else, or a newer format. Nothing was changed.
            StoreUnavailableError: the file system refused something, or another process kept a lock.
            CorruptStoreError: the stored data contradicts itself.
        """
        fs = OperatingSystem() if file_system is None else file_system
        open_store = partial(cls._open, path, fs, creation_id=creation_id, segment_bytes=segment_bytes, lock_timeout=lock_timeout)
        try:
            return open_store(read_only=False)
        except StoreUnavailableError as refused:
            cause = refused.__cause__
            if not isinstance(cause, OSError) or cause.errno not in FORBIDDEN or not fs.exists(f"{path}/format.json"):
                raise
        return open_store(read_only=True)

    @classmethod
    def _open(cls, path: str, fs: FileSystem, *, creation_id: str, segment_bytes: int, lock_timeout: float, read_only: bool) -> Self:
        """Open a store. Read only, nothing of it is changed, and nothing beyond the durable end is read."""
        with _Unavailable(f"file store {path}"):
            folder = find_folder(fs, path) if read_only else open_folder(fs, path, creation_id=creation_id, lock_timeout=lock_timeout)
            journal = Journal(
                fs,
                folder.journal,
                folder.lock,
                seed=folder.seed,
                segment_bytes=segment_bytes,
                last_position=last_position,
                name=folder.name,
                lock_timeout=lock_timeout,
                read_only=read_only,
                witnesses=partial(derived_ends, fs, folder),
            )
            store = cls(folder, fs, journal, lock_timeout=lock_timeout, read_only=read_only)
            if store._derived is None:
                store._index.open(journal.tail())
                return store
            with journal.exclusive(check_all=True) as tail:
                store._index.open(tail)
            store._derived.begin()
            return store

    def commit(self, appends: Iterable[Sequence[StreamWrite]]) -> list[AppendResult | Exception]:
        """Run appends in order, and make them durable with one line and one sync.

        Args:
            appends: the writes of each. It is iterated under the lock, so an append that it does not yield any more is not begun.

        Returns:
            One outcome for each: the result or the error of ``EventStore.append``.

        Raises:
            AppendOutcomeUnknownError: all appends that were not refused are written, or none.
        """
        self.check_usable()
        with self._unavailable, self._journal.exclusive() as tail:
            self._format.check_place()
            groups = list(appends)
            with self._mutex:
                self._index.follow(tail)
                batch = AppendBatch(self._index, self._events, self.name, self._index.end.position)
                outcomes = list(map(batch.decide, groups))
            if not batch.stored:
                return outcomes
            try:
                written = self._journal.append(tail, encode_line(batch.stored), position=batch.position)
            except UncertainWriteError as problem:
                cause = problem.__cause__
                raise AppendOutcomeUnknownError(store=self.name, reason=reason_of(cause), remedy=remedy_of(cause)) from problem
            with self._mutex:
                self._index.settle()
                if self._index.end == tail:
                    start = tail.offset if written.segment == tail.segment else 0
                    self._index.added(written, start, batch.indexed)
                else:  # a reader saw the line first
                    self._index.follow(written)
            return outcomes

    def turn(self) -> ExclusiveLock:
        """Keep every other handle from committing until the block is left. Commits of this thread are part of the turn."""
        self.check_usable()
        return self._journal.exclusive()

    def begin_turn(self, turn: object) -> None:
        """Keep every other handle from committing until :meth:`end_turn`, while all threads of this one may."""
        self.check_usable()
        self._journal.begin_turn(turn)

    def end_turn(self, turn: object) -> None:
        """End a turn. Idempotent."""
        if not self.is_inherited:
            self._journal.end_turn(turn)

    def repair(self) -> None:
        """Undo what a signal left of a call in this thread. The index repairs itself."""
        if not (self._is_closed or self.is_inherited):
            self._journal.let_go()

    def settle(self) -> int:
        """Index the last commit, once its callers have their outcomes; any later call does it otherwise.

        Returns:
            How many events the readable copies are behind.
        """
        with self._mutex:
            self._index.settle()
        return 0 if self._derived is None else self._index.end.position - self._derived.copies.end.position

    def read_stream(self, stream: StreamId, *, after: int = 0, limit: int) -> StreamPage:
        """See ``EventStore``."""
        check_stream(stream)
        check_page(limit=limit, after=after)
        with self._serving():
            with self._current() as index:
                version = index.version(stream.text, stream_key(stream.text))
                if after >= version:
                    return StreamPage((), version, is_end=True)
                places = index.stream(stream.text, after=after, before=min(version, after + limit) + 1)
            events = self._page(stream, after + 1, first_on_a_page(places))
        return StreamPage(events, version, is_end=after + len(events) >= version)

    def read_stream_backwards(self, stream: StreamId, *, before: int | None = None, limit: int) -> StreamPage:
        """See ``EventStore``."""
        check_stream(stream)
        check_page(limit=limit, before=before)
        with self._serving():
            with self._current() as index:
                version = index.version(stream.text, stream_key(stream.text))
                last = version if before is None else min(version, before - 1)
                if last == 0:
                    return StreamPage((), version, is_end=True)
                places = index.stream(stream.text, after=max(0, last - limit), before=last + 1)
            places = last_on_a_page(places)
            events = self._page(stream, last + 1 - sum(len(part.places) for part in places), places)
        return StreamPage(events[::-1], version, is_end=last - len(events) <= 0)

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID]) -> Sequence[StoredEvent]:
        """See ``EventStore``."""
        check_stream(stream)
        wanted = set(event_ids)
        with self._serving():
            with self._current() as index:
                places = index.candidates(wanted, stream_key(stream.text))
            found = [event for event in self._events(places) if event.event_id in wanted and event.stream == stream]
        return sorted(found, key=lambda event: event.version)

    def read_all(self, *, after: int, limit: int) -> FeedPage:
        """See ``EventFeed``."""
        check_page(limit=limit, after=after)
        with self._serving():
            with self._current() as index:
                head = index.end.position
                if after >= head:
                    return FeedPage((), after, is_end=True)
                (places,) = first_on_a_page([index.positions(after=after, limit=limit)])
            fields = self._reader.read(places)
            next_after = after + len(fields)
            if [event.position for event in fields] != list(range(after + 1, next_after + 1)):
                at, wrong = next((at, event) for at, event in enumerate(fields) if event.position != after + 1 + at)
                self._reader.refuse(places, at, f"event {after + 1 + at} belongs there, not {wrong.position}")
        return FeedPage(StoredPage(StoredEvent, fields), next_after, is_end=next_after >= head)

    def head(self) -> int:
        """See ``EventFeed``."""
        with self._serving():
            return self._journal.tail().position

    def streams(self, prefix: str, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        """See ``StreamCatalogue``."""
        check_page(limit=limit)
        last = "" if after is None else after.text
        heads: list[StreamHead] = []
        with self._serving(), self._current() as index:
            for name, version in index.streams(max(prefix, last)):
                if not name.startswith(prefix):
                    break
                if len(heads) == limit:
                    return StreamsPage(heads, is_end=False)
                if name > last:
                    heads.append(StreamHead(parse_stream(name), version))
        return StreamsPage(heads, is_end=True)

    @property
    def is_inherited(self) -> bool:
        """True if a fork brought this handle into another process."""
        return os.getpid() != self._process

    def check_usable(self) -> None:
        """Raise ``StoreClosedError`` if this handle was closed or inherited by fork."""
        if os.getpid() != self._process:
            raise StoreClosedError(store=self.name, reason="it was inherited by fork")
        if self._is_closed:
            raise StoreClosedError(store=self.name)

    def glance_version(self, stream: StreamId) -> int | None:
        """See ``VersionGlance``: known if the lock file names no end beyond the index, and no thread holds the index."""
        tail = None if self._is_closed else self._journal.glance()
        if tail is None:
            return None
        glanced = self._glanced
        if tail is glanced[0] and stream.text == glanced[1]:
            return glanced[2]
        if self._mutex.locked():  # and not acquire() before a try: a signal may come between the two
            return None
        try:
            with self._mutex:
                end = self._index.end
                if not self._index.is_whole or tail.position != end.position or tail.checksum != end.checksum:
                    return None
                version = self._index.version(stream.text, stream_key(stream.text))
        except StoreClosedError:
            return None
        self._glanced = tail, stream.text, version
        return version

    def tidy(self, *, max_events: int = 1_000) -> bool:
        """Write index files of finished segments, and about ``max_events`` of the events that the readable copies miss.

        Failures are logged, and the next call tries again: no promise depends on these files.

        Returns:
            True if nothing is left to do.
        """
        with self._serving():
            return self._derived is None or self._derived.tidy(max_events=max_events)

    def rebuild(self) -> None:
        """Load every table of the index, rebuild those without a good file, and doubt all readable copies; closing writes them."""
        with self._serving():
            with self._mutex:
                self._index.load()
            if self._derived is not None:
                self._derived.doubt_all()

    def close(self) -> None:
        """Tidy to the end and release every handle. Idempotent. After a fork, only this process's handles are dropped."""
        if not self._is_closed:
            self._is_closed = True
            if not self.is_inherited:
                try:
                    if self._derived is not None:
                        self._derived.finish()
                finally:
                    self._format.close()
                    self._journal.close()

    def _page(self, stream: StreamId, version: int, places: Sequence[EventPlaces]) -> StoredPage:
        """Return the events at these places, which must be the stream's from this version on."""
        events: list[StoredFields] = []
        name = stream.text
        for part in places:
            fields = self._reader.read(part)
            end = version + len(fields)
            if [event.version for event in fields] != list(range(version, end)) or {event.stream_name for event in fields} != {name}:
                at = next(at for at, event in enumerate(fields) if event.version != version + at or event.stream_name != name)
                self._reader.refuse(part, at, f"event {version + at} of {stream} belongs there")
            version = end
            events += fields
        return StoredPage(StoredEvent, events)

    def _events(self, places: Sequence[EventPlaces]) -> list[StoredEvent]:
        return [StoredEvent(fields) for page in pages(places) for fields in self._reader.read(page)]

    def _stored_after(self, name: str, version: int, position: int) -> Iterator[bytes]:
        """Yield the stored forms of a stream after a version, up to a position."""
        with self._current() as index:
            last = index.version(name, stream_key(name))
            places = index.stream(name, after=version, before=last + 1) if version < last else []
        for page in pages(places):
            for stored, event in zip(self._reader.read_stored(page), self._reader.read(page), strict=True):
                if event.position <= position:
                    yield stored

    @contextmanager
    def _current(self) -> Generator[StoreIndex, None, None]:
        """Hold the index, at least as new as every append acknowledged before this call; keep the block short."""
        tail = self._journal.tail()
        with self._mutex:
            if tail.position < self._index.end.position:  # another thread has written since; under the mutex the tail is not behind
                tail = self._journal.tail()
            self._index.follow(tail)
            yield self._index

    def _serving(self) -> AbstractContextManager[None]:
        self.check_usable()
        return self._unavailable


class _Unavailable(AbstractContextManager[None]):
    """Turns a refusal of the file system in the block into the port's error."""

    __slots__ = ("_store",)

    def __init__(self, store: str) -> None:
        self._store = store

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OSError):
            reason, remedy = reason_of(error), remedy_of(error)
            if reason == READ_ONLY:
                remedy = "give this user permission to write to the folder and its files, and open it again"
            raise StoreUnavailableError(store=self._store, reason=reason, remedy=remedy) from error
