"""A read model of the tests' own: lists of rows that are searched from first to last."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from anyio.lowlevel import checkpoint as let_others_run

from inventory_es.ports import Add, Change, Checkpoint, Delete, Patch, ProjectionId, ProjectionVersion, Put, ReadModel, Row, RowsPage, Table
from inventory_es.ports.errors import IncompatibleStoreError, ProjectionNotFoundError, StoreClosedError
from inventory_es.ports.read_model import Value, order_of
from inventory_es.ports.toolkit.row_rules import add_up, check_before, check_commit, check_drop, check_select, may_take_over, table_of

Key = tuple[Any, ...]
Rows = dict[str, dict[Key, dict[str, Value]]]


@attrs.define
class Built:
    """One version."""

    tables: Mapping[str, Table]
    rows: Rows
    checkpoint: Checkpoint = attrs.field(factory=Checkpoint)


@attrs.define
class Disk:
    """The state that survives closing the read model."""

    built: dict[ProjectionId, Built] = attrs.field(factory=dict[ProjectionId, Built])
    active: dict[str, ProjectionId] = attrs.field(factory=dict[str, ProjectionId])


class PlainReadModel(ReadModel):
    """The read model itself. Every decision is a method of its own, which a mutant can get wrong."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.is_closed = False

    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        await self.begin()
        shapes = {table.name: table for table in tables}
        if projection not in self.disk.built:
            self.disk.built[projection] = Built(shapes, {name: {} for name in shapes})
            self.disk.active.setdefault(projection.name, projection)
        if not self.is_shape(self.disk.built[projection].tables, shapes):
            raise IncompatibleStoreError(store="projection", place=str(projection), problem="it has other tables")

    async def checkpoint(self, projection: ProjectionId, /) -> Checkpoint:
        await self.begin()
        return self.known(projection).checkpoint

    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        await self.begin()
        known = self.known(projection)
        self.check(known, changes, before, after)
        self.check_before(projection, before, known.checkpoint)
        await self.write(known, changes, after)

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
        await self.begin()
        known = self.known(projection)
        shape = table_of(known.tables, table)
        check_select(shape, where or {}, order, after, limit)
        columns = self.order_of(shape, order)
        rows = [dict(row) for row in known.rows[table].values() if self.fits(row, where or {})]
        rows.sort(key=lambda row: self.place(row, columns), reverse=descending)
        if after is not None:
            last = self.place(dict(zip(columns, after, strict=True)), columns)
            rows = [row for row in rows if self.is_behind(self.place(row, columns), last, descending=descending)]
        at = await self.checkpoint_of_page(known)
        return RowsPage(rows[:limit], at, self.active_of_page(projection), is_end=self.is_end(len(rows), limit))

    async def versions(self, name: str, /) -> Sequence[ProjectionVersion]:
        await self.begin()
        return [
            ProjectionVersion(one, known.tables, known.checkpoint, is_active=self.disk.active[name] == one)
            for one, known in sorted(self.disk.built.items(), key=lambda item: item[0].version)
            if one.name == name
        ]

    async def activate(self, projection: ProjectionId, /, *, before: Checkpoint) -> bool:
        await self.begin()
        known = self.known(projection)
        self.check_before(projection, before, known.checkpoint)
        if not self.may_take_over(known, self.disk.built[self.disk.active[projection.name]]):
            return False
        self.disk.active[projection.name] = projection
        return True

    async def drop(self, projection: ProjectionId, /) -> None:
        await self.begin()
        self.known(projection)
        others = sum(one.name == projection.name for one in self.disk.built) - 1
        self.check_drop(projection, others)
        self.take_away(projection)
        if not others:
            self.disk.active.pop(projection.name, None)

    async def aclose(self) -> None:
        self.is_closed = True

    async def begin(self) -> None:
        if self.is_closed:
            raise StoreClosedError(store="plain read model")
        await let_others_run()

    def known(self, projection: ProjectionId) -> Built:
        if projection not in self.disk.built:
            raise ProjectionNotFoundError(projection=str(projection))
        return self.disk.built[projection]

    def is_shape(self, there: Mapping[str, Table], asked: Mapping[str, Table]) -> bool:
        return there == asked

    def check(self, known: Built, changes: Sequence[Change], before: Checkpoint, after: Checkpoint) -> None:
        check_commit(known.tables, changes, before, after)

    def check_before(self, projection: ProjectionId, before: Checkpoint, actual: Checkpoint) -> None:
        check_before(projection, before, actual)

    async def write(self, known: Built, changes: Sequence[Change], after: Checkpoint) -> None:
        rows: Rows = {name: {key: dict(row) for key, row in of_it.items()} for name, of_it in known.rows.items()}
        for change in changes:
            self.change(known.tables[change.table], rows[change.table], change)
        known.rows, known.checkpoint = rows, after

    def change(self, table: Table, rows: dict[Key, dict[str, Value]], change: Change) -> None:
        if isinstance(change, Put):
            rows[self.key_of(table, change.row)] = dict(change.row)
        elif isinstance(change, Delete):
            rows.pop(change.key, None)
        elif isinstance(change, Patch):
            self.patch(table, rows, change)
        else:
            self.add(table, rows, change)

    def key_of(self, table: Table, row: Row) -> Key:
        return tuple(row[name] for name in table.key)

    def patch(self, table: Table, rows: dict[Key, dict[str, Value]], change: Patch) -> None:
        if change.key in rows:
            rows[change.key].update(change.row)

    def add(self, table: Table, rows: dict[Key, dict[str, Value]], change: Add) -> None:
        empty: dict[str, Value] = dict.fromkeys(table.columns)
        row = rows.setdefault(change.key, empty | dict(zip(table.key, change.key, strict=True)))
        row.update(change.row)
        for name, amount in change.amounts.items():
            row[name] = add_up(table.name, row[name], amount)

    def order_of(self, table: Table, order: Sequence[str]) -> Sequence[str]:
        return order_of(table, order)

    def fits(self, row: Row, where: Row) -> bool:
        return all(row[name] == value for name, value in where.items())

    def place(self, row: Row, columns: Sequence[str]) -> Key:
        return tuple((row[name] is not None, row[name]) for name in columns)

    def is_behind(self, place: Key, last: Key, *, descending: bool) -> bool:
        return place < last if descending else place > last

    def is_end(self, count: int, limit: int) -> bool:
        return count <= limit

    async def checkpoint_of_page(self, known: Built) -> Checkpoint:
        return known.checkpoint

    def active_of_page(self, projection: ProjectionId) -> ProjectionId:
        return self.disk.active[projection.name]

    def may_take_over(self, new: Built, old: Built) -> bool:
        return may_take_over(new.checkpoint, old.checkpoint)

    def check_drop(self, projection: ProjectionId, others: int) -> None:
        check_drop(projection, self.disk.active[projection.name], others)

    def take_away(self, projection: ProjectionId) -> None:
        del self.disk.built[projection]
