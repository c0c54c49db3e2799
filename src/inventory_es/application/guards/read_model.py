"""A guarded read model."""

from collections.abc import Sequence
from functools import partial

from inventory_es.application.guards.guard import Guard, GuardChain, GuardedPort
from inventory_es.ports import Change, Checkpoint, ProjectionId, ProjectionVersion, ReadModel, Row, RowsPage, Table
from inventory_es.ports.errors import ReadModelUnavailableError
from inventory_es.ports.read_model import Value


class GuardedReadModel:
    """The read model with its calls guarded. A commit and a drop are made once: after a failure, the checkpoint, or its
    absence, tells whether it was done.

    Args:
        read_model: what is guarded.
        guards: by whom, the outermost first.
    """

    def __init__(self, read_model: ReadModel, guards: Sequence[Guard]) -> None:
        name = type(read_model).__name__
        port = GuardedPort(name, lambda reason, after: ReadModelUnavailableError(read_model=name, reason=reason, retry_after=after))
        self._read_model = read_model
        self._chain = GuardChain(port, guards)

    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        """See :meth:`ReadModel.prepare`."""
        await self._chain.run("prepare", partial(self._read_model.prepare, projection, tables))

    async def checkpoint(self, projection: ProjectionId, /) -> Checkpoint:
        """See :meth:`ReadModel.checkpoint`."""
        return await self._chain.run("checkpoint", partial(self._read_model.checkpoint, projection))

    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        """See :meth:`ReadModel.commit`."""
        call = partial(self._read_model.commit, projection, changes, before=before, after=after)
        await self._chain.run("commit", call, is_repeatable=False)

    async def select(
        self,
        projection: ProjectionId,
        table: str,
        /,
        *,
        where: Row | None = None,
        order: Sequence[str] = (),
        after: Sequence[Value] | None = None,
        descending: bool = False,
        limit: int,
    ) -> RowsPage:
        """See :meth:`ReadModel.select`."""
        call = partial(
            self._read_model.select, projection, table, where=where, order=order, after=after, descending=descending, limit=limit
        )
        return await self._chain.run("select", call)

    async def versions(self, name: str, /) -> Sequence[ProjectionVersion]:
        """See :meth:`ReadModel.versions`."""
        return await self._chain.run("versions", partial(self._read_model.versions, name))

    async def activate(self, projection: ProjectionId, /, *, before: Checkpoint) -> bool:
        """See :meth:`ReadModel.activate`."""
        return await self._chain.run("activate", partial(self._read_model.activate, projection, before=before))

    async def drop(self, projection: ProjectionId, /) -> None:
        """See :meth:`ReadModel.drop`."""
        await self._chain.run("drop", partial(self._read_model.drop, projection), is_repeatable=False)

    async def aclose(self) -> None:
        """Close the read model."""
        await self._read_model.aclose()
