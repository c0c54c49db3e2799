"""The reference read model: all promises of the port, in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from inventory_es.ports.errors import IncompatibleStoreError, ProjectionNotFoundError, StoreClosedError
from inventory_es.ports.read_model import (
    Change,
    Checkpoint,
    Delete,
    Patch,
    ProjectionId,
    ProjectionVersion,
    Put,
    ReadModel,
    Row,
    RowsPage,
    Table,
    Value,
    order_of,
)
from inventory_es.ports.toolkit.row_rules import (
    add_up,
    check_before,
    check_commit,
    check_drop,
    check_select,
    may_take_over,
    picker,
    table_of,
)
from inventory_es.ports.toolkit.waiting import STATE_LOCK, give_way

_NAME = "MemoryReadModel"
_Key = tuple[Any, ...]


class _Rows:
    """The rows of one table by key, and for the first column of each index the keys by value."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._columns = tuple(table.columns)
        self._key_of = picker(table.key)
        self._by_key: dict[_Key, Row] = {}
        first = tuple(dict.fromkeys((table.key[0], *(index[0] for index in table.indexes))))
        self._groups: dict[str, dict[Value, dict[_Key, None]]] = {name: {} for name in first}
        self._grouped_by = picker(first)

    def change(self, change: Change) -> "_Undo":
        key = self._key_of(change.row) if isinstance(change, Put) else change.key
        old = self._by_key.get(key)
        self.replace(key, old, self._changed(change, old))
        return self, key, old

    def replace(self, key: _Key, old: Row | None, new: Row | None) -> None:
        is_moved = old is None or new is None or self._grouped_by(old) != self._grouped_by(new)
        if old is not None and is_moved:
            del self._by_key[key]
            for name, groups in self._groups.items():
                groups[old[name]].pop(key)
                if not groups[old[name]]:
                    del groups[old[name]]
        if new is not None:
            self._by_key[key] = new
            if is_moved:
                for name, groups in self._groups.items():
                    groups.setdefault(new[name], {})[key] = None

    def row(self, key: _Key) -> Row | None:
        return self._by_key.get(key)

    def _changed(self, change: Change, old: Row | None) -> Row | None:
        if isinstance(change, Put):
            return dict(change.row)
        if isinstance(change, Delete):
            return None
        if isinstance(change, Patch):
            return None if old is None else {**old, **change.row}
        base = dict(zip(self.table.key, change.key, strict=True)) if old is None else old
        sums = {name: add_up(self.table.name, base.get(name), amount) for name, amount in change.amounts.items()}
        return {**dict.fromkeys(self._columns), **base, **change.row, **sums}

    def select(self, where: Row, order: Sequence[str], after: Sequence[Value] | None, *, descending: bool) -> list[Row]:
        groups = [self._groups[name].get(where[name], {}) for name in self._groups if name in where]
        keys = min(groups, key=len, default=self._by_key)
        rows = [row for row in map(self._by_key.__getitem__, keys) if all(row[name] == value for name, value in where.items())]
        place = picker(order)
        if after is not None:
            rows = [row for row in rows if (place(row) < tuple(after) if descending else place(row) > tuple(after))]
        return sorted(rows, key=place, reverse=descending)


_Undo = tuple[_Rows, _Key, Row | None]
"""The row that one change replaced."""


@attrs.define
class _Projection:
    tables: Mapping[str, Table]
    rows: Mapping[str, _Rows]
    checkpoint: Checkpoint = attrs.field(factory=Checkpoint)

    def change(self, changes: Sequence[Change]) -> None:
        """Make all changes, or none if a number would leave its range."""
        done: list[_Undo] = []
        try:
            for change in changes:
                done.append(self.rows[change.table].change(change))  # noqa: PERF401  # what was done before a failure must be known
        except ValueError:
            for rows, key, old in reversed(done):
                rows.replace(key, rows.row(key), old)
            raise


class MemoryReadModel(ReadModel):
    """Rows and checkpoints in memory: **the reference** of the port.

    In an event loop, every call lets other tasks run once. Then it does its work in one synchronous step. A selection that gives neither
    the first column of the key nor that of an index looks at every row. Nothing survives the process.
    """

    serves_threads: bool = True

    def __init__(self) -> None:
        self._projections: dict[ProjectionId, _Projection] = {}
        self._active: dict[str, ProjectionId] = {}
        self._is_closed = False

    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        await self._begin()
        with STATE_LOCK:
            shapes = {table.name: table for table in tables}
            known = self._projections.setdefault(projection, _Projection(shapes, {name: _Rows(table) for name, table in shapes.items()}))
            if known.tables != shapes:
                problem = "it was built with other tables: give it a new version"
                raise IncompatibleStoreError(store="projection", place=str(projection), problem=problem)
            self._active.setdefault(projection.name, projection)

    async def checkpoint(self, projection: ProjectionId, /) -> Checkpoint:
        await self._begin()
        with STATE_LOCK:
            return self._known(projection).checkpoint

    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        await self._begin()
        with STATE_LOCK:
            known = self._known(projection)
            check_commit(known.tables, changes, before, after)
            check_before(projection, before, known.checkpoint)
            known.change(changes)
            known.checkpoint = after

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
        await self._begin()
        with STATE_LOCK:
            known = self._known(projection)
            shape = table_of(known.tables, table)
            check_select(shape, where or {}, order, after, limit)
            rows = known.rows[table].select(where or {}, order_of(shape, order), after, descending=descending)
            return RowsPage(tuple(map(dict, rows[:limit])), known.checkpoint, self._active[projection.name], is_end=len(rows) <= limit)

    async def versions(self, name: str, /) -> Sequence[ProjectionVersion]:
        await self._begin()
        with STATE_LOCK:
            found = sorted((one for one in self._projections if one.name == name), key=lambda one: one.version)
            return [
                ProjectionVersion(one, known.tables, known.checkpoint, is_active=self._active[name] == one)
                for one, known in ((one, self._projections[one]) for one in found)
            ]

    async def activate(self, projection: ProjectionId, /, *, before: Checkpoint) -> bool:
        await self._begin()
        with STATE_LOCK:
            known = self._known(projection)
            check_before(projection, before, known.checkpoint)
            if not may_take_over(before, self._known(self._active[projection.name]).checkpoint):
                return False
            self._active[projection.name] = projection
            return True

    async def drop(self, projection: ProjectionId, /) -> None:
        await self._begin()
        with STATE_LOCK:
            self._known(projection)
            others = sum(one.name == projection.name for one in self._projections) - 1
            check_drop(projection, self._active[projection.name], others)
            del self._projections[projection]
            if not others:
                del self._active[projection.name]

    async def aclose(self) -> None:
        """Refuse every further call. Idempotent."""
        self._is_closed = True
        await give_way()

    async def _begin(self) -> None:
        if self._is_closed:
            raise StoreClosedError(store=_NAME)
        await give_way()

    def _known(self, projection: ProjectionId) -> _Projection:
        known = self._projections.get(projection)
        if known is None:
            raise ProjectionNotFoundError(projection=str(projection))
        return known


async def open_read_model(_place: str, /) -> MemoryReadModel:
    """Open a fresh, private read model: the meaning of ``read_models="memory:"``."""
    return MemoryReadModel()
