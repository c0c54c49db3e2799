"""What a replay through orders has done so far, in numbers."""

from typing import Self

import attrs

from inventory_es.cli.replay.totals import Totals


@attrs.frozen(kw_only=True)
class ProcessTotals(Totals):
    """As :class:`~inventory_es.cli.replay.totals.Totals`, and what became of what was ordered.

    Attributes:
        orders_expired: orders that nobody paid in time.
        orders_done: orders of which everything has left.
        units_ordered: units of all orders.
        units_expired: units that were given back since nobody paid in time.
        units_refused: units of orders that could not be covered.
    """

    orders_expired: int = 0
    orders_done: int = 0
    units_ordered: int = 0
    units_expired: int = 0
    units_refused: int = 0

    def __add__(self, other: Totals) -> Self:
        """Both together."""
        more = attrs.asdict(other)
        return type(self)(**{name: value + more.get(name, 0) for name, value in attrs.asdict(self).items()})
