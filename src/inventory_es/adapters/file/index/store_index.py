"""The index of the event store: derived from the journal, kept beside it, made again when missing or wrong.

The index is a list of tables. Each finished segment has one sealed file. The current one may have a file from the last clean stop, and
has a table in memory for the events after it. Opening reads the part of the current segment beyond its file, however long the
history; the other files are mapped when they are first needed. A look-up asks each table, newest first.

Not safe for several threads: the store holds the index's mutex.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby, repeat
from operator import attrgetter, itemgetter
from typing import NamedTuple
from uuid import UUID

from inventory_es.adapters.file.index.table import (
    GrowingTable,
    IndexedEvent,
    IndexTable,
    SealedTable,
    event_key,
    load_table,
    pack_table,
    stream_key,
)
from inventory_es.adapters.file.journal.journal import Journal
from inventory_es.adapters.file.journal.stored_form import JournalTail, Line, checksum_before, read_first_line
from inventory_es.adapters.file.stored_event import LINE_START, StoredFields, split_line
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.file_system import FileSystem

SUFFIX = ".idx"
_CHECKPOINT_BYTES = 1 << 20
_logger = logging.getLogger(__name__)


class EventPlaces(NamedTuple):
    """The places of events in one segment.

    Attributes:
        segment: of the journal.
        places: of the stored forms in it, see :func:`~inventory_es.adapters.file.index.table.unpack_place`.
        checksums: their CRC-32, so that damage does not go unseen.
    """

    segment: int
    places: Sequence[int]
    checksums: Sequence[int]

    def part(self, first: int, end: int | None = None) -> "EventPlaces":
        """Return some of them, as a slice."""
        return EventPlaces(self.segment, self.places[first:end], self.checksums[first:end])

    def backwards(self) -> "EventPlaces":
        """Return them in reverse order."""
        return EventPlaces(self.segment, self.places[::-1], self.checksums[::-1])


def places_of(table: IndexTable, rows: Sequence[int]) -> EventPlaces:
    """Return the places of the events in these rows of a table; one row at least."""
    places, checksums, first, last = table.places, table.checksums, rows[0], rows[-1]
    if last - first == len(rows) - 1:
        return EventPlaces(table.segment, places[first : last + 1], checksums[first : last + 1])
    return EventPlaces(table.segment, [places[row] for row in rows], [checksums[row] for row in rows])


_CHANGED = (IndexError, UnicodeDecodeError)
"""The errors of a table whose mapped file was written to: it was checked when it was opened, and is never changed by a store."""


class StoreIndex:
    """The places of all events, up to :attr:`end`.

    Args:
        file_system: the file system of the index files.
        journal: the journal that is indexed.
        seed: of the journal.
        name: of the store, for errors.

    Attributes:
        end: the end of the journal when it was indexed.
        is_whole: False after a signal or an unexpected error interrupted a change: the next one begins the current segment again.
    """

    def __init__(self, file_system: FileSystem, journal: Journal, *, seed: int, name: str) -> None:
        self._fs = file_system
        self._journal = journal
        self._seed = seed
        self._name = name
        self._older: list[int] = []
        self.end: JournalTail = journal.start
        self._growing = GrowingTable(1, 1, self.end)
        self._tables: list[IndexTable] = [self._growing]
        self._written: tuple[Sequence[IndexedEvent], int] | None = None
        self.is_whole: bool = True

    def open(self, tail: JournalTail) -> None:
        """Begin with a journal that ends at ``tail``."""
        self._older = [segment for segment in self._journal.segments.names() if segment < tail.segment]
        start = self._start(tail.segment)
        table = self._load(tail.segment, tail.offset) if tail.offset else None
        if table is not None:
            self._tables.insert(1, table)
            start = table.end
        self._grow_from(start)
        self.follow(tail)

    def load(self) -> None:
        """Load every table, and rebuild those whose file is missing or wrong."""
        for _ in self._newest_first():
            pass

    def follow(self, tail: JournalTail) -> None:
        """Index the lines up to ``tail``, of every process.

        Raises:
            CorruptStoreError: a line is damaged, or the journal was replaced by one with another history.
        """
        self.settle()
        if tail == self.end:
            return
        for segment, line in self._journal.lines(self.end, tail):
            if segment != self._growing.segment:
                self._grow_from(JournalTail(segment, 0, self.end.checksum, self.end.position))
            events = self._events_of(self._growing, line)
            self.is_whole = False
            self._growing.add_line(line, events)
            self.end = self._growing.end
            self.is_whole = True
        if self.end != tail:
            self._journal.refuse(tail.segment, tail.offset, "the journal is not the one that was read before")

    def added(self, tail: JournalTail, line_offset: int, events: Sequence[IndexedEvent]) -> None:
        """Index a line that this process wrote, at the latest with the next look-up; ``tail`` is the end after it."""
        if tail.segment != self._growing.segment:
            self._grow_from(JournalTail(tail.segment, 0, self.end.checksum, self.end.position))
        written = events, line_offset + len(LINE_START)
        self._written = written  # from here on without a call, so that no signal comes between
        self._growing.end = self.end = tail

    def settle(self) -> None:
        """Do the work that :meth:`added` put off, so that callers do not wait for it, or undo a change that was interrupted."""
        if not self.is_whole:
            kept = [table for table in self._tables if table is not self._growing]
            segment = self._growing.segment
            start = kept[0].end if kept and kept[0].segment == segment else self._start(segment)
            growing = GrowingTable(segment, start.position + 1, start)
            self._tables, self._growing, self._written, self.end = [growing, *kept], growing, None, start
            self.is_whole = True
        if self._written is not None:
            self.is_whole = False
            self._growing.add(*self._written)
            self._written = None
            self.is_whole = True

    def version(self, name: str, key: int) -> int:
        """Return the version of a stream; 0 if it is not there."""
        try:
            for table in self._newest_first():
                stream = table.stream(name, key)
                if stream is not None:
                    return stream.version
        except _CHANGED as problem:
            raise self._changed() from problem
        return 0

    def candidates(self, event_ids: Iterable[UUID], stream: int) -> list[EventPlaces]:
        """Return the places of events whose id has the key of one of these in the stream with this key.

        The caller compares ids and streams: a collision is rare, and possible.
        """
        found: list[EventPlaces] = []
        keys = list(map(event_key, event_ids, repeat(stream)))
        try:
            for table in self._newest_first():
                rows: list[int] = []
                for key in keys:
                    rows += table.rows(key)
                if rows:
                    found.append(places_of(table, sorted(set(rows))))
        except _CHANGED as problem:
            raise self._changed() from problem
        return found

    def stream(self, name: str, *, after: int, before: int) -> list[EventPlaces]:
        """Return the places of a stream's events with versions between these two; there is one at least.

        Raises:
            CorruptStoreError: the index has none of them.
        """
        key, end = stream_key(name), before
        parts: list[EventPlaces] = []
        try:
            for table in self._newest_first():
                stream = table.stream(name, key)
                if stream is not None:
                    rows = stream.rows[max(0, after + 1 - stream.first_version) : max(0, end - stream.first_version)]
                    if len(rows):
                        parts.append(places_of(table, rows))
                    end = min(end, stream.first_version)
                if end <= after + 1:
                    break
        except _CHANGED as problem:
            raise self._changed() from problem
        if not parts:
            raise CorruptStoreError(store=self._name, place=f"stream {name}", problem=f"the index has no place for version {before - 1}")
        return parts[::-1]

    def positions(self, *, after: int, limit: int) -> EventPlaces:
        """Return the places of events after a position, of which there is one at least; perhaps fewer than ``limit``."""
        table = next((table for table in self._newest_first() if table.first <= after + 1 <= table.end.position), None)
        if table is None:
            raise CorruptStoreError(store=self._name, place=f"position {after + 1}", problem="the index has no place for it")
        first = after + 1 - table.first
        try:
            return places_of(table, range(first, min(first + limit, len(table.places))))
        except _CHANGED as problem:
            raise self._changed() from problem

    def streams(self, start: str) -> Iterator[tuple[str, int]]:
        """Yield every stream from this text on, in order, with its version."""
        try:
            streams = merge(*(table.streams(start) for table in self._newest_first()), key=itemgetter(0))
            for name, same in groupby(streams, key=itemgetter(0)):
                yield name, max(stream.version for _, stream in same)
        except _CHANGED as problem:
            raise self._changed() from problem

    def _changed(self) -> CorruptStoreError:
        problem = "an index file was changed while it was open; remove it, and open the store again: it is made from its segment"
        return CorruptStoreError(store=self._name, place="the index of the journal", problem=problem)

    @property
    def segment_start(self) -> JournalTail:
        """The beginning of the current segment."""
        return self._start(self._growing.segment)

    def finished(self) -> list[tuple[int, list[IndexTable]]]:
        """Return the finished segments that have no file yet, with their tables."""
        self.settle()
        waiting = {table.segment for table in self._tables[1:] if isinstance(table, GrowingTable)} - {self._growing.segment}
        return [(segment, self._of(segment)) for segment in sorted(waiting)]

    def current(self) -> list[IndexTable]:
        """Return the tables of the current segment, if its file is worth writing now; otherwise none."""
        self.settle()
        tables = self._of(self._growing.segment)
        covered = tables[0].end.offset if isinstance(tables[0], SealedTable) else 0
        return tables if self.end.offset - covered > _CHECKPOINT_BYTES else []

    def write(self, segment: int, tables: Sequence[IndexTable]) -> SealedTable:
        """Write the file of a segment. The caller holds the journal's lock, so that one process writes it; the mutex is not needed.

        Raises:
            OSError: it could not be written; the tables in memory serve on.
        """
        content = pack_table(_joined(tables), seed=self._seed)
        path = self._journal.segments.path(segment, SUFFIX)
        draft = f"{path}.draft"
        if self._fs.exists(draft):
            self._fs.remove(draft)
        file = self._fs.open(draft, "create")
        try:
            file.write(content, 0)
            file.sync()
            self._fs.rename(draft, path)
            return SealedTable(file.map())
        finally:
            file.close()

    def replace(self, segment: int, table: SealedTable) -> None:
        """Use this table in place of the others of a finished segment."""
        others = [other for other in self._tables if other.segment != segment or other is self._growing]
        self._tables = sorted([*others, table], key=attrgetter("first"), reverse=True)

    def _of(self, segment: int) -> list[IndexTable]:
        """Return the tables of a segment, oldest first."""
        return [table for table in reversed(self._tables) if table.segment == segment]

    def _newest_first(self) -> Iterable[IndexTable]:
        if self._written is not None:
            self.settle()
        return self._and_older() if self._older else self._tables

    def _and_older(self) -> Iterator[IndexTable]:
        """Yield every table; older ones are loaded after the others were asked in vain."""
        yield from self._tables
        older: list[IndexTable] = []
        following = self._tables[-1].first
        for segment in reversed(self._older):
            older.append(self._load(segment, None) or self._rebuild(segment))
            if older[-1].end.position != following - 1:
                self._journal.refuse(segment, older[-1].end.offset, f"durable lines before position {following} are missing")
            line = read_first_line(self._journal.segments.open(following), seed=self._seed)
            if line is None or line.chain is None or line.chain[0] != older[-1].end.checksum:  # replaced since the store was opened
                self._journal.refuse(following, 0, "the first line of the segment does not follow the segment before it")
            following = segment
        self._older = []
        self._tables = [*self._tables, *older]
        yield from older

    def _grow_from(self, start: JournalTail) -> None:
        kept = self._tables if self._growing.places else self._tables[1:]
        growing = GrowingTable(start.segment, start.position + 1, start)
        self._tables, self._growing, self.end = [growing, *kept], growing, start

    def _load(self, segment: int, limit: int | None) -> SealedTable | None:
        """Return the table in a segment's file, if it fits the journal.

        The file covers all of a finished segment, or no more than ``limit`` bytes of the current one.

        A file that can't be read, for whatever reason, counts as missing.
        """
        segments = self._journal.segments
        try:
            file = self._fs.open(segments.path(segment, SUFFIX), "read")
        except OSError:
            return None
        try:
            table = load_table(file, segment=segment, seed=self._seed)
        except OSError:
            return None
        finally:
            file.close()
        lines = segments.open(segment)
        if table is None or not (table.end.offset <= limit if limit is not None else table.end.offset == lines.size()):
            return None
        return table if checksum_before(lines, table.end.offset) == table.end.checksum else None

    def _rebuild(self, segment: int) -> GrowingTable:
        _logger.warning("index_rebuilt", extra={"store": self._name, "segment": segment})
        table = GrowingTable(segment, segment, self._start(segment))
        end = JournalTail(segment, self._journal.segments.open(segment).size(), 0, 0)
        for _, line in self._journal.lines(table.end, end):
            table.add_line(line, self._events_of(table, line))
        return table

    def _events_of(self, table: GrowingTable, line: Line) -> Sequence[tuple[int, StoredFields]]:
        position = table.end.position
        try:
            events = split_line(line.data)
        except ValueError:
            self._journal.refuse(table.segment, line.offset, "a line holds no events")
        for _, event in events:
            position += 1
            if event.position != position:
                self._journal.refuse(table.segment, line.offset, f"position {event.position} stands where {position} belongs")
        return events

    def _start(self, segment: int) -> JournalTail:
        """Return the beginning of a segment."""
        segments = self._journal.segments
        before = [name for name in segments.names() if name < segment]
        if not before:
            return self._journal.start
        file = segments.open(before[-1])
        checksum = checksum_before(file, file.size())
        if checksum is None:
            place = f"{segments.path(before[-1])}, byte {file.size()}"
            raise CorruptStoreError(store=self._name, place=place, problem="a sealed segment does not end in a whole line")
        return JournalTail(segment, 0, checksum, segment - 1)


def _joined(tables: Sequence[IndexTable]) -> IndexTable:
    """Return one table of several that follow each other."""
    if len(tables) == 1:
        return tables[0]
    joined = GrowingTable(tables[0].segment, tables[0].first, tables[0].end)
    for table in tables:
        joined.extend(table)
    return joined
