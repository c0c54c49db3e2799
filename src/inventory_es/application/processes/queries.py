"""Queries of orders and transfers: where each stands, which are in a state and since when, what is missing, incoming or overdue."""

from datetime import UTC, datetime, timedelta

import attrs

from inventory_es.application.projections.orders import ORDERS, SHORTAGES, orders
from inventory_es.application.projections.transfers import INCOMING, NEVER, TRANSFERS, transfers
from inventory_es.application.queries.projection_reader import Questions, open_questions
from inventory_es.application.queries.query_results import Place, QueryPage
from inventory_es.domain.processes.order.events import OrderStatus
from inventory_es.domain.processes.transfer.events import TransferStatus
from inventory_es.ports import ReadModel

_NEVER = datetime.fromisoformat(NEVER)


def _known(due_at: datetime) -> datetime | None:
    return None if due_at == _NEVER else due_at


@attrs.frozen(kw_only=True)
class OrderRow:
    """The state of an order.

    Attributes:
        order_id: the order.
        status: its status.
        since: time when it came into this status.
        owner_id: an opaque id of the customer.
        lines: number of inventories that it takes units from.
        units: number of units, of all lines.
        placed_at: time when it was placed.
        expires_at: time when the first of its holds ends, or ended; ``None`` where not all were held.
        payment_id: its payment; ``None`` while there is none.
        version: of the order's stream, at the event that the row shows.
        position: of that event in the store.
        recorded_at: time of that event, UTC.
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
    """A line that could not be had. ``available`` is ``None`` where ``code`` names another reason than too few units."""

    order_id: str
    line: int
    product_id: str
    store_id: str
    requested: int
    available: int | None
    code: str


@attrs.frozen(kw_only=True)
class TransferRow:
    """The state of a transfer.

    Attributes:
        transfer_id: the transfer.
        status: its status.
        since: time when it came into this status.
        source_store_id: the store that the goods leave.
        destination_store_id: the store that they are for.
        lines: number of products.
        units: number of units, of all lines.
        in_transit: units in transit.
        lost: units that were written off.
        drafted_at: time when it was drafted.
        dispatched_at: time when its goods left; ``None`` before.
        due_at: time when they should arrive; ``None`` where nobody knows.
        version: of the transfer's stream, at the event that the row shows.
        position: of that event in the store.
        recorded_at: time of that event, UTC.
    """

    transfer_id: str
    status: TransferStatus = attrs.field(converter=TransferStatus)
    since: datetime
    source_store_id: str
    destination_store_id: str
    lines: int
    units: int
    in_transit: int
    lost: int
    drafted_at: datetime
    dispatched_at: datetime | None
    due_at: datetime | None = attrs.field(converter=_known)
    version: int
    position: int
    recorded_at: datetime


@attrs.frozen(kw_only=True)
class IncomingRow:
    """Units of a product that are in transit to a store.

    Attributes:
        transfer_id: the transfer.
        line: number of the line in the transfer.
        product_id: the product.
        source_store_id: the store that they left.
        destination_store_id: the store that they are for.
        in_transit: number of units.
        due_at: time when they should arrive; ``None`` where nobody knows.
        position: of the event that last moved the line.
        recorded_at: time of that event, UTC.
    """

    transfer_id: str
    line: int
    product_id: str
    source_store_id: str
    destination_store_id: str
    in_transit: int
    due_at: datetime | None = attrs.field(converter=_known)
    position: int
    recorded_at: datetime


class OrderQueries:
    """Eventual reads of orders. Opened by :func:`open_order_queries`.

    Rows lag behind the store as the runner of their projection does. Every method may raise the errors of
    :class:`~inventory_es.application.queries.stock_queries.StockQueries`.

    Args:
        questions: to the projection of orders.
    """

    def __init__(self, questions: Questions) -> None:
        self._ask = questions.ask

    async def order(self, order_id: str, *, wait_for_position: int = 0) -> OrderRow | None:
        """Return one order; ``None`` where it was never placed."""
        page = await self._ask("orders", ORDERS, OrderRow, {"order_id": order_id}, 1, wait_for_position)
        return page.rows[0] if page.rows else None

    async def orders(
        self, status: OrderStatus | str, *, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[OrderRow]:
        """Return the orders in a status, the longest in it first."""
        where = {"status": OrderStatus(status).value}
        return await self._ask("orders", ORDERS, OrderRow, where, limit, wait_for_position, order=("since",), after=after)

    async def shortages(
        self, order_id: str, *, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[ShortageRow]:
        """Return the lines of an order that could not be had, by number."""
        return await self._ask("orders", SHORTAGES, ShortageRow, {"order_id": order_id}, limit, wait_for_position, after=after)


class TransferQueries:
    """Eventual reads of transfers. Opened by :func:`open_transfer_queries`.

    Rows lag behind the store as the runner of their projection does. Every method may raise the errors of
    :class:`~inventory_es.application.queries.stock_queries.StockQueries`.

    Args:
        questions: to the projection of transfers.
    """

    def __init__(self, questions: Questions) -> None:
        self._ask = questions.ask

    async def transfer(self, transfer_id: str, *, wait_for_position: int = 0) -> TransferRow | None:
        """Return one transfer; ``None`` where it was never drafted."""
        page = await self._ask("transfers", TRANSFERS, TransferRow, {"transfer_id": transfer_id}, 1, wait_for_position)
        return page.rows[0] if page.rows else None

    async def transfers(
        self, status: TransferStatus | str, *, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[TransferRow]:
        """Return the transfers in a status, the longest in it first. Goods in transit are ``DISPATCHED``."""
        where = {"status": TransferStatus(status).value}
        return await self._ask("transfers", TRANSFERS, TransferRow, where, limit, wait_for_position, order=("since",), after=after)

    async def overdue(
        self, at: datetime, *, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[TransferRow]:
        """Return the transfers in transit that should have arrived by ``at``, in UTC, the latest first.

        Raises:
            ValueError: ``at`` is no aware datetime in UTC.
        """
        if not isinstance(at, datetime) or at.utcoffset() != timedelta(0):
            msg = "at must be an aware datetime in UTC"
            raise ValueError(msg)
        where = {"status": TransferStatus.DISPATCHED.value}
        page = await self._ask("transfers", TRANSFERS, TransferRow, where, limit, wait_for_position, order=("due_at",), after=after)
        late = tuple(row for row in page.rows if row.due_at is not None and row.due_at <= at.astimezone(UTC))
        return attrs.evolve(page, rows=late, next_after=page.next_after if len(late) == len(page.rows) else None)

    async def incoming(
        self,
        destination_store_id: str,
        product_id: str | None = None,
        *,
        after: Place | None = None,
        limit: int = 100,
        wait_for_position: int = 0,
    ) -> QueryPage[IncomingRow]:
        """Return the units in transit to a store, of one product or of all, soonest first."""
        where = {"destination_store_id": destination_store_id} | ({} if product_id is None else {"product_id": product_id})
        return await self._ask("transfers", INCOMING, IncomingRow, where, limit, wait_for_position, order=("due_at",), after=after)


async def open_order_queries(read_model: ReadModel, *, patience: float = 5.0, interval: float = 0.01) -> OrderQueries:
    """Open queries of the shipped projection of orders; see :func:`~inventory_es.application.queries.stock_queries.open_queries`.

    Args:
        read_model: has the rows; it stays the caller's to close.
        patience: the longest wait for a position, in seconds, 0 or more.
        interval: between two reads of the checkpoint while waiting, in seconds, above 0.

    Raises:
        IncompatibleStoreError: the active version has other tables.
        ReadModelUnavailableError: the read model is away.
        CorruptStoreError: the read model is damaged.
        ValueError: ``patience`` or ``interval`` out of range.
    """
    return OrderQueries(await open_questions(read_model, (orders(),), patience=patience, interval=interval))


async def open_transfer_queries(read_model: ReadModel, *, patience: float = 5.0, interval: float = 0.01) -> TransferQueries:
    """Open queries of the shipped projection of transfers. Arguments and errors are those of :func:`open_order_queries`."""
    return TransferQueries(await open_questions(read_model, (transfers(),), patience=patience, interval=interval))
