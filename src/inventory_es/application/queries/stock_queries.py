"""Questions to the read models of the shipped projections: typed, paged, and as fresh as the asker wants."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from inventory_es.application.following.projection import Projection
from inventory_es.application.projections.ledger import MOVEMENTS
from inventory_es.application.projections.low_stock import LOW
from inventory_es.application.projections.open_reservations import RESERVATIONS
from inventory_es.application.projections.shipped import with_shipped
from inventory_es.application.projections.stock_levels import LEVELS
from inventory_es.application.queries.answer_form import AnswerForm
from inventory_es.application.queries.answer_keys import product_inventory_key, stock_key
from inventory_es.application.queries.cached_answers import AnswerCache
from inventory_es.application.queries.history import HistoryPages
from inventory_es.application.queries.moment import check_moment
from inventory_es.application.queries.projection_reader import Questions, open_questions
from inventory_es.application.queries.query_results import LowStockRow, MovementRow, Place, QueryPage, ReservationRow, StockRow
from inventory_es.application.results import HistoryEntry
from inventory_es.domain.identifiers import Id, InventoryId, identifier, inventory_id
from inventory_es.domain.quantity import whole_number
from inventory_es.ports import ReadModel, Row
from inventory_es.ports.errors import UnsupportedCapabilityError

_PAGE = 100
_STOCK: AnswerForm[StockRow | None] = AnswerForm(StockRow | None)
_PRODUCT: AnswerForm[QueryPage[StockRow]] = AnswerForm(QueryPage[StockRow])


class StockQueries:
    """Eventual reads. Part of a service as ``inventory.queries``, or opened alone by :func:`open_queries`.

    Rows are as old as the runner of their projection is behind; every row says as of which version, position and time it is. To read
    one's own write, pass the ``position`` that the command answered as ``wait_for_position``. Every method may raise:

    - ``ReadModelBehindError``: the position did not arrive in time.
    - ``ReadModelUnavailableError``: the read model is away.
    - ``CorruptStoreError``: the read model is damaged.
    - ``IncompatibleStoreError``: a version of a projection has other tables, or the active one is older and has.
    - ``InvalidIdentifierError``: a product or a store that can't be one.
    - ``ValueError``: a limit below 1, or a place that no page of this query gave.

    With a cache, ``stock`` and the first page of ``product_inventory`` may be older by as much as its time to live.

    Args:
        questions: to the shipped projections.
        history: reads the streams; without it there is no ``history``.
        answers: keeps answers; without it nothing is cached.
    """

    def __init__(self, questions: Questions, *, history: HistoryPages | None = None, answers: AnswerCache | None = None) -> None:
        self._questions = questions
        self._history = history
        self._answers = answers

    async def stock(self, product_id: Id, store_id: Id, *, wait_for_position: int = 0) -> StockRow | None:
        """The balance of one inventory; ``None`` where nothing has happened yet."""
        asked = inventory_id(product_id, store_id)
        arrive = partial(self._questions.wait_for, "stock_levels", wait_for_position)
        compute = partial(self._stock, asked)
        if self._answers is None:
            await arrive()
            return (await compute())[0]
        key = stock_key(asked.product_id, asked.store_id)
        return await self._answers.answer(key, _STOCK, compute, least=wait_for_position, arrive=arrive)

    async def product_inventory(
        self, product_id: Id, *, after: Place | None = None, limit: int = _PAGE, wait_for_position: int = 0
    ) -> QueryPage[StockRow]:
        """The balances of a product, by store."""
        product_id = identifier("product_id", product_id)
        arrive = partial(self._questions.wait_for, "stock_levels", wait_for_position)
        compute = partial(self._product_inventory, product_id, after, limit)
        if self._answers is None or after is not None or limit != _PAGE:
            await arrive()
            return (await compute())[0]
        key = product_inventory_key(product_id)
        return await self._answers.answer(key, _PRODUCT, compute, least=wait_for_position, arrive=arrive)

    async def store_inventory(
        self, store_id: Id, *, after: Place | None = None, limit: int = _PAGE, wait_for_position: int = 0
    ) -> QueryPage[StockRow]:
        """The balances in a store, by product."""
        where: Row = {"store_id": identifier("store_id", store_id)}
        return await self._questions.ask("stock_levels", LEVELS, StockRow, where, limit, wait_for_position, after=after)

    async def low_stock(
        self, *, store_id: Id | None = None, after: Place | None = None, limit: int = _PAGE, wait_for_position: int = 0
    ) -> QueryPage[LowStockRow]:
        """What is low now, everywhere or in one store, by product."""
        where = _in_store(store_id)
        return await self._questions.ask("low_stock", LOW, LowStockRow, where, limit, wait_for_position, after=after)

    async def ledger(
        self,
        product_id: Id,
        store_id: Id,
        *,
        newest_first: bool = False,
        after: Place | None = None,
        limit: int = _PAGE,
        wait_for_position: int = 0,
    ) -> QueryPage[MovementRow]:
        """The movements of one inventory with the running balance."""
        where = _of(inventory_id(product_id, store_id))
        return await self._questions.ask(
            "ledger", MOVEMENTS, MovementRow, where, limit, wait_for_position, after=after, descending=bool(newest_first)
        )

    async def open_reservations(
        self, *, store_id: Id | None = None, after: Place | None = None, limit: int = _PAGE, wait_for_position: int = 0
    ) -> QueryPage[ReservationRow]:
        """Reservations that still hold units, everywhere or in one store, oldest first."""
        where = _in_store(store_id)
        return await self._questions.ask(
            "open_reservations", RESERVATIONS, ReservationRow, where, limit, wait_for_position, order=("reserved_at",), after=after
        )

    async def history(
        self,
        product_id: Id,
        store_id: Id,
        *,
        newest_first: bool = False,
        after: Place | None = None,
        limit: int = _PAGE,
        wait_for_position: int = 0,
    ) -> QueryPage[HistoryEntry]:
        """The events of one inventory, decoded, with who caused them and why: from its stream, and so never behind it.

        Raises:
            UnsupportedCapabilityError: these queries know no event store, or ``wait_for_position`` is given and it has no feed.
        """
        if self._history is None:
            way_out = "give open_queries history=HistoryPages(store, reader), or ask inventory.queries"
            raise UnsupportedCapabilityError(store="this query side", capability="event store", way_out=way_out)
        asked = inventory_id(product_id, store_id)
        if whole_number("wait_for_position", wait_for_position):
            await self._history.wait_for(wait_for_position, patience=self._questions.patience)
        return await self._history.page(asked, newest_first=newest_first, after=after, limit=limit)

    async def as_of(
        self,
        product_id: Id,
        store_id: Id,
        *,
        time: datetime | None = None,
        version: int | None = None,
        wait_for_position: int = 0,
    ) -> StockRow | None:
        """The balance at an instant of the past, or right after a version: give one of the two.

        Returns:
            ``None`` where nothing had happened by then, or the version is not in the read model.

        Raises:
            ValueError: none or both are given, the time has no time zone, or the version is below 1.
        """
        asked = inventory_id(product_id, store_id)
        check_moment(time, version)
        await self._questions.wait_for("ledger", wait_for_position)
        found = await (self._at_time(asked, time) if time is not None else self._from_version(asked, version or 0))
        if found is None or (version is not None and found.version != version):
            return None
        return StockRow(
            product_id=found.product_id,
            store_id=found.store_id,
            on_hand=found.on_hand,
            reserved=found.reserved,
            available=found.on_hand - found.reserved,
            version=found.version,
            position=found.position,
            recorded_at=found.recorded_at,
        )

    async def prepare(self) -> None:
        """Make the tables that are not there yet. Otherwise each is made when it is asked for the first time."""
        await self._questions.prepare()

    async def _stock(self, asked: InventoryId) -> tuple[StockRow | None, int]:
        page = await self._questions.ask("stock_levels", LEVELS, StockRow, _of(asked), 1, 0)
        return page.rows[0] if page.rows else None, page.checkpoint.position

    async def _product_inventory(self, product_id: str, after: Place | None, limit: int) -> tuple[QueryPage[StockRow], int]:
        page = await self._questions.ask("stock_levels", LEVELS, StockRow, {"product_id": product_id}, limit, 0, after=after)
        return page, page.checkpoint.position

    async def _at_time(self, asked: InventoryId, time: datetime) -> MovementRow | None:
        """The last movement up to ``time``: versions and times rise together, so halving finds it."""
        newest = await self._questions.ask("ledger", MOVEMENTS, MovementRow, _of(asked), 1, 0, descending=True)
        found: MovementRow | None = None
        before, behind = 0, newest.rows[0].version + 1 if newest.rows else 1
        while behind - before > 1:
            middle = (before + behind) // 2
            movement = await self._from_version(asked, middle)
            if movement is None or movement.recorded_at > time:
                behind = middle
            else:
                found, before = movement, movement.version
        return found

    async def _from_version(self, asked: InventoryId, version: int) -> MovementRow | None:
        """The first movement of this version or a later one."""
        after = (asked.product_id, asked.store_id, version - 1)
        page = await self._questions.ask("ledger", MOVEMENTS, MovementRow, _of(asked), 1, 0, after=after)
        return page.rows[0] if page.rows else None


async def open_queries(
    read_model: ReadModel,
    *,
    projections: Sequence[Projection] = (),
    history: HistoryPages | None = None,
    answers: AnswerCache | None = None,
    patience: float = 5.0,
    interval: float = 0.01,
) -> StockQueries:
    """Ask the read models of the shipped projections. They are filled by their runners, here or in another process.

    Of each projection the active version is asked, also when another one becomes active later.

    Args:
        read_model: where the rows are; it stays the caller's to close.
        projections: those whose tables are known here in another version than the first; each replaces the one of its name.
        history: reads the streams; without it there is no ``history``.
        answers: keeps answers; without it nothing is cached.
        patience: the longest wait for a position, in seconds, 0 or more.
        interval: between two looks at the checkpoint while waiting, in seconds, above 0.

    Raises:
        IncompatibleStoreError: a version of a projection has other tables, or the active one is older and has.
        ReadModelUnavailableError: the read model is away.
        CorruptStoreError: the read model is damaged.
        ValueError: ``patience`` or ``interval`` out of range.
    """
    asked = with_shipped(projections).values()
    questions = await open_questions(read_model, asked, patience=patience, interval=interval)
    return StockQueries(questions, history=history, answers=answers)


def _of(asked: InventoryId) -> Row:
    return {"product_id": asked.product_id, "store_id": asked.store_id}


def _in_store(store_id: Id | None) -> Row:
    return {} if store_id is None else {"store_id": identifier("store_id", store_id)}
