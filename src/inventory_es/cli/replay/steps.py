"""Invoices and steps: what the lines of a file make up, in the order in which it happens.

An invoice is all lines of one number within a day, identified by its content and not by its place in the file.
A step is a whole order, a single return or a single write-off.
"""

import re
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from hashlib import blake2b

import attrs

from inventory_es.cli.replay.order_lines import BadLine, OrderLine
from inventory_es.cli.replay.orders_file import OrdersError, OrderSource
from inventory_es.domain.identifiers import InventoryId

ONE_DAY = timedelta(days=1)
"""The longest time between two lines of one invoice. Further apart, one number means two invoices."""

_ENDS_LIKE_A_DAY = re.compile(r"@[0-9]{8}$")
_SUM_MODULO = 1 << 128
_SHOWN = 3
_SHOWN_WIDTH = 24


@attrs.define(eq=False)
class Invoice:
    """All lines of one number within a day of the first, without the lines themselves.

    The content is a sum of hashes, one per line, so the order of the lines doesn't matter.

    Attributes:
        number: the number of the invoice.
        store_id: the store of its lines.
        line: the number of its first line in the file.
        at: the time of its first line.
        earliest: the earliest time of its lines.
        ordered_at: the time of its order; ``None`` without a line above zero.
        last_row: the last row of its order; 0 without one.
        last_step: the row of its last step.
        is_in: True if the store has all of it, from another file.
        has_day: True if its name needs its day, since its number was used before or ends like a day.
    """

    number: str
    store_id: str
    line: int
    at: datetime
    earliest: datetime
    ordered_at: datetime | None = None
    last_row: int = 0
    last_step: int = 0
    is_in: bool = False
    has_day: bool = False
    _sum: int = 0
    _lines: int = 0
    _units: int = 0
    _shown: list[tuple[str, int]] = attrs.field(factory=list[tuple[str, int]])

    @property
    def name(self) -> str:
        """The unique prefix of the ids of its commands."""
        return f"{self.number}@{self.earliest:%Y%m%d}" if self.has_day else self.number

    @property
    def content(self) -> str:
        """32 hexadecimal digits that depend on its products and units, but not on the order of its lines."""
        return f"{self._sum:032x}"

    @property
    def summary(self) -> str:
        """A few of its lines, for people."""
        shown = ", ".join(f"{units} × {product:.{_SHOWN_WIDTH}}" for product, units in self._shown)
        more = f" and {self._lines - _SHOWN} more" if self._lines > _SHOWN else ""
        return f"{shown}{more}, {self._units} units in all"

    def add(self, line: OrderLine) -> None:
        """Add a line that moves units."""
        product, units = line.inventory_id.product_id, line.quantity
        digest = blake2b(f"{units} {product}".encode(), digest_size=16).digest()
        self._sum = (self._sum + int.from_bytes(digest)) % _SUM_MODULO
        self._lines += 1
        self._units += units
        if len(self._shown) < _SHOWN or (product, units) < self._shown[-1]:
            insort(self._shown, (product, units))
            del self._shown[_SHOWN:]
        self.earliest = min(self.earliest, line.at)
        if units < 0:
            self.last_step = line.row
        elif self.ordered_at is None:
            self.ordered_at, self.last_row, self.last_step = line.at, line.row, line.row
        else:
            self.last_row = line.row


class Invoices:
    """The invoices of a file, found by number and time."""

    def __init__(self) -> None:
        self._by_number: dict[str, list[Invoice]] = {}

    def __iter__(self) -> Iterator[Invoice]:
        """Iterate over every invoice."""
        for invoices in self._by_number.values():
            yield from invoices

    def find(self, number: str, at: datetime) -> Invoice | None:
        """Return the first invoice of this number that begins within a day of ``at``."""
        invoices = self._by_number.get(number)
        if invoices is None:
            return None
        place = bisect_left(invoices, at - ONE_DAY, key=_at) if len(invoices) > 1 else 0
        if place < len(invoices) and abs(invoices[place].at - at) <= ONE_DAY:
            return invoices[place]
        return None

    def of_number(self, number: str) -> Sequence[Invoice]:
        """Return every invoice of this number, in the order of their times."""
        return self._by_number.get(number, ())

    def begin(self, line: OrderLine) -> Invoice:
        """Begin an invoice with a line that is later than all invoices of its number."""
        invoice = Invoice(line.invoice, line.inventory_id.store_id, line.number, line.at, line.at)
        invoices = self._by_number.setdefault(line.invoice, [])
        invoice.has_day = bool(invoices) or _ENDS_LIKE_A_DAY.search(line.invoice) is not None
        invoices.append(invoice)
        return invoice


def _at(invoice: Invoice) -> datetime:
    return invoice.at


@attrs.frozen
class Survey:
    """Result of the first pass over a source. Its size depends on orders and products, not on lines.

    Attributes:
        rows: the number of order lines.
        invoices: the invoices of these lines.
        first_moved: the time at which the source first moves each inventory.
        descriptions: the products' names for people, by inventory.
        bad_lines: lines that are no order lines.
    """

    rows: int
    invoices: Invoices
    first_moved: Mapping[InventoryId, datetime]
    descriptions: Mapping[InventoryId, str]
    bad_lines: Sequence[BadLine]


def survey(source: OrderSource, *, skip_bad: bool) -> Survey:
    """Read all lines once, and check them.

    Args:
        source: the orders.
        skip_bad: True to leave out bad lines; otherwise the first one is an error.

    Raises:
        OrdersError: a line is bad, or time runs backwards.
    """
    rows = 0
    invoices = Invoices()
    first_moved: dict[InventoryId, datetime] = {}
    descriptions: dict[InventoryId, str] = {}
    bad_lines: list[BadLine] = []
    now: datetime | None = None
    for line in source.lines():
        if isinstance(line, BadLine):
            if not skip_bad:
                msg = f"{source.name}:{line.number}: {line.reason}; nothing was written"
                raise OrdersError(msg)
            bad_lines.append(line)
            continue
        rows = line.row
        if line.quantity:
            invoice = invoices.find(line.invoice, line.at)
            is_step = invoice is None or line.quantity < 0 or invoice.ordered_at is None
            if is_step:
                if now is not None and line.at < now:
                    msg = (
                        f"{source.name}:{line.number}: its InvoiceDate is before one above: "
                        "sort the lines by InvoiceDate; nothing was written"
                    )
                    raise OrdersError(msg)
                now = line.at
            invoice = invoice or invoices.begin(line)
            invoice.add(line)
            at = line.at if is_step or invoice.ordered_at is None else invoice.ordered_at
            first_moved[line.inventory_id] = min(at, first_moved.get(line.inventory_id, at))
        if line.description and line.inventory_id not in descriptions:
            descriptions[line.inventory_id] = line.description.strip()
    return Survey(rows, invoices, first_moved, descriptions, bad_lines)


class StepKind(Enum):
    """The kind of a step."""

    ORDER = "order"
    RETURN = "return"
    WRITE_OFF = "write-off"
    NOTHING = "nothing"


@attrs.frozen
class Step:
    """Lines that are taken together or not at all.

    Attributes:
        kind: an order, a return, a write-off, or nothing.
        lines: one line or more; only an order has several.
        invoice: their invoice; ``None`` for a line that moves nothing.
    """

    kind: StepKind
    lines: list[OrderLine]
    invoice: Invoice | None

    @property
    def row(self) -> int:
        """The row of its first line, which orders the steps."""
        return self.lines[0].row

    @property
    def at(self) -> datetime:
        """The time of its first line."""
        return self.lines[0].at

    @property
    def is_in(self) -> bool:
        """True if the store has the step already, from another file."""
        return self.invoice is not None and self.invoice.is_in

    @property
    def is_first(self) -> bool:
        """True for the first step of its invoice."""
        return self.invoice is not None and self.lines[0].number == self.invoice.line

    @property
    def is_last(self) -> bool:
        """True for the last step of its invoice."""
        return self.invoice is not None and self.row == self.invoice.last_step

    @property
    def name(self) -> str:
        """The prefix of the ids of its commands."""
        first = self.lines[0]
        name = first.invoice if self.invoice is None else self.invoice.name
        return name if self.kind is StepKind.ORDER else f"{name}/{first.nth}"

    def inventory_ids(self) -> Collection[InventoryId]:
        """Return the inventories that the step moves, each once; none if the store has the step already."""
        return () if self.is_in else dict.fromkeys(line.inventory_id for line in self.lines if line.quantity)

    def wanted(self) -> Mapping[InventoryId, int]:
        """Return the units that the step takes away, by inventory; none if the store has the step already."""
        wanted: dict[InventoryId, int] = {}
        if self.kind in {StepKind.ORDER, StepKind.WRITE_OFF} and not self.is_in:
            for line in self.lines:
                wanted[line.inventory_id] = wanted.get(line.inventory_id, 0) + abs(line.quantity)
        return wanted


def steps(source: OrderSource, invoices: Invoices) -> Iterator[Step]:
    """Yield the steps of a source. An order takes the place of its first line.

    Lines are kept in memory only until the orders that began before them are complete.

    Args:
        source: the lines; bad ones are ignored.
        invoices: the invoices that the survey found.

    Raises:
        OrdersError: the source has changed since the survey.
    """
    waiting: deque[Step] = deque()
    incomplete: dict[Invoice, Step] = {}
    for line in source.lines():
        if isinstance(line, BadLine):
            continue
        invoice = invoices.find(line.invoice, line.at) if line.quantity else None
        if line.quantity and invoice is None:
            raise changed(source)
        if invoice is None or line.quantity < 0:
            waiting.append(Step(_kind(line), [line], invoice))
        elif invoice in incomplete:
            incomplete[invoice].lines.append(line)
        else:
            incomplete[invoice] = order = Step(StepKind.ORDER, [line], invoice)
            waiting.append(order)
        if invoice is not None and line.quantity > 0 and line.row == invoice.last_row:
            del incomplete[invoice]
        while waiting and (waiting[0].kind is not StepKind.ORDER or waiting[0].invoice not in incomplete):
            yield waiting.popleft()
    if waiting:
        raise changed(source)


def changed(source: OrderSource) -> OrdersError:
    """Return the error for a source that differs between two passes."""
    return OrdersError(f"{source.name} changed while it was read: start again")


def _kind(line: OrderLine) -> StepKind:
    if line.quantity == 0:
        return StepKind.NOTHING
    return StepKind.RETURN if line.is_return else StepKind.WRITE_OFF
