"""A read model by the plainest reading of its port: dictionaries, and rules that are checked from first to last."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from inventory_es.ports import Add, Change, Checkpoint, Delete, Patch, ProjectionId, ProjectionVersion, Put, Row, RowsPage, Table
from inventory_es.ports.read_model import Value, order_of
from inventory_es.testing.contracts.read_model.harness import TestedReadModel, same
from inventory_es.testing.promise import MismatchError

Rows = dict[tuple[Value, ...], dict[str, Value]]


@attrs.define
class Built:
    """One version: its tables, their rows by key, and its checkpoint."""

    tables: Mapping[str, Table]
    rows: dict[str, Rows]
    checkpoint: Checkpoint = attrs.field(factory=Checkpoint)

    def commit(self, changes: Iterable[Change], after: Checkpoint) -> None:
        """Make the changes in order."""
        for change in changes:
            self._change(self.tables[change.table], self.rows[change.table], change)
        self.checkpoint = after

    def _change(self, table: Table, rows: Rows, change: Change) -> None:
        if isinstance(change, Put):
            rows[tuple(change.row[name] for name in table.key)] = dict(change.row)
        elif isinstance(change, Delete):
            rows.pop(change.key, None)
        elif isinstance(change, Patch):
            rows.get(change.key, {}).update(change.row)
        elif isinstance(change, Add):
            empty: dict[str, Value] = dict.fromkeys(table.columns)
            row = rows.setdefault(change.key, empty | dict(zip(table.key, change.key, strict=True)))
            row.update(change.row)
            for name, amount in change.amounts.items():
                row[name] = int(row[name] or 0) + amount

    def select(
        self, table: str, where: Row, order: Sequence[str], after: Sequence[Value] | None = None, *, descending: bool = False
    ) -> list[dict[str, Value]]:
        """Return every matching row, in order."""
        columns = order_of(self.tables[table], order)

        def place(row: Row) -> tuple[Any, ...]:
            return tuple(row[name] for name in columns)

        rows = [row for row in self.rows[table].values() if all(row[name] == value for name, value in where.items())]
        if after is not None:
            rows = [row for row in rows if (place(row) < tuple(after) if descending else place(row) > tuple(after))]
        return [dict(row) for row in sorted(rows, key=place, reverse=descending)]


@attrs.define
class Model:
    """Every version of every projection, and the active version of each name."""

    built: dict[ProjectionId, Built] = attrs.field(factory=dict[ProjectionId, Built])
    active: dict[str, ProjectionId] = attrs.field(factory=dict[str, ProjectionId])

    def prepare(self, projection: ProjectionId, tables: Sequence[Table]) -> None:
        """Create a version if it does not exist."""
        if projection not in self.built:
            self.built[projection] = Built({table.name: table for table in tables}, {table.name: {} for table in tables})
        self.active.setdefault(projection.name, projection)

    def may_activate(self, projection: ProjectionId) -> bool:
        """Return True if readers may change over to a version."""
        now = self.built[self.active[projection.name]].checkpoint
        return self.built[projection].checkpoint.position >= now.position or now.error is not None

    def may_drop(self, projection: ProjectionId) -> bool:
        """Return True if a version may be dropped: it is not active, or it is the only one."""
        return self.active[projection.name] != projection or len(self.versions(projection.name)) == 1

    def drop(self, projection: ProjectionId) -> None:
        """Drop a version."""
        del self.built[projection]
        if self.active[projection.name] == projection:
            del self.active[projection.name]

    def versions(self, name: str) -> list[ProjectionVersion]:
        """Return the versions of a name, lowest first."""
        found = sorted((one for one in self.built if one.name == name), key=lambda one: one.version)
        return [
            ProjectionVersion(one, self.built[one].tables, self.built[one].checkpoint, is_active=self.active[name] == one) for one in found
        ]

    async def is_in(self, tested: TestedReadModel, meaning: str) -> None:
        """Expect every version, checkpoint and row of the model, and no others."""
        for name in sorted({one.name for one in self.built}):
            same(list(await tested.versions(name)), self.versions(name), meaning)
        for projection, built in self.built.items():
            for table in built.tables:
                page = await tested.select(table, projection=projection)
                same_page(page, built.select(table, {}, ()), 1_000, meaning)
                same((page.checkpoint, page.active), (built.checkpoint, self.active[projection.name]), meaning)


def same_page(page: RowsPage, whole: Sequence[Row], limit: int, meaning: str) -> None:
    """Expect a page to be the beginning of these rows, with equal types, and to say whether there are more."""
    for got, expected in zip(page.rows, whole, strict=False):
        if _typed(got) != _typed(expected):
            raise MismatchError(expected=_typed(expected), got=_typed(got), meaning=meaning)
    if len(page.rows) > limit or len(page.rows) > len(whole) or (whole and not page.rows):
        raise MismatchError(expected=f"{min(len(whole), limit)} rows", got=f"{len(page.rows)} rows", meaning=meaning)
    if page.is_end != (len(page.rows) == len(whole)):
        raise MismatchError(
            expected=f"is_end {not page.is_end} after {len(page.rows)} of {len(whole)} rows", got=f"is_end {page.is_end}", meaning=meaning
        )


def _typed(row: Row) -> str:
    return repr(dict(sorted(row.items())))
