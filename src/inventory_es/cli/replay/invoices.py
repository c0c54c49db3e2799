"""Invoices: all lines of one number within a day, known by what they say and not by where they stand."""

import re
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b

import attrs

from inventory_es.cli.replay.order_lines import STORE, OrderLine

ONE_DAY = timedelta(days=1)
"""Lines of one number that are further apart than this belong to two invoices."""

_ENDS_LIKE_A_DAY = re.compile(r"@[0-9]{8}$")
_SUM_MODULO = 1 << 128
_SHOWN = 3
_SHOWN_WIDTH = 24


@attrs.define(eq=False)
class Invoice:
    """All lines of one number within a day of the first of them, without the lines themselves.

    The content is a sum of hashes, one for each line, so the order of the lines doesn't matter.

    Attributes:
        number: of the invoice.
        store_id: the store that it moves units in.
        line: the number of its first line in the file.
        at: the time of its first line.
        earliest: the earliest time of its lines.
        ordered_at: the time of its order; ``None`` without a line above zero.
        last_row: the last row of its order; 0 without one.
        last_step: the row at which the last of its steps stands.
        last_below: the row of its last line below zero; 0 without one.
        is_in: whether the store has all of it, from another file.
        has_day: whether its name needs its day, since its number was used before or ends like a day.
    """

    number: str
    store_id: str
    line: int
    at: datetime
    earliest: datetime
    ordered_at: datetime | None = None
    last_row: int = 0
    last_step: int = 0
    last_below: int = 0
    is_in: bool = False
    has_day: bool = False
    _sum: int = 0
    _lines: int = 0
    _units: int = 0
    _shown: list[tuple[str, int]] = attrs.field(factory=list[tuple[str, int]])

    @property
    def name(self) -> str:
        """The start of the ids of its commands, which no other invoice has."""
        return f"{self.number}@{self.earliest:%Y%m%d}" if self.has_day else self.number

    @property
    def order_id(self) -> str:
        """The id of its order process. No other invoice has it, so a number with an @ always has the store behind it."""
        return self.name if self.store_id == STORE and "@" not in self.number else f"{self.name}@{self.store_id}"

    @property
    def content(self) -> str:
        """32 hexadecimal digits that depend on its products and units, and not on their order."""
        return f"{self._sum:032x}"

    @property
    def summary(self) -> str:
        """A few of its lines, for people."""
        shown = ", ".join(f"{units} × {product:.{_SHOWN_WIDTH}}" for product, units in self._shown)
        more = f" and {self._lines - _SHOWN} more" if self._lines > _SHOWN else ""
        return f"{shown}{more}, {self._units} units in all"

    def add(self, line: OrderLine) -> None:
        """Add a line, which moves units."""
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
            self.last_below = self.last_step = line.row
        elif self.ordered_at is None:
            self.ordered_at, self.last_row, self.last_step = line.at, line.row, line.row
        else:
            self.last_row = line.row


class Invoices:
    """The invoices of a file, found by number and time."""

    def __init__(self) -> None:
        self._by_number: dict[str, list[Invoice]] = {}

    def __iter__(self) -> Iterator[Invoice]:
        """Every invoice."""
        for invoices in self._by_number.values():
            yield from invoices

    def find(self, number: str, at: datetime) -> Invoice | None:
        """The first invoice of this number that begins within a day of ``at``."""
        invoices = self._by_number.get(number)
        if invoices is None:
            return None
        place = bisect_left(invoices, at - ONE_DAY, key=_at) if len(invoices) > 1 else 0
        if place < len(invoices) and abs(invoices[place].at - at) <= ONE_DAY:
            return invoices[place]
        return None

    def of_number(self, number: str) -> Sequence[Invoice]:
        """Every invoice of this number, in the order of their times."""
        return self._by_number.get(number, ())

    def begin(self, line: OrderLine) -> Invoice:
        """Begin the invoice of a line that belongs to none yet, and not before those of its number."""
        invoice = Invoice(line.invoice, line.inventory_id.store_id, line.number, line.at, line.at)
        invoices = self._by_number.setdefault(line.invoice, [])
        invoice.has_day = bool(invoices) or _ENDS_LIKE_A_DAY.search(line.invoice) is not None
        invoices.append(invoice)
        return invoice


def _at(invoice: Invoice) -> datetime:
    return invoice.at
