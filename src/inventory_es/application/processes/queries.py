"""Queries of orders and transfers: where each stands, which are in a state and since when, what is missing, incoming or overdue."""

from datetime import UTC, datetime, timedelta

import attrs

from inventory_es.application.projections.orders import ORDERS, SHORTAGES, OrderRow, ShortageRow, orders
from inventory_es.application.projections.transfers import INCOMING, TRANSFERS, IncomingRow, TransferRow, transfers
from inventory_es.application.queries.projection_reader import Cursor, ProjectionReader, QueryPage, open_reader
from inventory_es.domain.processes.order.events import OrderStatus
from inventory_es.domain.processes.transfer.events import TransferStatus
from inventory_es.ports import ReadModel


class OrderQueries:
    """Eventual reads of orders. Opened by :func:`open_order_queries`.

    Rows lag behind the store as the runner of their projection does. Every method may raise the errors of
    :class:`~inventory_es.application.queries.stock_queries.StockQueries`.

    Args:
        reader: of the projection of orders.
    """

    def __init__(self, reader: ProjectionReader) -> None:
        self._select = reader.select

    async def order(self, order_id: str, *, wait_for_position: int = 0) -> OrderRow | None:
        """Return one order; ``None`` where it was never placed."""
        page = await self._select(ORDERS, where={"order_id": order_id}, limit=1, wait_for_position=wait_for_position)
        return page.rows[0] if page.rows else None

    async def orders(
        self, status: OrderStatus | str, *, after: Cursor | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[OrderRow]:
        """Return the orders in a status, the longest in it first."""
        where = {"status": OrderStatus(status).value}
        return await self._select(ORDERS, where=where, limit=limit, wait_for_position=wait_for_position, order=("since",), after=after)

    async def shortages(
        self, order_id: str, *, after: Cursor | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[ShortageRow]:
        """Return the lines of an order that could not be had, by number."""
        return await self._select(SHORTAGES, where={"order_id": order_id}, limit=limit, wait_for_position=wait_for_position, after=after)


class TransferQueries:
    """Eventual reads of transfers. Opened by :func:`open_transfer_queries`.

    Rows lag behind the store as the runner of their projection does. Every method may raise the errors of
    :class:`~inventory_es.application.queries.stock_queries.StockQueries`.

    Args:
        reader: of the projection of transfers.
    """

    def __init__(self, reader: ProjectionReader) -> None:
        self._select = reader.select

    async def transfer(self, transfer_id: str, *, wait_for_position: int = 0) -> TransferRow | None:
        """Return one transfer; ``None`` where it was never drafted."""
        page = await self._select(TRANSFERS, where={"transfer_id": transfer_id}, limit=1, wait_for_position=wait_for_position)
        return page.rows[0] if page.rows else None

    async def transfers(
        self, status: TransferStatus | str, *, after: Cursor | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[TransferRow]:
        """Return the transfers in a status, the longest in it first. Goods in transit are ``DISPATCHED``."""
        where = {"status": TransferStatus(status).value}
        return await self._select(TRANSFERS, where=where, limit=limit, wait_for_position=wait_for_position, order=("since",), after=after)

    async def overdue(
        self, at: datetime, *, after: Cursor | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[TransferRow]:
        """Return the transfers in transit that should have arrived by ``at``, in UTC, the latest first.

        Raises:
            ValueError: ``at`` is no aware datetime in UTC.
        """
        if not isinstance(at, datetime) or at.utcoffset() != timedelta(0):
            msg = "at must be an aware datetime in UTC"
            raise ValueError(msg)
        where = {"status": TransferStatus.DISPATCHED.value}
        page = await self._select(TRANSFERS, where=where, limit=limit, wait_for_position=wait_for_position, order=("due_at",), after=after)
        late = tuple(row for row in page.rows if row.due_at is not None and row.due_at <= at.astimezone(UTC))
        return attrs.evolve(page, rows=late, next_after=page.next_after if len(late) == len(page.rows) else None)

    async def incoming(
        self,
        destination_store_id: str,
        product_id: str | None = None,
        *,
        after: Cursor | None = None,
        limit: int = 100,
        wait_for_position: int = 0,
    ) -> QueryPage[IncomingRow]:
        """Return the units in transit to a store, of one product or of all, soonest first."""
        where = {"destination_store_id": destination_store_id} | ({} if product_id is None else {"product_id": product_id})
        return await self._select(INCOMING, where=where, limit=limit, wait_for_position=wait_for_position, order=("due_at",), after=after)


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
    return OrderQueries(await open_reader(read_model, orders(), patience=patience, interval=interval))


async def open_transfer_queries(read_model: ReadModel, *, patience: float = 5.0, interval: float = 0.01) -> TransferQueries:
    """Open queries of the shipped projection of transfers. Arguments and errors are those of :func:`open_order_queries`."""
    return TransferQueries(await open_reader(read_model, transfers(), patience=patience, interval=interval))
