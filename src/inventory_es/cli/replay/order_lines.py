"""One line of an orders file: read strictly, or refused with its reason."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.quantity import MAX_QUANTITY
from inventory_es.domain.rejections import InvalidIdentifierError

STORE = "main"
"""The store that every line of an orders file belongs to."""

COLUMNS = ("InvoiceNo", "StockCode", "Quantity", "InvoiceDate")
"""The columns that must be there."""

DESCRIPTION = "Description"
"""The column that may be there, for people."""

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,16}")
_MAX_INVOICE_LENGTH = 96


class OrderLine(NamedTuple):
    """A line that was understood.

    Attributes:
        number: of the line in the file, from 1; the header is line 1.
        row: counts the understood lines of the file, from 1.
        nth: counts those of its invoice, from 1.
        invoice: the invoice's number.
        inventory_id: the product, in the store ``main``.
        quantity: units; above zero a sale, below zero a return or a write-off.
        at: the invoice's date, read as UTC.
        description: the product's name for people; may be empty.
    """

    number: int
    row: int
    nth: int
    invoice: str
    inventory_id: InventoryId
    quantity: int
    at: datetime
    description: str

    @property
    def is_return(self) -> bool:
        """Whether the invoice is a cancellation, so that units came back."""
        return self.invoice.startswith("C")


class BadLine(NamedTuple):
    """A line that was not understood.

    Attributes:
        number: of the line in the file, from 1; the header is line 1.
        reason: what is wrong with it.
    """

    number: int
    reason: str


class NotUnderstoodError(ValueError):
    """A line can't be an order line; the text says why."""


class LineReader:
    """Makes order lines of cells, counting as it goes.

    Args:
        header: the names of the columns, in order.

    Raises:
        NotUnderstoodError: a needed column is missing, or stands there twice.
    """

    def __init__(self, header: Sequence[str]) -> None:
        names = [name.strip() for name in header]
        for needed in COLUMNS:
            if names.count(needed) != 1:
                problem = "twice" if needed in names else "missing"
                msg = f"column {needed} is {problem}: an orders file has {', '.join(COLUMNS)}"
                raise NotUnderstoodError(msg)
        self._width = len(names)
        self._places = tuple(names.index(needed) for needed in COLUMNS)
        self._description = names.index(DESCRIPTION) if DESCRIPTION in names else None
        self._row = 0
        self._nth: dict[str, int] = {}

    def read(self, number: int, cells: Sequence[str]) -> OrderLine:
        """The line that these cells are, at line ``number`` of the file.

        Raises:
            NotUnderstoodError: they are none.
        """
        if len(cells) != self._width:
            msg = f"it has {len(cells)} cells where the header has {self._width}"
            raise NotUnderstoodError(msg)
        invoice, product, quantity, date = (cells[place] for place in self._places)
        invoice = _invoice(invoice)
        inventory_id = _inventory_id(product.strip())
        units = _units(quantity)
        at = _instant(date)
        if units > 0 and invoice.startswith("C"):
            msg = "it is of a cancellation (C…), and its Quantity is above zero"
            raise NotUnderstoodError(msg)
        self._row += 1
        nth = self._nth[invoice] = self._nth.get(invoice, 0) + 1
        description = "" if self._description is None else cells[self._description]
        return OrderLine(number, self._row, nth, invoice, inventory_id, units, at, description)


def _invoice(text: str) -> str:
    invoice = text.strip()
    if not 0 < len(invoice) <= _MAX_INVOICE_LENGTH or not invoice.isprintable():
        msg = f"InvoiceNo must be a printable text of 1 to {_MAX_INVOICE_LENGTH} characters"
        raise NotUnderstoodError(msg)
    return invoice


@lru_cache(maxsize=8_192)
def _inventory_id(product: str) -> InventoryId:
    try:
        return InventoryId(product, STORE)
    except InvalidIdentifierError as problem:
        msg = f"StockCode {problem.problem}"
        raise NotUnderstoodError(msg) from None


def _units(text: str) -> int:
    if _WHOLE_NUMBER.fullmatch(text) is None or abs(int(text)) > MAX_QUANTITY:
        msg = f"Quantity must be a whole number of at most {MAX_QUANTITY}, such as 6 or -1"
        raise NotUnderstoodError(msg)
    return int(text)


@lru_cache(maxsize=64)
def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is not None or len(text) < len("2010-12-01 08:26:00"):
        msg = "InvoiceDate must look like 2010-12-01 08:26:00"
        raise NotUnderstoodError(msg)
    return at.replace(tzinfo=UTC)
