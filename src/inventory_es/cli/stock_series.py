"""The stock of one inventory over time."""

from collections.abc import AsyncIterator
from datetime import datetime

import attrs

from inventory_es.application.projections.ledger import MovementRow


@attrs.frozen
class StockPoint:
    """The balance from an instant on.

    Attributes:
        at: the instant, UTC.
        on_hand: units there.
        reserved: units promised.
    """

    at: datetime
    on_hand: int
    reserved: int

    @property
    def available(self) -> int:
        """Units free to promise, what is due for expiry aside."""
        return self.on_hand - self.reserved


async def stock_series(movements: AsyncIterator[MovementRow], *, since: datetime | None, until: datetime | None) -> list[StockPoint]:
    """The balance after each instant at which something moved, oldest first.

    Args:
        movements: oldest first.
        since: where to begin, with the balance that held then; ``None``: with the first movement.
        until: where to end, with the balance that held then; ``None``: with the last movement.

    Returns:
        No points where nothing had moved until then.
    """
    points: list[StockPoint] = []
    async for row in movements:
        if until is not None and row.recorded_at > until:
            break
        at = row.recorded_at if since is None else max(since, row.recorded_at)
        if points and points[-1].at == at:
            points.pop()
        points.append(StockPoint(at, row.on_hand, row.reserved))
    if points and until is not None and points[-1].at < until:
        points.append(attrs.evolve(points[-1], at=until))
    return points
