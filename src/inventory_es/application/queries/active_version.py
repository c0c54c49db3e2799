"""The version of a projection that readers ask: the one that is active, followed when they change over."""

from collections.abc import Sequence

from inventory_es.application.following.projection import DEAD_LETTERS, Projection, active_of
from inventory_es.ports import Checkpoint, ProjectionVersion, ReadModel, Row, RowsPage
from inventory_es.ports.errors import IncompatibleStoreError, ProjectionNotFoundError
from inventory_es.ports.read_model import Value
from inventory_es.ports.toolkit.page_rules import read_rows_page
from inventory_es.ports.toolkit.row_rules import table_of


class ActiveVersion:
    """Reads of one projection, from the version that is active as of each read.

    Every method may raise:

    - ``IncompatibleStoreError``: the active version has other tables than this reader knows, and is older than the one it knows.
    - ``ProjectionNotFoundError``: the version that this reader knows was dropped, and the active one has other tables.
    - ``ReadModelUnavailableError``: the read model is away.
    - ``CorruptStoreError``: the read model is damaged.

    A reader that knows other tables than the active version, a newer one, goes on with the version that it knows: as long as somebody
    runs it, nobody has to be updated in the same moment.

    Args:
        read_model: where the rows are.
        projection: the name, the version and the tables that the reader knows.
    """

    def __init__(self, read_model: ReadModel, projection: Projection) -> None:
        self._read_model = read_model
        self._known = projection.projection_id
        self._tables = projection.all_tables
        self._asked = self._known
        self._passed_over = self._known

    async def prepare(self) -> None:
        """Find the version to ask; make the known one where it is that, and is not there."""
        active = await self._active()
        if active is None or (active.tables != self._tables and active.projection_id.version >= self._known.version):
            await self._read_model.prepare(self._known, tuple(self._tables.values()))
        await self._look()

    async def select(
        self,
        table: str,
        *,
        where: Row | None = None,
        order: Sequence[str] = (),
        after: Sequence[Value] | None = None,
        descending: bool = False,
        limit: int,
    ) -> RowsPage:
        """See ``ReadModel.select``. The rows of a page are of one version; the next page may be of the next one."""
        shape = table_of(self._tables, table)
        while True:
            asked = self._asked
            try:
                page = await read_rows_page(
                    self._read_model, asked, shape, where=where, order=order, after=after, descending=descending, limit=limit
                )
            except ProjectionNotFoundError:
                await self._look()
                if self._asked == asked:
                    raise
                continue
            if page.active not in {asked, self._passed_over}:
                await self._look()
            if self._asked == asked:
                return page

    async def checkpoint(self) -> Checkpoint:
        """How far the active version is."""
        return (await self.select(DEAD_LETTERS.name, limit=1)).checkpoint

    async def _look(self) -> None:
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
