"""Orders files: CSV, plain or compressed by gzip.

Each line of the text is in exactly one record, is blank, or is reported as bad.

A quotation mark at the start of a cell takes in all lines up to the next one. So a stray mark would swallow orders silently. A cell over
several lines is accepted if its record has as many cells as the header and no further line looks like an order.
Otherwise the line with the quotation mark is bad, and reading goes on with the next line.
"""

import codecs
import csv
import gzip
import hashlib
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedReader, TextIOWrapper
from os import PathLike
from pathlib import Path
from typing import NamedTuple, Protocol, Self, TextIO

import attrs

from inventory_es.cli.replay.order_lines import BadLine, LineReader, NotUnderstoodError, OrderLine, Reading
from inventory_es.domain.identifiers import InventoryId

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
        text: the text, with its line ends unchanged, and bytes that could not be decoded as lone surrogates.
        encoding: the name of its encoding, for people.

    Attributes:
        number: the number of the last line that was read.
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
        """Read the header, and detect the delimiter of cells.

        Returns:
            The reader of the records after the header; ``None``: every line is blank.

        Raises:
            NotUnderstoodError: a required column is missing, or the file is no text.
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
        """Yield the records after the header, without blank ones."""
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
        """Return the iterator that the CSV reader takes lines from."""
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
        """Report the first line that was taken as bad, and put the others back."""
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
    """Return the cells of the first record; ``None`` if it is malformed."""
    try:
        return next(csv.reader(lines, strict=True, skipinitialspace=True, delimiter=delimiter))
    except csv.Error:
        return None


def not_decoded(encoding: str) -> str:
    """Return the message for bytes that are not valid in ``encoding``."""
    return f"it is not {encoding}: save the file as UTF-8, or say what it is, such as --encoding cp1252"


_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_BLOCK = 1 << 16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


class OrdersError(ValueError):
    """The orders can't be taken as they are. The text gives the place, the problem and the way out."""


class OrderSource(Protocol):
    """Order lines that can be read any number of times, always the same."""

    @property
    def name(self) -> str:
        """The name of the source in messages, in front of line numbers."""
        ...

    def digest(self) -> str:
        """Return 20 hexadecimal digits that depend on the whole content and nothing else."""
        ...

    def lines(self) -> Iterator[OrderLine | BadLine]:
        """Yield every line, in order.

        Raises:
            OrdersError: the source can't be read further.
        """
        ...


class OrdersFile:
    """A CSV file with a header. Compression by gzip is detected by the first bytes, not by the name.

    Args:
        path: the path of the file.
        reading: the settings.

    Raises:
        InvalidIdentifierError: the store's id is invalid.
        LookupError: there is no such encoding.
    """

    def __init__(self, path: str | PathLike[str], reading: Reading | None = None) -> None:
        self._path = Path(path)
        self._reading = reading or Reading()
        InventoryId("any", self._reading.store_id)
        "".encode(self._reading.encoding)

    @property
    def name(self) -> str:
        """The path as given."""
        return str(self._path)

    def digest(self) -> str:
        """Return the digest of the uncompressed content, and of settings that differ from the defaults.

        Raises:
            OrdersError: the file can't be read.
        """
        digest = hashlib.sha256()
        with self._open() as file:
            try:
                while block := file.read(_BLOCK):
                    digest.update(block)
            except (OSError, EOFError, zlib.error) as problem:
                raise self._unreadable(problem) from problem
        if self._reading != Reading():
            settings = attrs.evolve(self._reading, columns=dict(sorted(self._reading.columns.items())))
            digest.update(repr(settings).encode())
        return digest.hexdigest()[:20]

    def lines(self) -> Iterator[OrderLine | BadLine]:
        """Yield every line but blank ones; see :meth:`OrderSource.lines`."""
        with self._open() as file:
            encoding, name = self._encoding(file)
            records = Records(TextIOWrapper(file, encoding, errors="surrogateescape", newline=""), name)
            try:
                reader = records.read_header(self._reading)
                if reader is None:
                    msg = f"{self.name} is empty: an orders file begins with the names of its columns"
                    raise OrdersError(msg)
                yield from records.lines(reader)
            except NotUnderstoodError as problem:
                msg = f"{self.name}:{max(records.number, 1)}: {problem}"
                raise OrdersError(msg) from None
            except UnicodeError:
                msg = f"{self.name}:{records.number + 1}: {not_decoded(name)}"
                raise OrdersError(msg) from None
            except (OSError, EOFError, zlib.error) as problem:
                raise self._unreadable(problem, records.number + 1) from problem

    def _open(self) -> BufferedReader:
        try:
            with self._path.open("rb") as file:
                is_compressed = file.read(len(_GZIP)) == _GZIP
            return BufferedReader(gzip.open(self._path, "rb")) if is_compressed else self._path.open("rb")
        except OSError as problem:
            raise self._unreadable(problem) from problem

    def _encoding(self, file: BufferedReader) -> tuple[str, str]:
        """Return the encoding and its name for people, from the byte order mark or else from the settings."""
        try:
            start = file.peek(4)
        except (OSError, EOFError, zlib.error) as problem:
            raise self._unreadable(problem, 1) from problem
        if start.startswith(_ZIP):
            msg = f"{self.name} is a spreadsheet or an archive: save it as CSV"
            raise OrdersError(msg)
        for mark, encoding, name in _MARKS:
            if start.startswith(mark):
                return encoding, name
        return self._reading.encoding, self._reading.encoding.upper()

    def _unreadable(self, problem: Exception, number: int | None = None) -> OrdersError:
        place = self.name if number is None else f"{self.name}:{number}"
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else "the compressed data is damaged or cut off"
        return OrdersError(f"{place}: {reason}")
