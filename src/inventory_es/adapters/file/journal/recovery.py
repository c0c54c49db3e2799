"""Bringing a journal back to a state in which everything is durable and every line is good.

Recovery runs under the journal's lock, when a process died or failed while writing. See the top of :mod:`.journal` for why it is
safe. A crash inside recovery leaves the same question, and the next recovery answers it the same way.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain as joined
from typing import NoReturn

import attrs

from inventory_es.adapters.file.journal.segments import SUFFIX, JournalSegments
from inventory_es.adapters.file.journal.stored_form import (
    JournalState,
    JournalTail,
    Line,
    checksum_before,
    empty_tail,
    read_first_line,
    read_last_line,
    read_lines,
)
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.file_system import File, FileSystem


@attrs.frozen
class Recovery:
    """The result of a recovery.

    Attributes:
        tail: the journal's end now.
        kept: whole lines after the place known to be durable.
        quarantined: the file of the bytes of a torn tail; ``None`` if there was none.
    """

    tail: JournalTail
    kept: int
    quarantined: str | None


@attrs.define
class JournalRecovery:
    """One recovery of one journal.

    Attributes:
        file_system: the file system of the journal.
        segments: its files.
        seed: of its checksums.
        last_position: the position of the last entry of a line.
        name: of the journal, for errors.
        witnesses: places that the journal once reached, each with the file that was made of it.
    """

    file_system: FileSystem
    segments: JournalSegments
    seed: int
    last_position: Callable[[bytes], int]
    name: str
    witnesses: Iterable[tuple[str, JournalTail]] = ()
    _kept: int = attrs.field(default=0, init=False)
    _quarantined: str | None = attrs.field(default=None, init=False)

    def check_chain(self, state: JournalState | None) -> None:
        """Check that the segments follow each other from the first entry on, by the first and the last line of each.

        The last segment is left to :meth:`run` as long as nothing says that it holds a durable line.

        Args:
            state: the state in the lock file; ``None`` if it can't be read.

        Raises:
            CorruptStoreError: a segment is missing, cut, foreign or doubled. Nothing was changed.
            OSError: as the file system raises it.
        """
        names = self.segments.names()
        end = empty_tail(self.seed)
        for name in names:
            path = self.segments.path(name)
            if name != end.position + 1:
                self._refuse(path, f"the segment does not follow position {end.position}")
            is_last = name == names[-1]
            if is_last and (state is None or state.tail.segment != name or state.tail.offset == 0):
                return
            file = self.segments.open_file(name, "read")
            try:
                last = None if is_last else read_last_line(file, seed=self.seed)
                if last is not None and last.chain is None:
                    self._refuse(f"{path}, byte {last.offset}", "a sealed segment does not end in a whole line")
                first = read_first_line(file, seed=self.seed)
                if first is None or first.chain is None or first.chain[0] != end.checksum:
                    self._refuse(path, "the first line of the segment does not follow the segment before it")
                if last is not None:
                    end = JournalTail(name, last.end, last.checksum, self._position(name, last))
            finally:
                file.close()

    def run(self, state: JournalState | None) -> Recovery:
        """Check the lines after the durable end, keep whole ones, quarantine a torn tail, and make the result durable.

        Args:
            state: the state in the lock file; ``None`` if it can't be read.

        Raises:
            CorruptStoreError: a bad line has good ones after it, or something is missing. Nothing was changed.
            OSError: as the file system raises it; run it again.
        """
        names = self.segments.names()
        tail = state.tail if state is not None else self._start(names)
        pending = [name for name in names if name >= tail.segment]
        if tail.offset > 0 and tail.segment not in pending:
            self._refuse(self.segments.path(tail.segment), "the segment is missing")
        if not pending:
            self._ask_witnesses(tail)
        for name in pending:
            if name != tail.segment and name != tail.position + 1:
                self._refuse(self.segments.path(name), f"the segment does not follow position {tail.position}")
            start = tail if name == tail.segment else attrs.evolve(tail, segment=name, offset=0)
            end = self._finish_segment(start, is_last=name == names[-1])
            if end.offset == 0:
                self._remove(name)
            else:
                tail = end
        return Recovery(tail, self._kept, self._quarantined)

    def _start(self, names: Sequence[int]) -> JournalTail:
        """Return the beginning of the last segment but one, chained to the line before it."""
        if len(names) <= 2:
            return empty_tail(self.seed)
        first, before = names[-2], names[-3]
        file = self.segments.open(before)
        size = file.size()
        checksum = checksum_before(file, size)
        if checksum is None:
            self._refuse(f"{self.segments.path(before)}, byte {size}", "a sealed segment does not end in a whole line")
        return JournalTail(segment=first, offset=0, checksum=checksum, position=first - 1)

    def _finish_segment(self, start: JournalTail, *, is_last: bool) -> JournalTail:
        path = self.segments.path(start.segment)
        file = self.segments.open_file(start.segment, "write")
        try:
            size = file.size()
            if size < start.offset:
                self._refuse(f"{path}, byte {size}", f"{start.offset - size} durable bytes are missing")
            last, torn = self._check(file, start, size, is_last=is_last)
            end = start if last is None else JournalTail(start.segment, last.end, last.checksum, self._position(start.segment, last))
            if is_last:
                self._ask_witnesses(end)
            if torn is not None:
                self._quarantine(start.segment, torn.offset, file.read(size - torn.offset, torn.offset))
            if is_last and end.offset > 0:
                if last is not None:
                    file.write(last.data, last.offset)
                file.truncate(end.offset)
                file.sync()
            return end
        finally:
            file.close()

    def _check(self, file: File, start: JournalTail, size: int, *, is_last: bool) -> tuple[Line | None, Line | None]:
        """Return the last good line after ``start``, and the bad line that begins a torn tail."""
        last: Line | None = None
        checksum = start.checksum
        lines = read_lines(file, start=start.offset, end=size, seed=self.seed)
        for line in lines:
            if line.chain is None or line.chain[0] != checksum:
                reached = start.position if last is None else self._position(start.segment, last)
                if not is_last or any(
                    good.chain is not None and self._position(start.segment, good) > reached for good in joined((line,), lines)
                ):
                    problem = (
                        "a line is damaged, and good ones follow it" if line.chain is None else "a line does not follow the one before it"
                    )
                    self._refuse(f"{self.segments.path(start.segment)}, byte {line.offset}", problem)
                return last, line
            last, checksum = line, line.checksum
            self._kept += 1
        return last, None

    def _ask_witnesses(self, end: JournalTail) -> None:
        """Refuse a journal that ends before a place that a derived file has reached: durable lines are missing."""
        for path, reached in self.witnesses:
            if reached.position > end.position:
                problem = f"{path} was made of position {reached.position}, and the journal ends at {end.position}"
                self._refuse(self.segments.path(end.segment), f"durable lines are missing: {problem}")

    def _position(self, segment: int, line: Line) -> int:
        try:
            return self.last_position(line.data)
        except ValueError:
            self._refuse(f"{self.segments.path(segment)}, byte {line.offset}", "a line has a good checksum and no position")

    def _quarantine(self, segment: int, offset: int, data: bytes) -> None:
        path = self.segments.path(segment, f"{SUFFIX}.torn-{offset}")
        while self.file_system.exists(path):
            try:
                self.file_system.remove(path)
            except OSError:  # it can't be removed: a folder, perhaps
                path += "x"
        file = self.file_system.open(path, "create")
        try:
            file.write(data, 0)
            file.sync()
        finally:
            file.close()
        self.file_system.sync_directory(self.segments.directory)
        self._quarantined = path

    def _remove(self, segment: int) -> None:
        """Remove a segment that holds no line. Its entry in the directory may not be durable, and is made again with the next line."""
        self.segments.forget(segment)
        self.file_system.remove(self.segments.path(segment))
        self.file_system.sync_directory(self.segments.directory)

    def _refuse(self, place: str, problem: str) -> NoReturn:
        raise CorruptStoreError(store=self.name, place=place, problem=problem)
