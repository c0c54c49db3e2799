"""What happens, in the order in which it happens: whole orders, single returns and write-offs."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from enum import Enum

import attrs

from inventory_es.cli.replay.invoices import Invoice, Invoices
from inventory_es.cli.replay.order_lines import BadLine, OrderLine
from inventory_es.cli.replay.sources import OrdersError, OrderSource
from inventory_es.domain.identifiers import InventoryId


class StepKind(Enum):
    """What a step does."""

    ORDER = "order"
    RETURN = "return"
    WRITE_OFF = "write-off"
    NOTHING = "nothing"


@attrs.frozen
class Step:
    """Lines that are taken together or not at all.

    Attributes:
        kind: what is done with them.
        lines: one or more; several only for an order.
        invoice: what they belong to; ``None`` for a line that moves nothing.
    """

    kind: StepKind
    lines: list[OrderLine]
    invoice: Invoice | None

    @property
    def row(self) -> int:
        """The row of its first line: where it stands among the other steps."""
        return self.lines[0].row

    @property
    def at(self) -> datetime:
        """Its time: that of its first line."""
        return self.lines[0].at

    @property
    def is_in(self) -> bool:
        """True if the store has it already, from another file."""
        return self.invoice is not None and self.invoice.is_in

    @property
    def is_first(self) -> bool:
        """True if no other step of its invoice comes before it."""
        return self.invoice is not None and self.lines[0].number == self.invoice.line

    @property
    def is_last(self) -> bool:
        """True if no other step of its invoice comes after it."""
        return self.invoice is not None and self.row == self.invoice.last_step

    @property
    def name(self) -> str:
        """The start of the ids of its commands."""
        first = self.lines[0]
        name = first.invoice if self.invoice is None else self.invoice.name
        return name if self.kind is StepKind.ORDER else f"{name}/{first.nth}"

    def inventory_ids(self) -> Collection[InventoryId]:
        """The inventories that it moves, each once; none where it is in already."""
        return () if self.is_in else dict.fromkeys(line.inventory_id for line in self.lines if line.quantity)

    def wanted(self) -> Mapping[InventoryId, int]:
        """Units that it takes away, by inventory; none where it is in already."""
        wanted: dict[InventoryId, int] = {}
        if self.kind in {StepKind.ORDER, StepKind.WRITE_OFF} and not self.is_in:
            for line in self.lines:
                wanted[line.inventory_id] = wanted.get(line.inventory_id, 0) + abs(line.quantity)
        return wanted


def steps(source: OrderSource, invoices: Invoices) -> Iterator[Step]:
    """The steps that the lines make. An order stands where its first line stands, however far its others are.

    Lines are kept no longer than until the orders that began before them are complete.

    Args:
        source: of the lines; bad ones are passed over.
        invoices: what the survey found in them.

    Raises:
        OrdersError: the source is no longer what it was at the survey.
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
    """The error of a source that is not the same in every pass."""
    return OrdersError(f"{source.name} changed while it was read: start again")


def _kind(line: OrderLine) -> StepKind:
    if line.quantity == 0:
        return StepKind.NOTHING
    return StepKind.RETURN if line.is_return else StepKind.WRITE_OFF
