"""Questions to the read models of the shipped projections: typed, paged, and as fresh as the asker wants."""

from collections.abc import Sequence

from inventory_es.application.projection import Projection
from inventory_es.application.projections.ledger import MOVEMENTS, ledger
from inventory_es.application.projections.low_stock import LOW, low_stock
from inventory_es.application.projections.open_reservations import RESERVATIONS, open_reservations
from inventory_es.application.projections.stock_levels import LEVELS, stock_levels
from inventory_es.application.query_results import LowStockRow, MovementRow, Place, QueryPage, ReservationRow, StockRow
from inventory_es.application.questions import Questions, open_questions
from inventory_es.ports import ReadModel, Row


class StockQueries:
    """Eventual reads. Opened by :func:`open_queries`.

    Rows are as old as the runner of their projection is behind; every row says as of which version, position and time it is. To read
    one's own write, pass the ``position`` that the command answered as ``wait_for_position``. Every method may raise:

    - ``ReadModelBehindError``: the position did not arrive in time.
    - ``ReadModelUnavailableError``: the read model is away.
    - ``ValueError``: a limit below 1.

    Args:
        questions: to the shipped projections.
    """

    def __init__(self, questions: Questions) -> None:
        self._ask = questions.ask

    async def stock(self, product_id: str, store_id: str, *, wait_for_position: int = 0) -> StockRow | None:
        """The balance of one inventory; ``None`` where nothing has happened yet."""
        where: Row = {"product_id": product_id, "store_id": store_id}
        page = await self._ask("stock_levels", LEVELS, StockRow, where, 1, wait_for_position)
        return page.rows[0] if page.rows else None

    async def product_inventory(
        self, product_id: str, *, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[StockRow]:
        """The balances of a product, by store."""
        return await self._ask("stock_levels", LEVELS, StockRow, {"product_id": product_id}, limit, wait_for_position, after=after)

    async def store_inventory(
        self, store_id: str, *, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[StockRow]:
        """The balances in a store, by product."""
        return await self._ask("stock_levels", LEVELS, StockRow, {"store_id": store_id}, limit, wait_for_position, after=after)

    async def low_stock(
        self, *, store_id: str | None = None, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[LowStockRow]:
        """What is low now, everywhere or in one store, by product."""
        where: Row = {} if store_id is None else {"store_id": store_id}
        return await self._ask("low_stock", LOW, LowStockRow, where, limit, wait_for_position, after=after)

    async def ledger(
        self,
        product_id: str,
        store_id: str,
        *,
        newest_first: bool = False,
        after: Place | None = None,
        limit: int = 100,
        wait_for_position: int = 0,
    ) -> QueryPage[MovementRow]:
        """The movements of one inventory with the running balance."""
        where: Row = {"product_id": product_id, "store_id": store_id}
        return await self._ask("ledger", MOVEMENTS, MovementRow, where, limit, wait_for_position, after=after, descending=newest_first)

    async def open_reservations(
        self, *, store_id: str | None = None, after: Place | None = None, limit: int = 100, wait_for_position: int = 0
    ) -> QueryPage[ReservationRow]:
        """Reservations that still hold units, everywhere or in one store, oldest first."""
        where: Row = {} if store_id is None else {"store_id": store_id}
        return await self._ask(
            "open_reservations", RESERVATIONS, ReservationRow, where, limit, wait_for_position, order=("reserved_at",), after=after
        )


async def open_queries(
    read_model: ReadModel,
    *,
    projections: Sequence[Projection] | None = None,
    patience: float = 5.0,
    interval: float = 0.01,
) -> StockQueries:
    """Ask the read models of the shipped projections. They are filled by their runners, here or in another process.

    Of each projection the active version is asked, also when another one becomes active later.

    Args:
        read_model: where the rows are; it stays the caller's to close.
        projections: those whose tables are known here in another version than the first; each replaces the one of its name.
        patience: the longest wait for a position, in seconds, 0 or more.
        interval: between two looks at the checkpoint while waiting, in seconds, above 0.

    Raises:
        IncompatibleStoreError: a version of a projection has other tables, or the active one is older and has.
        ReadModelUnavailableError: the read model is away.
        ValueError: ``patience`` or ``interval`` out of range.
    """
    shipped = (stock_levels(), open_reservations(), ledger(), low_stock(_no_threshold))
    asked = {projection.projection_id.name: projection for projection in (*shipped, *(projections or ()))}
    return StockQueries(await open_questions(read_model, tuple(asked.values()), patience=patience, interval=interval))


def _no_threshold(_product_id: str) -> int:
    return 0
