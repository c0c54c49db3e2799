"""Order lines: the cells of one line, read strictly or refused with a reason.

A cell is read in every form that can mean one thing alone; each other form is refused.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Literal, NamedTuple

import attrs

from inventory_es.domain.errors import InvalidIdentifierError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.quantity import MAX_QUANTITY

DateOrder = Literal["day-first", "month-first"]
"""The order of the two numbers in front of a year."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,16}")
_DECIMALS = re.compile(r"([+-]?[0-9]{1,16})[.,]([0-9]+)")
_GROUPED = re.compile(r"([+-]?[0-9]{1,3}(?:([,.' \u00a0\u2019\u202f])[0-9]{3})(?:\2[0-9]{3})*)(?:([.,])0+)?")
_MONTHS = 12
_NOON = 12
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?\s*(?P<half>[AaPp][Mm])?"
_ZONE = r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
_YEAR_FIRST = re.compile(
    rf"(?P<year>\d{{4}})(?P<mark>[-/.])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}})(?:,?\s+|T){_TIME}{_ZONE}", re.ASCII
)
_YEAR_LAST = re.compile(rf"(?P<one>\d{{1,2}})(?P<mark>[-/.])(?P<two>\d{{1,2}})(?P=mark)(?P<year>\d+)(?:,?\s+|T){_TIME}{_ZONE}", re.ASCII)
_DATE_ALONE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}", re.ASCII)
_LONG_ENOUGH = len("2010-12-01 08:26:00")
_YEAR_DIGITS = 4


class NotUnderstoodError(ValueError):
    """A line can't be an order line. The text gives the reason."""


def units(text: str) -> int:
    """Return the whole number that a cell gives.

    Raises:
        NotUnderstoodError: the cell is no whole number, or may mean two numbers.
    """
    if _WHOLE.fullmatch(text) is None:
        return _unusual(text.strip().replace("\u2212", "-"))
    return _checked(int(text))


def _unusual(text: str) -> int:
    if _WHOLE.fullmatch(text) is not None:
        return _checked(int(text))
    grouped = _GROUPED.fullmatch(text)
    if grouped is not None:
        whole, mark, point = grouped.groups()
        if mark in ",." and point is None and whole.count(mark) == 1:
            msg = "Quantity may be thousands or have decimals: write 1000 or 1, and no mark between its digits"
            raise NotUnderstoodError(msg)
        if mark != point:
            return _checked(int(whole.replace(mark, "")))
    decimals = _DECIMALS.fullmatch(text)
    if decimals is not None:
        if set(decimals[2]) == {"0"}:
            return _checked(int(decimals[1]))
        msg = "Quantity must be a whole number, and has a fraction"
        raise NotUnderstoodError(msg)
    raise _no_quantity()


def _checked(number: int) -> int:
    if abs(number) > MAX_QUANTITY:
        raise _no_quantity()
    return number


def _no_quantity() -> NotUnderstoodError:
    return NotUnderstoodError(f"Quantity must be a whole number of at most {MAX_QUANTITY}, such as 6 or -1")


def instant(text: str, order: DateOrder | None) -> datetime:
    """Return the time that a cell gives, in UTC. A cell without a zone is UTC.

    Args:
        text: the cell.
        order: the order of day and month where the year comes last; ``None``: not known.

    Raises:
        NotUnderstoodError: the cell is no time, or may mean two times.
    """
    text = text.strip()
    at = _iso(text)
    if at is not None:
        return at
    found = _YEAR_FIRST.fullmatch(text)
    if found is not None:
        return _made(found, int(found["month"]), int(found["day"]))
    found = _YEAR_LAST.fullmatch(text)
    if found is not None:
        return _year_last(found, order)
    if _DATE_ALONE.fullmatch(text):
        msg = "InvoiceDate has no time of day: it must look like 2010-12-01 08:26:00"
        raise NotUnderstoodError(msg)
    raise _no_time()


def _iso(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text) if len(text) >= _LONG_ENOUGH else None
    except ValueError:
        return None
    return None if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def _year_last(found: re.Match[str], order: DateOrder | None) -> datetime:
    one, two = int(found["one"]), int(found["two"])
    if len(found["year"]) != _YEAR_DIGITS:
        msg = "InvoiceDate needs a year of four digits"
        raise NotUnderstoodError(msg)
    if order is None and one != two and max(one, two) <= _MONTHS:
        msg = "InvoiceDate may have its day or its month first: say which, by --dates day-first or --dates month-first"
        raise NotUnderstoodError(msg)
    is_day_first = one > _MONTHS if order is None else order == "day-first"
    return _made(found, *((two, one) if is_day_first else (one, two)))


def _made(found: re.Match[str], month: int, day: int) -> datetime:
    hour, half = int(found["hour"]), found["half"]
    if half is not None:
        if not 1 <= hour <= _NOON:
            raise _no_time()
        hour = hour % _NOON + (_NOON if half in {"PM", "pm", "Pm", "pM"} else 0)
    fraction = int((found["fraction"] or "").ljust(6, "0")[:6])
    try:
        at = datetime(int(found["year"]), month, day, hour, int(found["minute"]), int(found["second"] or 0), fraction, _zone(found["zone"]))
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _no_time() from None


def _zone(text: str | None) -> timezone:
    if text is None or text in {"Z", "UTC", "GMT"}:
        return UTC
    away = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(away if text.startswith("+") else -away)


def _no_time() -> NotUnderstoodError:
    return NotUnderstoodError("InvoiceDate must look like 2010-12-01 08:26:00")


STORE = "main"
"""The default store of the lines of an orders file."""

COLUMNS = ("InvoiceNo", "StockCode", "Quantity", "InvoiceDate")
"""The required columns."""

DESCRIPTION = "Description"
"""The optional column with the product's name for people."""

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
    """An order line.

    Attributes:
        number: the number of the line in the file; the header is line 1.
        row: the number of the line among the order lines of the file, from 1.
        nth: the number of the line among those of its invoice, from 1.
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
        """True if the invoice is a cancellation, so that units came back."""
        return self.invoice.startswith("C")


class BadLine(NamedTuple):
    """A line that is no order line.

    Attributes:
        number: the number of the line in the file; the header is line 1.
        reason: what is wrong with the line.
    """

    number: int
    reason: str


@attrs.frozen(kw_only=True)
class Reading:
    """Settings for reading a file.

    Attributes:
        store_id: the store of all lines.
        dates: the order of day and month where the year comes last; ``None``: not known.
        columns: the name of each renamed column in the file, by its standard name.
        encoding: the encoding of a file without a byte order mark.
    """

    store_id: str = STORE
    dates: DateOrder | None = None
    columns: Mapping[str, str] = attrs.field(factory=dict[str, str])
    encoding: str = "utf-8"


class LineReader:
    """A reader of order lines from cells, which counts rows and lines per invoice.

    Args:
        header: the names of the columns, in order.
        reading: the settings.

    Raises:
        NotUnderstoodError: a required column is missing, or two columns may be meant.
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
        """Return the order line that these cells make, at line ``number`` of the file.

        Raises:
            NotUnderstoodError: the cells make no order line.
        """
        invoice, inventory_id, quantity, at = self._understand(cells)
        self._row += 1
        nth = self._nth[invoice] = self._nth.get(invoice, 0) + 1
        description = "" if self._description is None else cells[self._description]
        return OrderLine(number, self._row, nth, invoice, inventory_id, quantity, at, description)

    def has_width(self, cells: Sequence[str]) -> bool:
        """Return True if there are as many cells as columns. Empty cells after the last column don't count."""
        return len(cells) == self._width or (len(cells) > self._width and not any(cell.strip() for cell in cells[self._width :]))

    def resembles(self, cells: Sequence[str]) -> bool:
        """Return True if the cells are as many as those of an order line, with a quantity or a time in its place."""
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
    """Return the place of a column, found by its name or by a synonym."""
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
