"""The first pass over the orders: whether all of it makes sense, which invoices there are, and where each of their orders ends."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import attrs

from inventory_es.cli.replay.invoices import Invoices
from inventory_es.cli.replay.order_lines import BadLine
from inventory_es.cli.replay.sources import OrdersError, OrderSource
from inventory_es.domain.identifiers import InventoryId


@attrs.frozen
class Survey:
    """What must be known before the first order is taken. Its size depends on orders and products, not on lines.

    Attributes:
        rows: lines that were understood.
        invoices: what these lines make up.
        first_moved: by inventory, when the file first moves it.
        descriptions: by inventory, its product's name for people, where there is one.
        bad_lines: lines that were not understood.
    """

    rows: int
    invoices: Invoices
    first_moved: Mapping[InventoryId, datetime]
    descriptions: Mapping[InventoryId, str]
    bad_lines: Sequence[BadLine]


def survey(source: OrderSource, *, skip_bad: bool) -> Survey:
    """Go through all lines once.

    Args:
        source: the orders.
        skip_bad: whether to leave out lines that make no sense, instead of stopping at the first one.

    Raises:
        OrdersError: a line makes no sense, or time runs backwards.
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
