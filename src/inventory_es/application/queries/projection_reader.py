"""Asking the read models of projections: rows as typed values, page by page, as fresh as the asker wants."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import anyio

from inventory_es.application.following.projection import Projection
from inventory_es.application.queries.active_version import ActiveVersion
from inventory_es.application.queries.query_results import Place, QueryPage
from inventory_es.domain.quantity import whole_number
from inventory_es.ports import ReadModel, Row, Table
from inventory_es.ports.errors import ReadModelBehindError
from inventory_es.ports.read_model import from_text, place_of

T = TypeVar("T")

_INSTANTS = ("recorded_at", "since", "placed_at", "reserved_at", "expires_at", "drafted_at", "dispatched_at", "due_at")


class Questions:
    """What the typed queries ask by. Opened by :func:`open_questions`.

    Args:
        versions: which version of each projection is asked, by name.
        patience: the longest wait for a position, in seconds, 0 or more; also an attribute.
        interval: between two looks at the checkpoint, in seconds, above 0.

    Raises:
        ValueError: ``patience`` or ``interval`` out of range.
    """

    def __init__(self, versions: Mapping[str, ActiveVersion], *, patience: float = 5.0, interval: float = 0.01) -> None:
        if not patience >= 0 or not interval > 0:
            msg = "patience must be 0 or more seconds, interval above 0"
            raise ValueError(msg)
        self._versions = versions
        self._prepared: set[str] = set()
        self.patience = patience
        self._interval = interval

    async def prepare(self) -> None:
        """Make the tables that are not there yet, of all projections. Otherwise each is made when it is asked for the first time."""
        for name in self._versions:
            await self._version(name)

    async def ask(
        self,
        name: str,
        table: Table,
        kind: type[T],
        where: Row,
        limit: int,
        wait_for_position: int,
        *,
        order: Sequence[str] = (),
        after: Place | None = None,
        descending: bool = False,
    ) -> QueryPage[T]:
        """Rows of one table of the projection of this name, each as a ``kind``.

        Raises:
            ReadModelBehindError: the position did not arrive in time.
            ReadModelUnavailableError: the read model is away.
        CorruptStoreError: the read model is damaged.
            ValueError: a limit below 1.
        """
        await self.wait_for(name, wait_for_position)
        version = await self._version(name)
        page = await version.select(table.name, where=where, order=order, after=after, descending=descending, limit=limit)
        rows = tuple(kind(**_values(row)) for row in page.rows)
        return QueryPage(rows, page.checkpoint, None if page.is_end else place_of(table, order, page.rows[-1]))

    async def wait_for(self, name: str, position: int) -> None:
        """Wait until the projection of this name has reached a position.

        Raises:
            ReadModelBehindError: not in time.
        """
        if not whole_number("wait_for_position", position):
            return
        version = await self._version(name)
        seen = await version.checkpoint()
        with anyio.move_on_after(self.patience):
            while seen.position < position:
                await anyio.sleep(self._interval)
                seen = await version.checkpoint()
        if seen.position < position:
            raise ReadModelBehindError(projection=name, position=position, actual_position=seen.position, error=seen.error)

    async def _version(self, name: str) -> ActiveVersion:
        version = self._versions[name]
        if name not in self._prepared:
            await version.prepare()
            self._prepared.add(name)
        return version


def questions_to(read_model: ReadModel, projections: Iterable[Projection], *, patience: float = 5.0, interval: float = 0.01) -> Questions:
    """Questions to these projections, as a read model has them.

    Raises:
        ValueError: ``patience`` or ``interval`` out of range.
    """
    versions = {one.projection_id.name: ActiveVersion(read_model, one) for one in projections}
    return Questions(versions, patience=patience, interval=interval)


async def open_questions(read_model: ReadModel, projections: Iterable[Projection], *, patience: float, interval: float) -> Questions:
    """Find the active version of each projection, and make its tables where they are not there yet.

    Raises:
        IncompatibleStoreError: a version of a projection has other tables, or the active one is older and has.
        ReadModelUnavailableError: the read model is away.
        CorruptStoreError: the read model is damaged.
        ValueError: ``patience`` or ``interval`` out of range.
    """
    questions = questions_to(read_model, projections, patience=patience, interval=interval)
    await questions.prepare()
    return questions


def _values(row: Row) -> dict[str, Any]:
    return {name: from_text(value, column=name) if name in _INSTANTS and value is not None else value for name, value in row.items()}
