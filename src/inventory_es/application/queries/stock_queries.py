"""Queries of the shipped projections: typed, paged, and as fresh as the caller wants."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from inventory_es.application.following.projection import Projection
from inventory_es.application.projections.ledger import MOVEMENTS, MovementRow
from inventory_es.application.projections.low_stock import LOW, LowStockRow
from inventory_es.application.projections.open_reservations import RESERVATIONS, ReservationRow
from inventory_es.application.projections.shipped import with_shipped
from inventory_es.application.projections.stock_levels import LEVELS, StockRow
from inventory_es.application.queries.cached_answers import AnswerForm, CachedAnswers, product_inventory_key, stock_key
from inventory_es.application.queries.history import HistoryPages, check_as_of
from inventory_es.application.queries.projection_reader import Cursor, ProjectionReader, QueryPage, readers_of
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

    Rows lag behind the store as the runner of their projection does; every row says as of which version, position and time it is. To read
    your own write, pass the ``position`` of the command's result as ``wait_for_position``. Every method may raise:

    - ``ReadModelBehindError``: the projection did not reach the position in time.
    - ``ReadModelUnavailableError``: the read model is away.
    - ``CorruptStoreError``: the read model is damaged.
    - ``IncompatibleStoreError``: this version of a projection has other tables, or an older active version has.
    - ``InvalidIdentifierError``: an invalid product id or store id.
    - ``ValueError``: a limit below 1, or an ``after`` that no page of this query gave.

    With a cache, ``stock`` and the first page of ``product_inventory`` may be older by as much as its time to live.

    Args:
        readers: of the shipped projections, by name.
        history: reads the streams; without it there is no ``history``.
        answers: keeps answers; without it nothing is cached.
    """

    def __init__(
        self, readers: Mapping[str, ProjectionReader], *, history: HistoryPages | None = None, answers: CachedAnswers | None = None
    ) -> None:
        self._readers = readers
        self._history = history
        self._answers = answers

    async def stock(self, product_id: Id, store_id: Id, *, wait_for_position: int = 0) -> StockRow | None:
        """Return the balance of one inventory; ``None`` where nothing has happened yet."""
        asked = inventory_id(product_id, store_id)
        arrive = partial(self._readers["stock_levels"].wait_for, wait_for_position)
        compute = partial(self._stock, asked)
        if self._answers is None:
            await arrive()
            return (await compute())[0]
        key = stock_key(asked.product_id, asked.store_id)
        return await self._answers.answer(key, _STOCK, compute, least=wait_for_position, arrive=arrive)

    async def product_inventory(
        self, product_id: Id, *, after: Cursor | None = None, limit: int = _PAGE, wait_for_position: int = 0
    ) -> QueryPage[StockRow]:
        """Return the balances of a product, by store."""
        product_id = identifier("product_id", product_id)
        arrive = partial(self._readers["stock_levels"].wait_for, wait_for_position)
        compute = partial(self._product_inventory, product_id, after, limit)
        if self._answers is None or after is not None or limit != _PAGE:
            await arrive()
            return (await compute())[0]
        key = product_inventory_key(product_id)
        return await self._answers.answer(key, _PRODUCT, compute, least=wait_for_position, arrive=arrive)

    async def store_inventory(
        self, store_id: Id, *, after: Cursor | None = None, limit: int = _PAGE, wait_for_position: int = 0
    ) -> QueryPage[StockRow]:
        """Return the balances in a store, by product."""
        where: Row = {"store_id": identifier("store_id", store_id)}
        reader = self._readers["stock_levels"]
        return await reader.select(LEVELS, where=where, after=after, limit=limit, wait_for_position=wait_for_position)

    async def low_stock(
        self, *, store_id: Id | None = None, after: Cursor | None = None, limit: int = _PAGE, wait_for_position: int = 0
    ) -> QueryPage[LowStockRow]:
        """Return the inventories that are low now, everywhere or in one store, by product."""
        where = _in_store(store_id)
        reader = self._readers["low_stock"]
        return await reader.select(LOW, where=where, after=after, limit=limit, wait_for_position=wait_for_position)

    async def ledger(
        self,
        product_id: Id,
        store_id: Id,
        *,
        newest_first: bool = False,
        after: Cursor | None = None,
        limit: int = _PAGE,
        wait_for_position: int = 0,
    ) -> QueryPage[MovementRow]:
        """Return the movements of one inventory with the running balance."""
        where = _of(inventory_id(product_id, store_id))
        descending, reader = bool(newest_first), self._readers["ledger"]
        return await reader.select(
            MOVEMENTS, where=where, after=after, descending=descending, limit=limit, wait_for_position=wait_for_position
        )

    async def open_reservations(
        self, *, store_id: Id | None = None, after: Cursor | None = None, limit: int = _PAGE, wait_for_position: int = 0
    ) -> QueryPage[ReservationRow]:
        """Return the reservations that still hold units, everywhere or in one store, oldest first."""
        where = _in_store(store_id)
        order, reader = ("reserved_at",), self._readers["open_reservations"]
        return await reader.select(RESERVATIONS, where=where, order=order, after=after, limit=limit, wait_for_position=wait_for_position)

    async def history(
        self,
        product_id: Id,
        store_id: Id,
        *,
        newest_first: bool = False,
        after: Cursor | None = None,
        limit: int = _PAGE,
        wait_for_position: int = 0,
    ) -> QueryPage[HistoryEntry]:
        """Return the decoded events of one inventory with their metadata. They are read from the stream, and so never behind it.

        Raises:
            UnsupportedCapabilityError: these queries know no event store, or ``wait_for_position`` is given and it has no feed.
        """
        if self._history is None:
            way_out = "give open_queries history=HistoryPages(store, reader), or ask inventory.queries"
            raise UnsupportedCapabilityError(store="this query side", capability="event store", way_out=way_out)
        asked = inventory_id(product_id, store_id)
        if whole_number("wait_for_position", wait_for_position):
            patience = max(reader.patience for reader in self._readers.values())
            await self._history.wait_for(wait_for_position, patience=patience)
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
        """Return the balance at an instant of the past, or right after a version: give one of the two.

        Returns:
            ``None`` where nothing had happened by then, or the version is not in the read model.

        Raises:
            ValueError: none or both are given, or the time has no time zone.
            InvalidQuantityError: the version is below 1.
        """
        asked = inventory_id(product_id, store_id)
        check_as_of(time, version)
        await self._readers["ledger"].wait_for(wait_for_position)
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
        """Create missing tables. Otherwise each is created at its first query."""
        for reader in self._readers.values():
            await reader.prepare()

    async def _stock(self, asked: InventoryId) -> tuple[StockRow | None, int]:
        page = await self._readers["stock_levels"].select(LEVELS, where=_of(asked), limit=1)
        return page.rows[0] if page.rows else None, page.checkpoint.position

    async def _product_inventory(self, product_id: str, after: Cursor | None, limit: int) -> tuple[QueryPage[StockRow], int]:
        page = await self._readers["stock_levels"].select(LEVELS, where={"product_id": product_id}, limit=limit, after=after)
        return page, page.checkpoint.position

    async def _at_time(self, asked: InventoryId, time: datetime) -> MovementRow | None:
        """Return the last movement up to ``time`` by bisection: versions and times rise together."""
        newest = await self._readers["ledger"].select(MOVEMENTS, where=_of(asked), limit=1, descending=True)
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
        """Return the first movement of this version or a later one."""
        after = (asked.product_id, asked.store_id, version - 1)
        page = await self._readers["ledger"].select(MOVEMENTS, where=_of(asked), limit=1, after=after)
        return page.rows[0] if page.rows else None


async def open_queries(
    read_model: ReadModel,
    *,
    projections: Sequence[Projection] = (),
    history: HistoryPages | None = None,
    answers: CachedAnswers | None = None,
    patience: float = 5.0,
    interval: float = 0.01,
) -> StockQueries:
    """Open queries of the shipped projections. Their runners fill the read model, here or in another process.

    Queries read the active version of each projection, also when another one becomes active later.

    Args:
        read_model: has the rows; it stays the caller's to close.
        projections: those that are known here in another version than the first; each replaces the shipped one of its name.
        history: reads the streams; without it there is no ``history``.
        answers: keeps answers; without it nothing is cached.
        patience: the longest wait for a position, in seconds, 0 or more.
        interval: seconds between two reads of the checkpoint while waiting, above 0.

    Raises:
        IncompatibleStoreError: this version of a projection has other tables, or an older active version has.
        ReadModelUnavailableError: the read model is away.
        CorruptStoreError: the read model is damaged.
        ValueError: ``patience`` or ``interval`` out of range.
    """
    asked = with_shipped(projections).values()
    queries = StockQueries(readers_of(read_model, asked, patience=patience, interval=interval), history=history, answers=answers)
    await queries.prepare()
    return queries


def _of(asked: InventoryId) -> Row:
    return {"product_id": asked.product_id, "store_id": asked.store_id}


def _in_store(store_id: Id | None) -> Row:
    return {} if store_id is None else {"store_id": identifier("store_id", store_id)}
