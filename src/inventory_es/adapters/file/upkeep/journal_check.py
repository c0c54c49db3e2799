"""Checking every line of a journal, and what an index of it must hold."""

from array import array
from bisect import bisect_right
from collections.abc import Generator, Iterator
from typing import NamedTuple, Self

import attrs

from inventory_es.adapters.file.index.store_index import SUFFIX
from inventory_es.adapters.file.index.table import GrowingTable, SealedTable, load_table, pack_table
from inventory_es.adapters.file.journal.segments import JournalSegments
from inventory_es.adapters.file.journal.stored_form import JournalTail, Line, read_lines
from inventory_es.adapters.file.stored_event import split_line
from inventory_es.adapters.file.upkeep.findings import Finding
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.file_system import FileSystem, is_missing


class CheckedSegment(NamedTuple):
    """A segment whose lines are all good.

    Attributes:
        table: what its index file must hold.
        lines: the offset of each line.
    """

    table: SealedTable
    lines: "array[int]"

    def line_at(self, offset: int) -> int:
        """The number of the line that holds this byte, starting at 1."""
        return bisect_right(self.lines, offset)


@attrs.define
class JournalCheck:
    """Reads a journal from its beginning up to a tail.

    Attributes:
        file_system: where it is.
        segments: its files.
        tail: how far to read.
        seed: of its checksums.
        end: how far all is good.
        checked: by segment, those that were read to their end.
    """

    file_system: FileSystem
    segments: JournalSegments
    tail: JournalTail
    seed: int
    end: JournalTail
    checked: dict[int, CheckedSegment] = attrs.field(factory=dict, init=False)
    _versions: dict[str, int] = attrs.field(factory=dict, init=False)

    def run(self) -> Iterator[Finding]:
        """Give what is wrong; ends at the first damage, since nothing after it can be trusted."""
        try:
            yield from self._check_all()
        except CorruptStoreError as problem:  # something is not there at all
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
        """Check one segment, then its index file against it; returns whether the journal is good so far."""
        file = self.segments.open(segment)
        size = file.size()
        end = self.tail.offset if segment == self.tail.segment else size
        table, lines = GrowingTable(segment, segment, self.end), array("Q")
        index = _IndexFile.read(self.file_system, self.segments.path(segment, SUFFIX), segment, self.seed)
        for line in read_lines(file, start=0, end=min(end, size), seed=self.seed):
            lines.append(line.offset)
            problem = self._take_in(table, line)
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
        self.checked[segment] = CheckedSegment(SealedTable(memoryview(packed)), lines)
        return True

    def _take_in(self, table: GrowingTable, line: Line) -> str | None:
        """Check one line, and add it to what the index must hold."""
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
                return (
                    f"position {event.position}, version {event.version} of {event.stream_name} stand where {position} and {version} belong"
                )
            self._versions[event.stream_name] = version
        table.add_line(line, events)
        self.end = table.end
        return None

    def _finding(self, segment: int, problem: str, line: int | None = None, offset: int | None = None) -> Finding:
        return Finding("journal", self.segments.path(segment), line, offset, problem)


@attrs.define
class _IndexFile:
    """An index file, to be compared with what its segment says.

    Attributes:
        path: of the file.
        content: ``None`` if there is none.
        covered: how far it covers the segment, by its header; ``None`` if it is not whole.
        expected: what it must hold, once the segment has been read so far.
    """

    path: str
    content: bytes | None
    covered: int | None
    expected: bytes | None = None

    @classmethod
    def read(cls, file_system: FileSystem, path: str, segment: int, seed: int) -> Self:
        """Read it, if it is there."""
        try:
            file = file_system.open(path, "read")
        except OSError as problem:
            if not is_missing(problem):
                raise
            return cls(path, b"" if file_system.exists(path) else None, None)
        try:
            table = load_table(file, segment=segment, seed=seed)
            return cls(path, b"", None) if table is None else cls(path, file.read(file.size(), 0), table.end.offset)
        finally:
            file.close()

    def problem(self, size: int | None) -> str | None:
        """What is wrong with it. A missing one is fine: it is made when it is needed.

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
