"""Low stock: what is low now, and every crossing of a threshold, once each, however often stock moves below it."""

from collections.abc import Callable, Iterator, Sequence

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
from inventory_es.application.projections.movement import movement_of
from inventory_es.domain.errors import HostFunctionError
from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.ports.read_model import Change, Delete, Patch, ProjectionId, Put, Table, Value, to_text

_LEVEL = {"product_id": str, "store_id": str, "available": int, "threshold": int, "version": int, "position": int, "recorded_at": str}

LOW = Table("low", _LEVEL | {"since": str}, ("product_id", "store_id"), (("store_id",), ("since",)))
"""What is low now, and since when."""

CROSSINGS = Table("crossings", _LEVEL | {"direction": str}, ("position",), (("product_id", "store_id"),))
"""Every crossing: ``low`` or ``recovered``."""


def low_stock(threshold: Callable[[str], int], *, version: int = 1) -> Projection:
    """Inventories with no more available than the threshold of their product, and the moments at which they became so, or recovered.

    A crossing is between two instants: what a command, or an ``execute_all``, passes through on its way is none.
    An inventory that never had stock is not low; its first event may leave it so.

    Args:
        threshold: by product id, 0 or more; pure. When it gives other numbers, raise the version.
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
        at = to_text(envelope.recorded_at)
        seen: dict[str, Value] = {"available": available, "version": envelope.version, "position": envelope.position, "recorded_at": at}
        row: dict[str, Value] = {"product_id": event.product_id, "store_id": event.store_id, "threshold": limit, **seen}
        if available <= limit:
            yield Patch("low", key, seen) if was_low else Put("low", row | {"since": at})
        elif was_low:
            yield Delete("low", key)
        if (available <= limit) != was_low:
            yield Put("crossings", row | {"direction": "recovered" if was_low else "low"})

    return Projection(
        projection_id=ProjectionId("low_stock", version),
        tables=(LOW, CROSSINGS),
        apply=apply,
        wanted=EventFilter(categories={INVENTORY_CATEGORY}),
        by_instant=True,
    )
