"""Stock levels: one row per product and store, read by either."""

from collections.abc import Iterator

import attrs

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.projections.rows import AsOf, RowTable, inventory_projection, stamp
from inventory_es.domain.events import Event
from inventory_es.ports.read_model import Change


@attrs.frozen(kw_only=True)
class StockRow(AsOf):
    """The balance of one inventory. ``available`` is on hand less reserved; a due reservation counts until it is expired."""

    on_hand: int
    reserved: int
    available: int


LEVELS = RowTable("levels", StockRow, key=("product_id", "store_id"), indexes=(("store_id",),))


def stock_levels(*, version: int = 1) -> Projection:
    """Return the projection of the newest balance of every inventory."""
    return inventory_projection("stock_levels", version, _apply, LEVELS, newest_only=True, same_in_every_version=True)


def _apply(event: Event, envelope: Envelope) -> Iterator[Change]:
    yield LEVELS.put(
        {
            "product_id": event.product_id,
            "store_id": event.store_id,
            "on_hand": event.on_hand,
            "reserved": event.reserved,
            "available": event.on_hand - event.reserved,
            **stamp(envelope),
        }
    )
