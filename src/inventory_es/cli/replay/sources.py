"""Where order lines come from: a CSV file, plain or compressed."""

import csv
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import IO, Protocol, cast

from inventory_es.cli.replay.order_lines import BadLine, LineReader, NotUnderstoodError, OrderLine

_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 16


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
    """A CSV file in UTF-8 with a header, perhaps compressed by gzip (told by its first bytes, not by its name).

    Args:
        path: where it is.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._path = Path(path)

    @property
    def name(self) -> str:
        """The path as given."""
        return str(self._path)

    def digest(self) -> str:
        """Of the uncompressed content, so that it is the same file compressed or not.

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
        return digest.hexdigest()[:20]

    def lines(self) -> Iterator[OrderLine | BadLine]:
        """See :meth:`OrderSource.lines`. Blank lines are passed over."""
        with self._open() as file:
            texts = _Texts(file)
            table = csv.reader(texts, strict=True)
            reader: LineReader | None = None
            while True:
                number = texts.count + 1
                try:
                    cells = next(table)
                    if reader is None:
                        reader = LineReader(cells)
                    elif cells:
                        yield reader.read(number, cells)
                except StopIteration:
                    break
                except (csv.Error, UnicodeDecodeError, NotUnderstoodError) as problem:
                    reason = "it is not UTF-8" if isinstance(problem, UnicodeDecodeError) else str(problem)
                    if reader is None:
                        msg = f"{self.name}:{number}: {reason}"
                        raise OrdersError(msg) from None
                    yield BadLine(number, reason)
                except (OSError, EOFError, zlib.error) as problem:
                    raise self._unreadable(problem, number) from problem
            if reader is None:
                msg = f"{self.name} is empty: an orders file begins with the names of its columns"
                raise OrdersError(msg)

    def _open(self) -> IO[bytes]:
        try:
            with self._path.open("rb") as file:
                is_compressed = file.read(len(_GZIP)) == _GZIP
            return cast(IO[bytes], gzip.open(self._path, "rb")) if is_compressed else self._path.open("rb")
        except OSError as problem:
            raise self._unreadable(problem) from problem

    def _unreadable(self, problem: Exception, number: int | None = None) -> OrdersError:
        place = self.name if number is None else f"{self.name}:{number}"
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else "the compressed data is damaged or cut off"
        return OrdersError(f"{place}: {reason}")


class _Texts:
    """Lines as text, counted. One that is not UTF-8 raises, and the next call goes on after it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._encoding = "utf-8-sig"
        self.count = 0

    def __iter__(self) -> "_Texts":
        return self

    def __next__(self) -> str:
        line = next(self._file)
        self.count += 1
        encoding, self._encoding = self._encoding, "utf-8"
        return line.decode(encoding)
