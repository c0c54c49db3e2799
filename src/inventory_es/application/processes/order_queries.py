"""Questions about orders: where each stands, which stand where and for how long, and what they lacked."""

from datetime import datetime

import attrs

from inventory_es.application.projections.orders import ORDERS, SHORTAGES, orders
from inventory_es.application.query_results import Place, QueryPage
from inventory_es.application.questions import Questions, open_questions
from inventory_es.domain.processes.order.events import OrderStatus
from inventory_es.ports import ReadModel


@attrs.frozen(kw_only=True)
class OrderRow:
    """An order as it stands.

    Attributes:
        order_id: which.
        status: its state.
        since: when it came into it.
        owner_id: for whom.
        lines: how many inventories it takes from.
        units: how many units in all.
        placed_at: when it came in.
        expires_at: when the first of its holds ends, or ended; ``None`` where not all were held.
        payment_id: of its payment; ``None`` while there is none.
        version: of the order's stream, at the event that the row shows.
        position: of that event in the store.
        recorded_at: when it happened, UTC.
    """

    order_id: str
    status: OrderStatus = attrs.field(converter=OrderStatus)
    since: datetime
    owner_id: str | None
    lines: int
    units: int
    placed_at: datetime
    expires_at: datetime | None
    payment_id: str | None
    version: int
    position: int
    recorded_at: datetime


@attrs.frozen(kw_only=True)
class ShortageRow:
    """A line that could not be had; ``available`` is ``None`` where another reason than too few units refused it, which ``code`` names."""

    order_id: str
    line: int
    product_id: str
    store_id: str
    requested: int
    available: int | None
    code: str


class OrderQueries:
    """Eventual reads of orders. Opened by :func:`open_order_queries`.

    Rows are as old as the runner of their projection is behind; see :class:`~inventory_es.application.queries.StockQueries`, whose
    errors they have.

    Args:
        questions: to the projection of orders.
    """

    def __init__(self, questions: Questions) -> None:
        self._ask = questions.ask

    async def order(self, order_id: str, *, wait_for_position: int = 0) -> OrderRow | None:
        """Where one order stands; ``None`` where it was never placed."""
        page = await self._ask("orders", ORDERS, OrderRow, {"order_id": order_id}, 1, wait_for_position)
        return page.rows[0] if page.rows else None

    async def orders(
        self, status: OrderStatus | str, *, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[OrderRow]:
        """The orders in a state, those first that have been in it for longest."""
        where = {"status": OrderStatus(status).value}
        return await self._ask("orders", ORDERS, OrderRow, where, limit, wait_for_position, order=("since",), after=after)

    async def shortages(
        self, order_id: str, *, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[ShortageRow]:
        """What an order lacked, by line."""
        return await self._ask("orders", SHORTAGES, ShortageRow, {"order_id": order_id}, limit, wait_for_position, after=after)


async def open_order_queries(read_model: ReadModel, *, patience: float = 5.0, interval: float = 0.01) -> OrderQueries:
    """Ask the read model of the shipped projection of orders; see :func:`~inventory_es.application.queries.open_queries`.

    Args:
        read_model: where the rows are; it stays the caller's to close.
        patience: the longest wait for a position, in seconds, 0 or more.
        interval: between two looks at the checkpoint while waiting, in seconds, above 0.

    Raises:
        IncompatibleStoreError: the active version has other tables.
        ReadModelUnavailableError: the read model is away.
        CorruptStoreError: the read model is damaged.
        ValueError: ``patience`` or ``interval`` out of range.
    """
    return OrderQueries(await open_questions(read_model, (orders(),), patience=patience, interval=interval))
