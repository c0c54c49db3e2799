"""Stock totals: the sums of all balances, one row per product and one per store."""

from collections.abc import Iterator
from datetime import datetime

import attrs

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.projections.ledger import movement_of
from inventory_es.application.projections.rows import RowTable, inventory_projection
from inventory_es.domain.events import Event
from inventory_es.ports.read_model import Change, Value, to_text


@attrs.frozen(kw_only=True)
class _Sums:
    inventories: int
    on_hand: int
    reserved: int
    available: int
    position: int
    recorded_at: datetime


@attrs.frozen(kw_only=True)
class ProductTotalRow(_Sums):
    """The stock of a product, in all stores, as of the newest event in the sums. ``inventories`` are those that have ever moved."""

    product_id: str


@attrs.frozen(kw_only=True)
class StoreTotalRow(_Sums):
    """The stock of a store, of all products, as of the newest event in the sums."""

    store_id: str


PRODUCTS = RowTable("products", ProductTotalRow, key=("product_id",))
STORES = RowTable("stores", StoreTotalRow, key=("store_id",))


def stock_totals(*, version: int = 1) -> Projection:
    """Return the projection of the stock of every product, and of every store."""
    return inventory_projection("stock_totals", version, _apply, PRODUCTS, STORES, same_in_every_version=True)


def _apply(event: Event, envelope: Envelope) -> Iterator[Change]:
    moved = movement_of(event)
    amounts = {
        "inventories": 1 if envelope.version == 1 else 0,
        "on_hand": moved.on_hand,
        "reserved": moved.reserved,
        "available": moved.on_hand - moved.reserved,
    }
    newest: dict[str, Value] = {"position": envelope.position, "recorded_at": to_text(envelope.recorded_at)}
    yield PRODUCTS.add((event.product_id,), amounts, newest)
    yield STORES.add((event.store_id,), amounts, newest)
