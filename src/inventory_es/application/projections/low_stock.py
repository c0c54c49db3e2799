"""Low stock: the inventories that are low now, and every crossing of a threshold, once each."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import attrs

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.projections.ledger import movement_of
from inventory_es.application.projections.rows import AsOf, RowTable, inventory_projection, stamp
from inventory_es.domain.errors import HostFunctionError
from inventory_es.domain.events import Event
from inventory_es.ports.read_model import Change, Value


@attrs.frozen(kw_only=True)
class LowStockRow(AsOf):
    """An inventory with no more available than the threshold of its product; ``since`` is when it became low."""

    available: int
    threshold: int
    since: datetime


@attrs.frozen(kw_only=True)
class CrossingRow:
    """A crossing of a threshold; ``direction`` is ``low`` or ``recovered``."""

    product_id: str
    store_id: str
    available: int
    threshold: int
    version: int
    position: int
    recorded_at: datetime
    direction: str


LOW = RowTable("low", LowStockRow, key=("product_id", "store_id"), indexes=(("store_id",), ("since",)))
CROSSINGS = RowTable("crossings", CrossingRow, key=("position",), indexes=(("product_id", "store_id"),))


def low_stock(threshold: Callable[[str], int], *, version: int = 1) -> Projection:
    """Return the projection of inventories with no more available than the threshold of their product, and of every crossing.

    A crossing is between two instants: states in between, inside a command or an ``execute_all``, are no crossings.
    An inventory that never had stock is not low; its first event may make it so.

    Args:
        threshold: by product id, 0 or more; pure. Raise the version when it gives other numbers.
        version: of the rows.
    """

    def apply(events: Sequence[Event], envelope: Envelope) -> Iterator[Change]:
        first, event = events[0], events[-1]
        limit = threshold(event.product_id)
        if type(limit) is not int or limit < 0:
            expected = "it gives a whole number of units, 0 or more"
            raise HostFunctionError.about(role="threshold", function=threshold, answer=limit, expected=expected)
        moved = movement_of(first)
        available = event.on_hand - event.reserved
        is_new = envelope.version == len(events)
        was_low = not is_new and first.on_hand - moved.on_hand - first.reserved + moved.reserved <= limit
        key = (event.product_id, event.store_id)
        seen: dict[str, Value] = {"available": available, **stamp(envelope)}
        row: dict[str, Value] = {"product_id": event.product_id, "store_id": event.store_id, "threshold": limit, **seen}
        if available <= limit:
            yield LOW.patch(key, seen) if was_low else LOW.put(row | {"since": seen["recorded_at"]})
        elif was_low:
            yield LOW.delete(key)
        if (available <= limit) != was_low:
            yield CROSSINGS.put(row | {"direction": "recovered" if was_low else "low"})

    return inventory_projection("low_stock", version, apply, LOW, CROSSINGS, by_instant=True)
