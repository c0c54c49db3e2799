"""What the queries answer: frozen rows, each as of which version, position and time."""

from datetime import datetime
from typing import Generic, TypeVar

import attrs

from inventory_es.application.results import Result
from inventory_es.ports import Checkpoint

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class AsOf(Result):
    """What a row is as of.

    Attributes:
        product_id: what.
        store_id: where.
        version: of the inventory's stream, at the event that the row shows.
        position: of that event in the store.
        recorded_at: when it happened, UTC.
    """

    product_id: str
    store_id: str
    version: int
    position: int
    recorded_at: datetime


@attrs.frozen(kw_only=True)
class StockRow(AsOf):
    """The balance of one inventory. ``available`` is on hand less reserved; a due reservation counts until it is expired."""

    on_hand: int
    reserved: int
    available: int


@attrs.frozen(kw_only=True)
class LowStockRow(AsOf):
    """An inventory with no more available than the threshold of its product, since when."""

    available: int
    threshold: int
    since: datetime


@attrs.frozen(kw_only=True)
class MovementRow(AsOf):
    """One event of an inventory: what it moved, and the balance after it."""

    event_type: str
    on_hand_change: int
    reserved_change: int
    on_hand: int
    reserved: int
    reservation_id: str | None
    reason: str | None


@attrs.frozen(kw_only=True)
class ReservationRow(AsOf):
    """A reservation that still holds units; ``expires_at`` is ``None`` for a firm one."""

    reservation_id: str
    quantity: int
    remaining: int
    purpose: str
    owner_id: str | None
    reserved_at: datetime
    expires_at: datetime | None


Place = tuple[str | int | None, ...]
"""Where a page ended; opaque."""


@attrs.frozen
class QueryPage(Result, Generic[T]):
    """A run of rows.

    Attributes:
        rows: in order.
        checkpoint: how far the read model was when it was read: its position and time hold for what is missing, too.
        next_after: what to pass as ``after`` for the next page; ``None`` at the end.
    """

    rows: tuple[T, ...]
    checkpoint: Checkpoint
    next_after: Place | None
