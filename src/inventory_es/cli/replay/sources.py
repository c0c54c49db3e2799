"""Where order lines come from: a CSV file, plain or compressed."""

import codecs
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from io import BufferedReader, TextIOWrapper
from os import PathLike
from pathlib import Path
from typing import Protocol

import attrs

from inventory_es.cli.replay.cells import NotUnderstoodError
from inventory_es.cli.replay.order_lines import BadLine, OrderLine, Reading
from inventory_es.cli.replay.records import Records, not_decoded
from inventory_es.domain.identifiers import InventoryId

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
    """The orders can't be taken as they are. The text says where, what, and what to do."""


class OrderSource(Protocol):
    """Order lines that can be gone through any number of times, always the same."""

    @property
    def name(self) -> str:
        """What to call it, in front of line numbers."""
        ...

    def digest(self) -> str:
        """20 hexadecimal digits that depend on all of its content and nothing else."""
        ...

    def lines(self) -> Iterator[OrderLine | BadLine]:
        """Every line, in order.

        Raises:
            OrdersError: there is no way to go on.
        """
        ...


class OrdersFile:
    """A CSV file with a header, perhaps compressed by gzip (told by its first bytes, not by its name).

    Args:
        path: where it is.
        reading: the settings with which to read it.

    Raises:
        InvalidIdentifierError: no store can have that id.
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
        """Return the digest of the uncompressed content, and of settings that are not the usual ones.

        So it is the same file compressed or not.

        Raises:
            OrdersError: it can't be read.
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
        """See :meth:`OrderSource.lines`. Blank lines are passed over."""
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
        """Return the encoding, and its name for people: that of the mark at the start, or else that of the settings."""
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
