"""Stock totals: the sums of all balances, one row per product and one per store."""

from collections.abc import Iterator

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
from inventory_es.application.projections.movement import movement_of
from inventory_es.domain.events import Event
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.ports.read_model import Add, Change, ProjectionId, Table, Value, to_text

_SUMS = {"inventories": int, "on_hand": int, "reserved": int, "available": int, "position": int, "recorded_at": str}

PRODUCTS = Table("products", {"product_id": str, **_SUMS}, ("product_id",))
"""Over all stores. ``inventories`` is how many have ever moved; ``position`` and ``recorded_at`` are of the newest event in the sum."""

STORES = Table("stores", {"store_id": str, **_SUMS}, ("store_id",))
"""Over all products; the columns as those of :data:`PRODUCTS`."""


def stock_totals(*, version: int = 1) -> Projection:
    """How much there is of every product, and in every store."""
    return Projection(
        projection_id=ProjectionId("stock_totals", version),
        tables=(PRODUCTS, STORES),
        apply=_apply,
        wanted=EventFilter(categories={INVENTORY_CATEGORY}),
        same_in_every_version=True,
    )


def _apply(event: Event, envelope: Envelope) -> Iterator[Change]:
    moved = movement_of(event)
    amounts = {
        "inventories": 1 if envelope.version == 1 else 0,
        "on_hand": moved.on_hand,
        "reserved": moved.reserved,
        "available": moved.on_hand - moved.reserved,
    }
    newest: dict[str, Value] = {"position": envelope.position, "recorded_at": to_text(envelope.recorded_at)}
    yield Add("products", (event.product_id,), amounts, newest)
    yield Add("stores", (event.store_id,), amounts, newest)
