"""Records of a CSV text. Each of its lines is in exactly one record, is blank, or is named as bad.

A quotation mark at the start of a cell takes in all lines up to the next one, so a stray one would swallow orders without a sign. A
cell over several lines is taken only where its record has as many cells as the header, and none of the lines that it took in looks like
an order line of its own. Otherwise the line with the mark is bad, and reading goes on with the line after it.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self, TextIO

from inventory_es.cli.replay.cells import NotUnderstoodError
from inventory_es.cli.replay.order_lines import BadLine, LineReader, OrderLine, Reading

_DELIMITERS = (",", ";", "\t", "|")
_DELIMITER_LINE = re.compile(r"sep=([,;\t|])", re.IGNORECASE)
_MOST_LINES_OF_A_HEADER = 20
_LONGEST_LINE = 1 << 20
_NOT_DECODED = re.compile("[\udc80-\udcff]")
_OPEN = "a quotation mark opens a cell here and is not closed in this line"


class _Line(NamedTuple):
    number: int
    text: str
    fault: str | None


class Records:
    """The records of a text, read once.

    Args:
        text: with its line ends as they are, and what could not be decoded as lone surrogates.
        encoding: its name, for people.

    Attributes:
        number: of the last line that was read.
    """

    def __init__(self, text: TextIO, encoding: str) -> None:
        self._text = text
        self._encoding = encoding
        self.number: int = 0
        self._again: deque[_Line] = deque()
        self._taken: list[_Line] = []
        self._is_at_end = False
        self._delimiter = ","
        self._reader: LineReader | None = None

    def read_header(self, reading: Reading) -> LineReader | None:
        """Read the names of the columns, and with them the character that stands between cells.

        Returns:
            The reader of the records after the header; ``None``: every line is blank.

        Raises:
            NotUnderstoodError: a needed column is missing, or it is no text.
        """
        lines: list[str] = []
        first = 0
        delimiters: Sequence[str] = _DELIMITERS
        problem = NotUnderstoodError(_OPEN)
        while (line := self._next()) is not None and len(lines) < _MOST_LINES_OF_A_HEADER:
            if line.fault is not None:
                raise NotUnderstoodError(line.fault)
            said = _DELIMITER_LINE.fullmatch(line.text.rstrip("\r\n"))
            if said is not None and not lines:
                delimiters = said[1]
                continue
            if not lines and not line.text.strip():
                continue
            first = first or line.number
            lines.append(line.text)
            is_open, most = False, 0
            for delimiter in delimiters:
                cells = _first_cells(lines, delimiter)
                is_open |= cells is None
                try:
                    reader = LineReader(cells or (), reading)
                except NotUnderstoodError as found:
                    if len(cells or ()) > most:
                        problem, most = found, len(cells or ())
                else:
                    self._delimiter = delimiter
                    return reader
            if not is_open:
                break
            problem = NotUnderstoodError(_OPEN)
        if lines:
            self.number = first
            raise problem
        return None

    def lines(self, reader: LineReader) -> Iterator[OrderLine | BadLine]:
        """Read the records after the header. Blank ones are passed over."""
        self._reader = reader
        table = csv.reader(self, strict=True, skipinitialspace=True, delimiter=self._delimiter)
        while True:
            self._taken.clear()
            self._is_at_end = False
            try:
                cells = next(table)
            except StopIteration:
                return
            except (csv.Error, NotUnderstoodError) as problem:
                yield self._bad(problem)
                continue
            first, *others = self._taken
            if others and not reader.has_width(cells):
                yield self._bad(None)
                continue
            try:
                yield reader.read(first.number, cells)
            except NotUnderstoodError as problem:
                if any(cell.strip() for cell in cells):
                    yield BadLine(first.number, str(problem))
                    for line in others:
                        yield BadLine(line.number, f"it belongs to line {first.number}")

    def __iter__(self) -> Self:
        """Return what the CSV reader takes lines from."""
        return self

    def __next__(self) -> str:
        """Return the next line of a record."""
        line = self._next()
        if line is None:
            self._is_at_end = True
            raise StopIteration
        self._taken.append(line)
        if line.fault is not None:
            raise NotUnderstoodError(line.fault)
        if len(self._taken) > 1 and self._resembles_order(line.text):
            raise NotUnderstoodError(_OPEN)
        return line.text

    def _bad(self, problem: Exception | None) -> BadLine:
        """Name the first line of what was taken, and give the others back."""
        first, *others = self._taken
        self._again.extendleft(reversed(others))
        if others or self._is_at_end:
            return BadLine(first.number, _OPEN)
        if isinstance(problem, NotUnderstoodError):
            return BadLine(first.number, str(problem))
        longest = csv.field_size_limit()
        if len(first.text) > longest:
            return BadLine(first.number, f"a cell is longer than {longest:,} characters")
        return BadLine(first.number, "a quotation mark ends a cell before its end: write it twice where it is meant")

    def _resembles_order(self, text: str) -> bool:
        cells = _first_cells((text,), self._delimiter)
        if cells is None:  # it may have a stray mark, too, which would end the cell in just the right column
            cells = text.replace('"', "").split(self._delimiter)
        return self._reader is not None and self._reader.resembles(cells)

    def _next(self) -> _Line | None:
        if self._again:
            return self._again.popleft()
        text = self._text.readline(_LONGEST_LINE)
        if not text:
            return None
        self.number += 1
        fault = None
        if len(text) == _LONGEST_LINE and text[-1] not in "\r\n":
            fault = f"it is longer than {_LONGEST_LINE:,} characters"
            while (rest := self._text.readline(_LONGEST_LINE)) and rest[-1] not in "\r\n":
                pass
            text = ""
        elif "\0" in text:
            fault = "it has a NUL character: it is no text, or in UTF-16, which --encoding utf-16 reads"
        elif not text.isascii() and _NOT_DECODED.search(text):
            fault = not_decoded(self._encoding)
        return _Line(self.number, text, fault)


def _first_cells(lines: Iterable[str], delimiter: str) -> list[str] | None:
    """Return the cells of the record that lines begin with; ``None``: it does not end well."""
    try:
        return next(csv.reader(lines, strict=True, skipinitialspace=True, delimiter=delimiter))
    except csv.Error:
        return None


def not_decoded(encoding: str) -> str:
    """Return what is wrong with bytes that ``encoding`` does not know."""
    return f"it is not {encoding}: save the file as UTF-8, or say what it is, such as --encoding cp1252"
