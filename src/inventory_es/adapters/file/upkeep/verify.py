"""Check a store's files against each other: journal, index, readable copies, and the meaning of the events; and repair derived files.

A verification reads only. It does not stop other processes from writing, and reads no further than the durable end that it found when
it began.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from typing import Literal, NamedTuple, Self

import attrs

from inventory_es.adapters.file.folder import StoreFolder, find_folder
from inventory_es.adapters.file.index.store_index import SUFFIX as INDEX_SUFFIX
from inventory_es.adapters.file.index.store_index import EventPlaces, places_of
from inventory_es.adapters.file.index.table import GrowingTable, SealedTable, load_table, pack_table, unpack_place
from inventory_es.adapters.file.journal.segments import JournalSegments
from inventory_es.adapters.file.journal.stored_form import JournalState, JournalTail, Line, empty_tail, read_lines, read_state
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.adapters.file.store.event_reader import EventReader, pages
from inventory_es.adapters.file.store.file_store import FileStore
from inventory_es.adapters.file.store.stream_files import SUFFIX, file_name
from inventory_es.adapters.file.stored_event import StoredEvent, parse_stream, split_line
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.file_system import File, FileSystem, is_missing
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path

Concern = Literal["journal", "stream", "lock", "index", "people", "foreign"]
StreamCheck = Callable[[StreamId, Iterator[RecordedEvent]], Iterable[tuple[int, str]]]
"""Checks the meaning of a stream's events: gives versions, each with the problem there."""


@attrs.frozen
class Finding:
    """A fault in a store.

    Attributes:
        concern: ``journal`` (the truth itself); ``stream`` (the meaning of its events); ``foreign`` (no file of the store). Derived are
            ``lock`` (the lock file), ``index`` and ``people`` (the readable copies).
        path: of the file.
        line: in it, starting at 1; ``None`` for the whole file.
        offset: of the line, in bytes; ``None`` for the whole file.
        problem: the fault, without payload.
    """

    concern: Concern
    path: str
    line: int | None
    offset: int | None
    problem: str

    @property
    def is_derived(self) -> bool:
        """True if :func:`repair` can mend it."""
        return self.concern in {"lock", "index", "people"}

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line} (byte {self.offset})"
        return f"{place}: {self.problem}"


def verify(
    path: AnyPath,
    *,
    file_system: FileSystem | None = None,
    check_stream: StreamCheck | None = None,
) -> Iterator[Finding]:
    """Yield every fault of a store, while looking.

    After damage of the journal the rest is not checked: its right content is unknown.

    Args:
        path: of the store's folder.
        file_system: the operating system's, unless given.
        check_stream: checks the meaning of each stream's events (that balances fold); given the stream and its events in order.

    Raises:
        IncompatibleStoreError: there is no store, or one of a newer format.
        OSError: something can't be read.
    """
    fs = OperatingSystem() if file_system is None else file_system
    folder = find_folder(fs, absolute_path(path))
    return _Verification(fs, folder, check_stream).run()


def repair(path: AnyPath, *, file_system: FileSystem | None = None) -> Sequence[Finding]:
    """Recover a store if that is due, and rebuild its index and readable copies where they are wrong. Stop its writers first.

    Files that belong to no stream are left alone: they are not the store's. The journal is never touched.

    Args:
        path: of the store's folder.
        file_system: the operating system's, unless given.

    Returns:
        The findings that are left.

    Raises:
        CorruptStoreError: the journal is damaged. Nothing was changed.
        IncompatibleStoreError: there is no store, or one of a newer format.
        StoreUnavailableError, OSError: something can't be read or written.
    """
    fs = OperatingSystem() if file_system is None else file_system
    folder = find_folder(fs, absolute_path(path))
    findings = list(verify(folder.given, file_system=fs))
    for finding in findings:
        if finding.concern == "journal":
            raise CorruptStoreError(store=folder.name, place=str(finding).partition(": ")[0], problem=finding.problem)
    for finding in findings:
        if finding.concern in {"index", "people"} and fs.exists(finding.path):
            with suppress(OSError):  # a folder, perhaps, which is left for its owner to remove
                fs.remove(finding.path)
    with closing(FileStore.open(folder.given, creation_id=folder.creation_id, file_system=fs)) as store:
        store.rebuild()
    return list(verify(folder.given, file_system=fs))


class _CheckedSegment(NamedTuple):
    """A segment whose lines are all good.

    Attributes:
        table: the right content of its index file.
        lines: the offset of each line.
    """

    table: SealedTable
    lines: "array[int]"


@attrs.define
class _JournalCheck:
    """Reads a journal from its beginning up to a tail.

    Attributes:
        file_system: the file system that it is on.
        segments: its files.
        tail: how far to read.
        seed: of its checksums.
        end: how far every line is good.
        checked: by segment, those that were read to their end.
    """

    file_system: FileSystem
    segments: JournalSegments
    tail: JournalTail
    seed: int
    end: JournalTail
    checked: dict[int, _CheckedSegment] = attrs.field(factory=dict, init=False)
    _versions: dict[str, int] = attrs.field(factory=dict, init=False)

    def run(self) -> Iterator[Finding]:
        """Yield the faults; end at the first damage, because nothing after it can be trusted."""
        try:
            yield from self._check_all()
        except CorruptStoreError as problem:  # a file is missing
            yield Finding("journal", problem.place, None, None, problem.problem)

    def _check_all(self) -> Iterator[Finding]:
        names = [name for name in self.segments.names() if name <= self.tail.segment]
        for name in names:
            if name != self.end.position + 1:
                yield self._finding(name, f"the segment begins at {name}, the one before it ends at {self.end.position}")
                return
            self.end = JournalTail(name, 0, self.end.checksum, self.end.position)
            if not (yield from self._check(name)):
                return
        if self.tail.offset and self.tail.segment not in names:
            yield self._finding(self.tail.segment, "the segment is missing")

    def _check(self, segment: int) -> Generator[Finding, None, bool]:
        """Check one segment, then its index file against it; return True if the journal is good so far."""
        file = self.segments.open(segment)
        size = file.size()
        end = self.tail.offset if segment == self.tail.segment else size
        table, lines = GrowingTable(segment, segment, self.end), array("Q")
        index = _IndexFile.read(self.file_system, self.segments.path(segment, INDEX_SUFFIX), segment, self.seed)
        for line in read_lines(file, start=0, end=min(end, size), seed=self.seed):
            lines.append(line.offset)
            problem = self._add_line(table, line)
            if problem is not None:
                yield self._finding(segment, problem, len(lines), line.offset)
                return False
            if line.end == index.covered:
                index.expected = pack_table(table, seed=self.seed)
        if size < end:
            yield self._finding(segment, f"{end - size} durable bytes are missing at its end")
            return False
        problem = index.problem(None if segment == self.tail.segment else size)
        if problem is not None:
            yield Finding("index", index.path, None, None, problem)
        packed = pack_table(table, seed=self.seed)
        self.checked[segment] = _CheckedSegment(SealedTable(memoryview(packed)), lines)
        return True

    def _add_line(self, table: GrowingTable, line: Line) -> str | None:
        """Check one line, and add it to the right content of the index."""
        if line.chain is None:
            return "the line is damaged: its checksum does not fit"
        if line.chain[0] != self.end.checksum:
            return "the line does not follow the one before it"
        try:
            events = split_line(line.data)
        except ValueError:
            return "the line holds no events"
        position = self.end.position
        for _, event in events:
            position += 1
            version = self._versions.get(event.stream_name, 0) + 1
            if (event.position, event.version) != (position, version):
                found = f"position {event.position}, version {event.version} of {event.stream_name}"
                return f"{found} stand where {position} and {version} belong"
            self._versions[event.stream_name] = version
        table.add_line(line, events)
        self.end = table.end
        return None

    def _finding(self, segment: int, problem: str, line: int | None = None, offset: int | None = None) -> Finding:
        return Finding("journal", self.segments.path(segment), line, offset, problem)


@attrs.define
class _IndexFile:
    """An index file, to be compared with its segment.

    Attributes:
        path: of the file.
        content: ``None`` if there is none.
        covered: how far it covers the segment, by its header; ``None`` if it is not whole.
        expected: its right content, once the segment has been read so far.
    """

    path: str
    content: bytes | None
    covered: int | None
    expected: bytes | None = None

    @classmethod
    def read(cls, file_system: FileSystem, path: str, segment: int, seed: int) -> Self:
        """Read the file, if it is there."""
        try:
            file = file_system.open(path, "read")
        except OSError as problem:
            if not is_missing(problem):
                raise
            return cls(path, b"" if file_system.exists(path) else None, None)
        with closing(file):
            table = load_table(file, segment=segment, seed=seed)
            return cls(path, b"", None) if table is None else cls(path, file.read(file.size(), 0), table.end.offset)

    def problem(self, size: int | None) -> str | None:
        """Return the fault of the file. A missing one is fine: it is made when it is needed.

        Args:
            size: of a finished segment, which must be covered; ``None`` for the one that grows.
        """
        if self.content is None:
            return None
        if self.covered is None:
            return "the index file is damaged"
        if self.expected != self.content:
            return "the index file does not say what its segment holds"
        return None if size is None or self.covered == size else "the index file covers only a part of its segment"


@attrs.define
class _Verification:
    file_system: FileSystem
    folder: StoreFolder
    check_stream: StreamCheck | None

    def run(self) -> Iterator[Finding]:
        state = self._state(self.folder.lock)
        with closing(JournalSegments(self.file_system, self.folder.journal, name=self.folder.name)) as segments:
            written = self._state(f"{self.folder.events}/.lock")
            yield from self._check_events_folder()
            if state is None or state.dirty:
                yield Finding("lock", self.folder.lock, None, None, "somebody writes, or died writing: opening the store recovers it")
            if state is None:
                return
            check = _JournalCheck(self.file_system, segments, state.tail, self.folder.seed, empty_tail(self.folder.seed))
            is_good = True
            for finding in check.run():
                is_good = is_good and finding.concern != "journal"
                yield finding
            if is_good:
                reader = EventReader(segments, name=self.folder.name)
                yield from self._check_streams(check, reader, 0 if written is None else written.tail.position)

    def _state(self, path: str) -> JournalState | None:
        try:
            file = self.file_system.open(path, "read")
        except OSError as problem:
            if is_missing(problem):
                return None
            raise
        with closing(file):
            return read_state(file)

    def _check_streams(self, check: _JournalCheck, reader: EventReader, written: int) -> Iterator[Finding]:
        names = {".lock"}
        runs = merge(*(_placed(checked.table) for checked in check.checked.values()), key=itemgetter(0))
        for name, parts in groupby(runs, key=itemgetter(0)):
            places = [part for _, part in parts]
            file = file_name(parse_stream(name))
            names.add(file)
            yield from self._check_stream_file(f"{self.folder.events}/{file}", reader, places, written)
            yield from self._check_meaning(name, check, reader, places)
        for name in self._names():
            if name not in names:
                problem = "the file belongs to no stream of this store"
                yield Finding("foreign", f"{self.folder.events}/{name}", None, None, problem)

    def _check_events_folder(self) -> Iterator[Finding]:
        """Find the obstacles to writing readable copies. A missing folder is fine: it is made when it is needed."""
        events = self.folder.events
        try:
            self.file_system.list_directory(events)
        except OSError as problem:
            if not is_missing(problem):
                raise
            if self.file_system.exists(events):
                yield Finding("people", events, None, None, "something that is no readable folder is in its place")
            return
        lock = f"{events}/.lock"
        try:
            self.file_system.open(lock, "read").close()
        except OSError as problem:
            if not is_missing(problem):
                raise
            if self.file_system.exists(lock):
                yield Finding("people", lock, None, None, "something that is no readable file is in its place")

    def _names(self) -> Sequence[str]:
        """Return the names in the folder of the readable copies, which may be missing."""
        try:
            return self.file_system.list_directory(self.folder.events)
        except OSError as problem:
            if is_missing(problem):
                return ()
            raise

    def _check_stream_file(self, path: str, reader: EventReader, places: list[EventPlaces], written: int) -> Iterator[Finding]:
        """Check that every line up to the marked position is there and equals the journal's bytes; lines after it may be there."""
        try:
            file = self.file_system.open(path, "read")
        except OSError as problem:
            if not is_missing(problem):
                raise
            if self.file_system.exists(path):
                yield Finding("people", path, None, None, "something that is no readable file is in its place")
            elif reader.read(places[0].part(0, 1))[0].position <= written:
                yield Finding("people", path, None, None, "the file is missing")
            return
        with closing(file):
            yield from self._check_lines(path, file, reader, places, written)

    def _check_lines(self, path: str, file: File, reader: EventReader, places: list[EventPlaces], written: int) -> Iterator[Finding]:
        offset, size, number = 0, file.size(), 0
        for page in pages(places):
            for stored, event in zip(reader.read_stored(page), reader.read(page), strict=True):
                number += 1
                if offset == size:
                    if event.position <= written:
                        yield Finding("people", path, number, offset, f"version {event.version} and what follows are missing")
                    return
                line = file.read(len(stored) + 1, offset)
                if line != stored + b"\n":
                    is_cut = offset + len(line) == size and not line.endswith(b"\n")
                    problem = "the last line is not whole" if is_cut else f"the line is not version {event.version} as the journal has it"
                    yield Finding("people", path, number, offset, problem)
                    return
                offset += len(line)
        if offset < size:
            problem = "the line is not in the journal" if file.read(1, size - 1) == b"\n" else "the last line is not whole"
            yield Finding("people", path, number + 1, offset, problem)

    def _check_meaning(self, name: str, check: _JournalCheck, reader: EventReader, places: list[EventPlaces]) -> Iterator[Finding]:
        if self.check_stream is None:
            return
        events = (StoredEvent(event) for page in pages(places) for event in reader.read(page))
        for version, problem in self.check_stream(parse_stream(name), events):
            every = ((part.segment, place) for part in places for place in part.places)
            segment, place = next(islice(every, version - 1, None))
            offset = unpack_place(place)[0]
            line = bisect_right(check.checked[segment].lines, offset)
            path = f"{self.folder.journal}/{segment:020d}{SUFFIX}"
            yield Finding("stream", path, line, offset, f"version {version} of {name}: {problem}")


def _placed(table: SealedTable) -> Iterator[tuple[str, EventPlaces]]:
    for name, stream in table.streams():
        yield name, places_of(table, stream.rows)
