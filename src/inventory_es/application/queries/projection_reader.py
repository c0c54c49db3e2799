"""The reader of a projection: it selects rows of the version that is active, as fresh as the caller wants."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import attrs

from inventory_es.application.following.projection import DEAD_LETTERS, Projection, active_of
from inventory_es.application.projections.rows import RowTable
from inventory_es.application.results import Result
from inventory_es.domain.quantity import whole_number
from inventory_es.ports import Checkpoint, ProjectionVersion, ReadModel, Row, RowsPage
from inventory_es.ports.errors import IncompatibleStoreError, ProjectionNotFoundError, ReadModelBehindError
from inventory_es.ports.read_model import Value, place_of
from inventory_es.ports.toolkit.page_rules import read_rows_page
from inventory_es.ports.toolkit.row_rules import table_of
from inventory_es.ports.toolkit.waiting import pause, scope

T = TypeVar("T")

Cursor = tuple[str | int | None, ...]
"""Cursor behind the last row of a page; opaque."""


@attrs.frozen
class QueryPage(Result, Generic[T]):
    """A page of rows.

    Attributes:
        rows: in order.
        checkpoint: of the read model at the time of reading; its position and time hold for missing rows, too.
        next_after: the ``after`` of the next page; ``None`` at the end.
    """

    rows: tuple[T, ...]
    checkpoint: Checkpoint
    next_after: Cursor | None


class ProjectionReader:
    """Reads of one projection, from the version that is active at each read.

    A reader that knows other tables than a newer active version goes on with the version that it knows. As long as a runner keeps that one
    up, readers and runners need not be updated at the same time.

    Every method may raise:

    - ``IncompatibleStoreError``: the active version has other tables than this reader knows, and is older than the one it knows.
    - ``ProjectionNotFoundError``: the version that this reader knows was dropped, and the active one has other tables.
    - ``ReadModelUnavailableError``: the read model is away.
    - ``CorruptStoreError``: the read model is damaged.

    Args:
        read_model: has the rows.
        projection: the name, the version and the tables that the reader knows.
        patience: the longest wait for a position, in seconds, 0 or more; also an attribute.
        interval: seconds between two reads of the checkpoint while waiting, above 0.

    Raises:
        ValueError: ``patience`` or ``interval`` out of range.
    """

    def __init__(self, read_model: ReadModel, projection: Projection, *, patience: float = 5.0, interval: float = 0.01) -> None:
        if not patience >= 0 or not interval > 0:
            msg = "patience must be 0 or more seconds, interval above 0"
            raise ValueError(msg)
        self.patience = patience
        self._interval = interval
        self._read_model = read_model
        self._known = projection.projection_id
        self._tables = projection.all_tables
        self._is_prepared = False
        self._asked = self._known
        self._passed_over = self._known

    async def prepare(self) -> None:
        """Find the version to read; create the known one where it is missing and needed. Otherwise the first read does so."""
        if self._is_prepared:
            return
        active = await self._active()
        if active is None or (active.tables != self._tables and active.projection_id.version >= self._known.version):
            await self._read_model.prepare(self._known, tuple(self._tables.values()))
        await self._choose()
        self._is_prepared = True

    async def select(
        self,
        table: RowTable[T],
        *,
        where: Row | None = None,
        order: Sequence[str] = (),
        after: Cursor | None = None,
        descending: bool = False,
        limit: int,
        wait_for_position: int = 0,
    ) -> QueryPage[T]:
        """Return rows of a table as objects. The rows of a page are of one version; the next page may be of the next one.

        Raises:
            ReadModelBehindError: the projection did not reach the position in time.
            ValueError: a limit below 1.
        """
        await self.wait_for(wait_for_position)
        page = await self._page(table.name, where=where, order=order, after=after, descending=descending, limit=limit)
        next_after = None if page.is_end else place_of(table.shape, order, page.rows[-1])
        return QueryPage(table.read(page.rows), page.checkpoint, next_after)

    async def checkpoint(self) -> Checkpoint:
        """Return the checkpoint of the active version."""
        return (await self._page(DEAD_LETTERS.name, limit=1)).checkpoint

    async def wait_for(self, position: int) -> None:
        """Wait until the projection has reached a position.

        Raises:
            ReadModelBehindError: it did not reach the position in time.
        """
        if not whole_number("wait_for_position", position):
            return
        seen = await self.checkpoint()
        with scope(self.patience):
            while seen.position < position:
                await pause(self._interval)
                seen = await self.checkpoint()
        if seen.position < position:
            raise ReadModelBehindError(projection=self._known.name, position=position, actual_position=seen.position, error=seen.error)

    async def _page(
        self,
        table: str,
        *,
        where: Row | None = None,
        order: Sequence[str] = (),
        after: Sequence[Value] | None = None,
        descending: bool = False,
        limit: int,
    ) -> RowsPage:
        await self.prepare()
        shape = table_of(self._tables, table)
        while True:
            asked = self._asked
            try:
                page = await read_rows_page(
                    self._read_model, asked, shape, where=where, order=order, after=after, descending=descending, limit=limit
                )
            except ProjectionNotFoundError:
                await self._choose()
                if self._asked == asked:
                    raise
                continue
            if page.active not in {asked, self._passed_over}:
                await self._choose()
            if self._asked == asked:
                return page

    async def _choose(self) -> None:
        active = await self._active()
        if active is None:
            raise ProjectionNotFoundError(projection=str(self._known))
        found = active.projection_id
        if active.tables == self._tables:
            self._asked = found
        elif found.version > self._known.version:
            self._asked, self._passed_over = self._known, found
        else:
            problem = f"it has other tables than {self._known}, which is not active: it is still being built"
            raise IncompatibleStoreError(store="projection", place=str(found), problem=problem)

    async def _active(self) -> ProjectionVersion | None:
        return active_of(await self._read_model.versions(self._known.name))


def readers_of(
    read_model: ReadModel, projections: Iterable[Projection], *, patience: float = 5.0, interval: float = 0.01
) -> Mapping[str, ProjectionReader]:
    """Return a reader of each projection, by name.

    Raises:
        ValueError: ``patience`` or ``interval`` out of range.
    """
    return {one.projection_id.name: ProjectionReader(read_model, one, patience=patience, interval=interval) for one in projections}


async def open_reader(read_model: ReadModel, projection: Projection, *, patience: float, interval: float) -> ProjectionReader:
    """Return a reader that has found the version to read. Errors are those of :class:`ProjectionReader`."""
    reader = ProjectionReader(read_model, projection, patience=patience, interval=interval)
    await reader.prepare()
    return reader
