"""What a replay has done so far, in numbers."""

from typing import Self

import attrs


@attrs.frozen(kw_only=True)
class Totals:
    """Counts over the file, from its first line up to some step.

    Attributes:
        rows: lines that were understood.
        orders: invoices with sales, refused ones among them.
        orders_refused: those that could not be covered; nothing of them was written.
        adjustments: lines that write units off, refused ones among them.
        adjustments_refused: those that would have left less than nothing.
        returns: lines that bring units back.
        units_sold: units that left with orders.
        units_returned: units that came back.
        units_written_off: units that adjustments took away.
        units_received: units that came in because something lacked.
        units_opening: units that inventories were opened with.
        events: events in inventories.
        invoices_in_before: invoices that the store had already, from another file; nothing else of them is counted but their lines.
    """

    rows: int = 0
    orders: int = 0
    orders_refused: int = 0
    adjustments: int = 0
    adjustments_refused: int = 0
    returns: int = 0
    units_sold: int = 0
    units_returned: int = 0
    units_written_off: int = 0
    units_received: int = 0
    units_opening: int = 0
    events: int = 0
    invoices_in_before: int = 0

    def __add__(self, other: "Totals") -> Self:
        """Both together."""
        mine, others = attrs.astuple(self), attrs.astuple(other)
        return type(self)(**{field.name: a + b for field, a, b in zip(attrs.fields(Totals), mine, others, strict=True)})
