"""The harness of the read model's cases."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Protocol, TypeVar

import attrs

from inventory_es.ports import Change, Checkpoint, ProjectionId, ProjectionVersion, Put, ReadModel, Row, RowsPage, Table
from inventory_es.ports.read_model import Value, place_of
from inventory_es.testing.contracts.core.contract import Run
from inventory_es.testing.contracts.core.difference import difference
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import TestedPort, show_declared
from inventory_es.testing.promise import MismatchError
from inventory_es.testing.site import Site

T = TypeVar("T")
ID = ProjectionId("stock", 1)
NEXT = ProjectionId("stock", 2)
LEVELS = Table("levels", {"product": str, "store": str, "units": int, "note": str}, ("product", "store"), (("store", "units"),))
NOTES = Table("notes", {"text": str}, ("text",))
TABLES = (LEVELS, NOTES)
START = datetime(2026, 1, 5, 9, 0, 0, 7, tzinfo=UTC)


def level(product: str, store: str, units: int | None, note: str | None = None) -> Put:
    """Return a change that puts a whole row."""
    return Put("levels", {"product": product, "store": store, "units": units, "note": note})


def ahead(before: Checkpoint, by: int = 1) -> Checkpoint:
    """Return the checkpoint after ``by`` more events."""
    return attrs.evolve(before, position=before.position + by, recorded_at=START)


@attrs.define(eq=False)
class TestedReadModel(TestedPort[ReadModel]):
    """A read model under test."""

    async def prepare(self, projection: ProjectionId = ID, tables: Sequence[Table] = TABLES) -> None:
        """Create the tables."""
        await self.call(f"prepare {projection}", self.raw.prepare(projection, tables), show)

    async def checkpoint(self, projection: ProjectionId = ID) -> Checkpoint:
        """Return the checkpoint."""
        return await self.call(f"checkpoint {projection}", self.raw.checkpoint(projection), show)

    async def commit(
        self,
        *changes: Change,
        before: Checkpoint,
        after: Checkpoint | None = None,
        projection: ProjectionId = ID,
        at_suspension: AtSuspension | None = None,
    ) -> Checkpoint:
        """Commit changes, by default one position further, and return the checkpoint after them."""
        to = ahead(before) if after is None else after
        note = f"commit {projection} {len(changes)} changes {show(before)} -> {show(to)}"
        await self.call(note, self.raw.commit(projection, changes, before=before, after=to), show, at_suspension)
        return to

    async def select(
        self,
        table: str = "levels",
        *,
        projection: ProjectionId = ID,
        where: Row | None = None,
        order: Sequence[str] = (),
        after: Sequence[Value] | None = None,
        descending: bool = False,
        limit: int = 1_000,
    ) -> RowsPage:
        """Return rows. Where pages are short, read on until the limit, as long as the pages have one checkpoint."""
        ask = partial(self.raw.select, projection, table, where=where, order=order, descending=descending)
        note = f"select {projection} {table} where {where} order {order}"
        page = await self.call(f"{note} after {after} limit {limit}", ask(after=after, limit=limit), show)
        while page.rows and len(page.rows) < limit and not page.is_end:
            shape = next(one.tables[table] for one in await self.versions(projection.name) if one.projection_id == projection)
            behind = place_of(shape, order, page.rows[-1])
            more = await self.call(f"{note} after {behind}", ask(after=behind, limit=limit - len(page.rows)), show)
            if not more.rows or more.checkpoint != page.checkpoint:
                return page
            page = attrs.evolve(more, rows=[*page.rows, *more.rows])
        return page

    async def versions(self, name: str = ID.name) -> Sequence[ProjectionVersion]:
        """Return every version of a name."""
        return await self.call(f"versions {name}", self.raw.versions(name), show)

    async def activate(self, projection: ProjectionId, *, before: Checkpoint) -> bool:
        """Activate a version for readers."""
        return await self.call(f"activate {projection} at {show(before)}", self.raw.activate(projection, before=before), show)

    async def drop(self, projection: ProjectionId) -> None:
        """Drop a version."""
        await self.call(f"drop {projection}", self.raw.drop(projection), show)

    async def close(self, *, at_suspension: AtSuspension | None = None) -> None:
        """Close the read model."""
        await self.call("close", self.raw.aclose(), show, at_suspension)

    async def shows(self, *rows: tuple[Value, ...], projection: ProjectionId = ID, at: Checkpoint | None = None, meaning: str) -> None:
        """Expect exactly these rows of the levels, ordered by key, and this checkpoint where one is given."""
        page = await self.select(projection=projection)
        same([tuple(row[name] for name in LEVELS.columns) for row in page.rows], list(rows), meaning)
        if at is not None:
            same((page.checkpoint, await self.checkpoint(projection)), (at, at), meaning)

    def every_use(self) -> list[Callable[[], Awaitable[object]]]:
        """Return one call of every method except the closing one."""
        uses: list[Callable[[], Awaitable[object]]] = [self.prepare, self.checkpoint, self.select, self.versions]
        start = Checkpoint()
        return [*uses, partial(self.commit, before=start), partial(self.activate, ID, before=start), partial(self.drop, ID)]


class _Hooks(Protocol):
    """The declarations and hooks of the contract that the cases use."""

    is_durable: bool
    multi_process: bool
    survives_fork: bool

    def open_read_model(self, site: Site) -> AbstractAsyncContextManager[ReadModel]: ...
    async def kill(self, site: Site) -> bool: ...


@attrs.define(eq=False)
class ReadModelHarness:
    """The harness of one run: it opens read models on the run's site."""

    contract: _Hooks
    run: Run
    _opened: int = 0

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[TestedReadModel, None]:
        """Open an instance on the run's site, and create its tables; the first instance must find the site empty."""
        async with self.contract.open_read_model(self.run.site) as raw:
            self._opened += 1
            declared = {"is_durable": self.contract.is_durable, "multi_process": self.contract.multi_process}
            self.run.note_opened(raw, declared, show_declared(declared))
            if self._opened == 1 and await raw.versions(ID.name):
                raise MismatchError(
                    expected="no projection on a fresh site",
                    got="one",
                    meaning=f"open_read_model does not keep sites apart: use site.path or site.name ({self.run.site.name})",
                )
            await raw.prepare(ID, TABLES)
            yield TestedReadModel(raw, self.run)


def same(got: object, expected: object, meaning: str) -> None:
    """Expect two values to be equal. The mismatch names the first field in which they differ."""
    if got != expected:
        raise MismatchError(expected=show(expected), got=show(got), meaning=meaning, differs=difference(expected, got))


def show(one: object) -> str:
    """Return a short text of an answer."""
    if isinstance(one, Checkpoint):
        return f"@{one.position} epoch {one.epoch}"
    if isinstance(one, RowsPage):
        return f"{len(one.rows)} rows {show(one.checkpoint)}{' end' if one.is_end else ''}"
    if isinstance(one, ProjectionVersion):
        return f"{one.projection_id} {show(one.checkpoint)}{' active' if one.is_active else ''}"
    if isinstance(one, list | tuple):
        shown = ", ".join(map(show, one))
        return f"[{shown if len(shown) <= 400 else shown[:400] + '…'}]"
    return str(one)
