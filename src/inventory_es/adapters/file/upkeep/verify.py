"""Checking a store's files against each other: journal, index, people's files, and what the events mean.

Reads only. It does not stop others from writing, and looks no further than the durable end that it found when it began.
"""

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, islice

import attrs

from inventory_es.adapters.file.folder import StoreFolder, find_folder
from inventory_es.adapters.file.index.store_index import EventPlaces, places_of
from inventory_es.adapters.file.index.table import IndexTable, unpack_place
from inventory_es.adapters.file.journal.segments import JournalSegments
from inventory_es.adapters.file.journal.stored_form import JournalState, empty_tail, read_state
from inventory_es.adapters.file.operating_system import OperatingSystem
from inventory_es.adapters.file.store.event_reader import EventReader, pages
from inventory_es.adapters.file.store.stream_files import SUFFIX, file_name
from inventory_es.adapters.file.stored_event import StoredEvent, parse_stream
from inventory_es.adapters.file.upkeep.findings import Finding, StreamCheck
from inventory_es.adapters.file.upkeep.journal_check import JournalCheck
from inventory_es.ports.file_system import File, FileSystem, is_missing
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path


def verify(
    path: AnyPath,
    *,
    file_system: FileSystem | None = None,
    check_stream: StreamCheck | None = None,
) -> Iterator[Finding]:
    """Give everything that is wrong with a store, while looking.

    After damage of the journal the rest is not looked at: it can't be told what it should be.

    Args:
        path: of the store's folder.
        file_system: the operating system's, unless given.
        check_stream: checks what the events of each stream mean (that balances fold); given the stream and its events in order.

    Raises:
        IncompatibleStoreError: there is no store, or one of a newer format.
        OSError: something can't be read.
    """
    fs = OperatingSystem() if file_system is None else file_system
    folder = find_folder(fs, absolute_path(path))
    return _Verification(fs, folder, check_stream).run()


@attrs.define
class _Verification:
    file_system: FileSystem
    folder: StoreFolder
    check_stream: StreamCheck | None

    def run(self) -> Iterator[Finding]:
        state = self._state(self.folder.lock)
        segments = JournalSegments(self.file_system, self.folder.journal, name=self.folder.name)
        try:
            written = self._state(f"{self.folder.events}/.lock")
            yield from self._check_events_folder()
            if state is None or state.dirty:
                yield Finding("lock", self.folder.lock, None, None, "somebody writes, or died writing: opening the store recovers it")
            if state is None:
                return
            check = JournalCheck(self.file_system, segments, state.tail, self.folder.seed, empty_tail(self.folder.seed))
            is_good = True
            for finding in check.run():
                is_good = is_good and finding.concern != "journal"
                yield finding
            if is_good:
                reader = EventReader(segments, name=self.folder.name)
                yield from self._check_streams(check, reader, 0 if written is None else written.tail.position)
        finally:
            segments.close()

    def _state(self, path: str) -> JournalState | None:
        try:
            file = self.file_system.open(path, "read")
        except OSError as problem:
            if is_missing(problem):
                return None
            raise
        try:
            return read_state(file)
        finally:
            file.close()

    def _check_streams(self, check: JournalCheck, reader: EventReader, written: int) -> Iterator[Finding]:
        names = {".lock"}
        tables = [checked.table for checked in check.checked.values()]
        runs = merge(*(_placed(table) for table in tables), key=_name)
        for name, parts in groupby(runs, key=_name):
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
        """Find what keeps the people's files from being written. A missing folder is fine: it is made when it is needed."""
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
        """What is in the folder of the people's files, which may be missing."""
        try:
            return self.file_system.list_directory(self.folder.events)
        except OSError as problem:
            if is_missing(problem):
                return ()
            raise

    def _check_stream_file(self, path: str, reader: EventReader, places: list[EventPlaces], written: int) -> Iterator[Finding]:
        """Every line up to the marked position is there and equals the journal's bytes; lines after it may be there."""
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
        try:
            yield from self._check_lines(path, file, reader, places, written)
        finally:
            file.close()

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

    def _check_meaning(self, name: str, check: JournalCheck, reader: EventReader, places: list[EventPlaces]) -> Iterator[Finding]:
        if self.check_stream is None:
            return
        events = (StoredEvent(event) for page in pages(places) for event in reader.read(page))
        for version, problem in self.check_stream(parse_stream(name), events):
            segment, offset = _place_of(version, places)
            line = check.checked[segment].line_at(offset)
            path = f"{self.folder.journal}/{segment:020d}{SUFFIX}"
            yield Finding("stream", path, line, offset, f"version {version} of {name}: {problem}")


def _placed(table: IndexTable) -> Iterator[tuple[str, EventPlaces]]:
    for name, stream in table.streams():
        yield name, places_of(table, stream.rows)


def _place_of(version: int, places: Iterable[EventPlaces]) -> tuple[int, int]:
    """Segment and offset of the event that made a version of a stream, given the places of all its events."""
    segment, place = next(islice(((part.segment, place) for part in places for place in part.places), version - 1, None))
    return segment, unpack_place(place)[0]


def _name(run: tuple[str, object]) -> str:
    return run[0]
