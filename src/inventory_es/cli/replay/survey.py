"""The first pass over the orders: whether all of it makes sense, and where each order ends."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import attrs

from inventory_es.cli.replay.order_lines import BadLine
from inventory_es.cli.replay.sources import OrdersError, OrderSource
from inventory_es.domain.identifiers import InventoryId


@attrs.frozen
class Survey:
    """What must be known before the first order is taken. Its size depends on orders and products, not on lines.

    Attributes:
        rows: lines that were understood.
        last_rows: by invoice, the last row of its order.
        first_moved: by inventory, when the file first moves it.
        descriptions: by inventory, its product's name for people, where there is one.
        bad_lines: lines that were not understood.
    """

    rows: int
    last_rows: Mapping[str, int]
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
    order_times: dict[str, datetime] = {}
    last_rows: dict[str, int] = {}
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
        at = line.at
        if line.quantity > 0:
            last_rows[line.invoice] = line.row
            at = order_times.get(line.invoice, at)
        if line.quantity < 0 or (line.quantity > 0 and line.invoice not in order_times):
            if now is not None and at < now:
                msg = (
                    f"{source.name}:{line.number}: its InvoiceDate is before one above: sort the lines by InvoiceDate; nothing was written"
                )
                raise OrdersError(msg)
            now = at
        if line.quantity > 0:
            order_times[line.invoice] = at
        if line.quantity:
            first_moved.setdefault(line.inventory_id, at)
        if line.description and line.inventory_id not in descriptions:
            descriptions[line.inventory_id] = line.description.strip()
    return Survey(rows, last_rows, first_moved, descriptions, bad_lines)
