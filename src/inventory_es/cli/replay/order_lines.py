"""One line of an orders file: read strictly, or refused with its reason."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

import attrs

from inventory_es.cli.replay.cells import DateOrder, NotUnderstoodError, instant, units
from inventory_es.domain.errors import InvalidIdentifierError
from inventory_es.domain.identifiers import InventoryId

STORE = "main"
"""The store that the lines of an orders file belong to, unless another one is named."""

COLUMNS = ("InvoiceNo", "StockCode", "Quantity", "InvoiceDate")
"""The columns that must be there."""

DESCRIPTION = "Description"
"""The column that may be there, for people."""

_OTHER_NAMES: Mapping[str, frozenset[str]] = {
    "InvoiceNo": frozenset({"invoiceno", "invoice", "invoicenumber", "invoiceid", "order", "orderno", "ordernumber", "orderid"}),
    "StockCode": frozenset({"stockcode", "sku", "productid", "productcode", "itemcode"}),
    "Quantity": frozenset({"quantity", "qty", "units"}),
    "InvoiceDate": frozenset({"invoicedate", "orderdate", "date", "datetime"}),
    DESCRIPTION: frozenset({"description", "productname"}),
}
_NO_PART_OF_A_NAME = re.compile(r"[\W_]+")
_NUMBER_WITH_DECIMALS = re.compile(r"([0-9]+)\.0")
_MAX_INVOICE_LENGTH = 96


class OrderLine(NamedTuple):
    """A line that was understood.

    Attributes:
        number: of the line in the file, from 1; the header is line 1.
        row: counts the understood lines of the file, from 1.
        nth: counts those of its invoice, from 1.
        invoice: the invoice's number.
        inventory_id: the product and the store.
        quantity: units; above zero a sale, below zero a return or a write-off.
        at: the invoice's date, in UTC.
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


@attrs.frozen(kw_only=True)
class Reading:
    """The settings with which a file is read.

    Attributes:
        store_id: the store that its lines belong to.
        dates: the order of day and month where the year comes last; ``None``: not known.
        columns: names in the file, by the name of the column that they stand for.
        encoding: of a file that has no mark of its own.
    """

    store_id: str = STORE
    dates: DateOrder | None = None
    columns: Mapping[str, str] = attrs.field(factory=dict[str, str])
    encoding: str = "utf-8"


class LineReader:
    """Makes order lines of cells, counting as it goes.

    Args:
        header: the names of the columns, in order.
        reading: the settings.

    Raises:
        NotUnderstoodError: a needed column is missing, or may be two.
    """

    def __init__(self, header: Sequence[str], reading: Reading | None = None) -> None:
        reading = reading or Reading()
        names = [name.strip() for name in header]
        self._width = len(names)
        self._places = tuple(_needed(names, column, reading.columns.get(column)) for column in COLUMNS)
        self._description = _place(names, DESCRIPTION, reading.columns.get(DESCRIPTION))
        self._store_id = reading.store_id
        self._dates = reading.dates
        self._instant = lru_cache(maxsize=64)(self._read_instant)
        self._row = 0
        self._nth: dict[str, int] = {}

    def read(self, number: int, cells: Sequence[str]) -> OrderLine:
        """Return the line that these cells are, at line ``number`` of the file.

        Raises:
            NotUnderstoodError: they are none.
        """
        invoice, inventory_id, quantity, at = self._understand(cells)
        self._row += 1
        nth = self._nth[invoice] = self._nth.get(invoice, 0) + 1
        description = "" if self._description is None else cells[self._description]
        return OrderLine(number, self._row, nth, invoice, inventory_id, quantity, at, description)

    def has_width(self, cells: Sequence[str]) -> bool:
        """Return whether there are as many cells as columns. Empty ones behind them don't count."""
        return len(cells) == self._width or (len(cells) > self._width and not any(cell.strip() for cell in cells[self._width :]))

    def resembles(self, cells: Sequence[str]) -> bool:
        """Return whether these cells are as many as those of an order line, with a quantity or a time where it has one."""
        return self.has_width(cells) and (_is_read(units, cells[self._places[2]]) or _is_read(self._instant, cells[self._places[3]]))

    def _understand(self, cells: Sequence[str]) -> tuple[str, InventoryId, int, datetime]:
        if not self.has_width(cells):
            msg = f"it has {len(cells)} cells where the header has {self._width}"
            raise NotUnderstoodError(msg)
        invoice, product, quantity, date = (cells[place] for place in self._places)
        invoice = _invoice(invoice)
        inventory_id = _inventory_id(product.strip(), self._store_id)
        number = units(quantity)
        at = self._instant(date)
        if number > 0 and invoice.startswith("C"):
            msg = "it is of a cancellation (C…), and its Quantity is above zero"
            raise NotUnderstoodError(msg)
        return invoice, inventory_id, number, at

    def _read_instant(self, text: str) -> datetime:
        return instant(text, self._dates)


def _is_read(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except NotUnderstoodError:
        return False
    return True


def _needed(names: Sequence[str], column: str, given: str | None) -> int:
    place = _place(names, column, given)
    if place is None:
        known = "" if given is not None else f"an orders file has {', '.join(COLUMNS)}; "
        msg = f"column {column if given is None else given} is missing: {known}--column {column}=NAME says that it has another name"
        raise NotUnderstoodError(msg)
    return place


def _place(names: Sequence[str], column: str, given: str | None) -> int | None:
    """Return the place of a column: by its name, or else by one that means the same."""
    exact = [place for place, name in enumerate(names) if name == (given or column)]
    other = [place for place, name in enumerate(names) if _NO_PART_OF_A_NAME.sub("", name).casefold() in _OTHER_NAMES[column]]
    places = exact or ([] if given is not None else other)
    if len(places) > 1:
        which = "is twice" if exact else f"may be {' or '.join(names[place] for place in places)}"
        msg = f"column {given or column} {which}: --column {column}=NAME says which it is"
        raise NotUnderstoodError(msg)
    return places[0] if places else None


def _invoice(text: str) -> str:
    invoice = text.strip()
    if not 0 < len(invoice) <= _MAX_INVOICE_LENGTH or not invoice.isprintable():
        msg = f"InvoiceNo must be a printable text of 1 to {_MAX_INVOICE_LENGTH} characters"
        raise NotUnderstoodError(msg)
    if invoice.endswith(".0"):  # a spreadsheet took it for a number
        number = _NUMBER_WITH_DECIMALS.fullmatch(invoice)
        return invoice if number is None else number[1]
    return invoice


@lru_cache(maxsize=8_192)
def _inventory_id(product: str, store_id: str) -> InventoryId:
    try:
        return InventoryId(product, store_id)
    except InvalidIdentifierError as problem:
        msg = f"StockCode {problem.problem}"
        raise NotUnderstoodError(msg) from None
