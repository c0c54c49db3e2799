"""What happens, in the order in which it happens: whole orders, single returns and write-offs."""

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from enum import Enum

import attrs

from inventory_es.cli.replay.order_lines import BadLine, OrderLine
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
    """

    kind: StepKind
    lines: list[OrderLine]

    @property
    def row(self) -> int:
        """The row of its first line: where it stands among the other steps."""
        return self.lines[0].row

    @property
    def at(self) -> datetime:
        """Its time: that of its first line."""
        return self.lines[0].at

    @property
    def invoice(self) -> str:
        """The number of its invoice."""
        return self.lines[0].invoice

    def inventory_ids(self) -> Collection[InventoryId]:
        """The inventories that it moves, each once."""
        return dict.fromkeys(line.inventory_id for line in self.lines if line.quantity)

    def wanted(self) -> dict[InventoryId, int]:
        """Units that it takes away, by inventory."""
        wanted: dict[InventoryId, int] = {}
        if self.kind in {StepKind.ORDER, StepKind.WRITE_OFF}:
            for line in self.lines:
                wanted[line.inventory_id] = wanted.get(line.inventory_id, 0) + abs(line.quantity)
        return wanted


def steps(lines: Iterable[OrderLine | BadLine], last_rows: Mapping[str, int]) -> Iterator[Step]:
    """The steps that the lines make. An order stands where its first line stands, however far its others are.

    Lines are kept no longer than until the orders that began before them are complete.

    Args:
        lines: in their order; bad ones are passed over.
        last_rows: by invoice, the last row of its order.
    """
    waiting: deque[Step] = deque()
    incomplete: dict[str, Step] = {}
    for line in lines:
        if isinstance(line, BadLine):
            continue
        if line.quantity <= 0:
            waiting.append(Step(_kind(line), [line]))
        elif line.invoice in incomplete:
            incomplete[line.invoice].lines.append(line)
        else:
            incomplete[line.invoice] = order = Step(StepKind.ORDER, [line])
            waiting.append(order)
        if line.quantity > 0 and line.row == last_rows[line.invoice]:
            del incomplete[line.invoice]
        while waiting and (waiting[0].kind is not StepKind.ORDER or waiting[0].invoice not in incomplete):
            yield waiting.popleft()


def _kind(line: OrderLine) -> StepKind:
    if line.quantity == 0:
        return StepKind.NOTHING
    return StepKind.RETURN if line.is_return else StepKind.WRITE_OFF
