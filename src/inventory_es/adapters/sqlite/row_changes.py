"""The changes of one commit, folded so that each row is written once: only what they come to in the end is in the database."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from inventory_es.ports.read_model import Add, Change, Patch, Put, Row, Table, Value
from inventory_es.ports.toolkit.row_rules import add_up, picker

Key = tuple[Any, ...]


@attrs.define
class RowChanges:
    """What becomes of rows of one table, each row once, in any order.

    Attributes:
        table: which.
        whole: rows to write, and ``None`` for those to take away, by key.
        partial: changes of rows whose other columns stay, by key; none of these keys is in ``whole``.
    """

    table: Table
    whole: dict[Key, Row | None] = attrs.field(factory=dict[Key, Row | None])
    partial: dict[Key, Patch | Add] = attrs.field(factory=dict[Key, Patch | Add])
    _key_of: Callable[[Row], Key] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._key_of = picker(self.table.key)

    def take(self, change: Change) -> bool:
        """Fold one more change in; ``False`` where it can only follow what is here already, as a change of its own."""
        if not isinstance(change, Patch | Add):
            key = self._key_of(change.row) if isinstance(change, Put) else change.key
            self.whole[key] = change.row if isinstance(change, Put) else None
            self.partial.pop(key, None)
            return True
        key = change.key
        earlier = self.partial.get(key)
        if key in self.whole:
            self.whole[key] = self._changed(self.whole[key], change)
        elif earlier is None:
            self.partial[key] = change
        elif isinstance(earlier, Patch) and isinstance(change, Add):  # a row that is not there is made by the one, not by the other
            return False
        else:
            self.partial[key] = self._joined(earlier, change)
        return True

    def _changed(self, row: Row | None, change: Patch | Add) -> Row | None:
        if isinstance(change, Patch):
            return None if row is None else {**row, **change.row}
        base = dict(zip(self.table.key, change.key, strict=True)) if row is None else row
        return {**dict.fromkeys(self.table.columns), **base, **change.row, **self._sums(base, change.amounts)}

    def _joined(self, earlier: Patch | Add, change: Patch | Add) -> Patch | Add:
        if isinstance(earlier, Patch):
            return Patch(change.table, change.key, {**earlier.row, **change.row})
        if isinstance(change, Add) and earlier.amounts.keys() == change.amounts.keys() and earlier.row.keys() == change.row.keys():
            return Add(change.table, change.key, self._sums(earlier.amounts, change.amounts), change.row)
        amounts = {name: amount for name, amount in earlier.amounts.items() if name not in change.row}
        row = {**earlier.row, **change.row}
        if isinstance(change, Add):
            row |= self._sums(row, {name: amount for name, amount in change.amounts.items() if name in row})
            amounts |= self._sums(amounts, {name: amount for name, amount in change.amounts.items() if name not in row})
        return Add(change.table, change.key, amounts, row)

    def _sums(self, base: Mapping[str, Value], amounts: Mapping[str, int]) -> dict[str, int]:
        return {name: add_up(self.table.name, base.get(name), amount) for name, amount in amounts.items()}


def fold(tables: Mapping[str, Table], changes: Iterable[Change]) -> Iterator[Mapping[str, RowChanges]]:
    """The changes in as few steps as they allow, nearly always one; the steps are made in order."""
    step: dict[str, RowChanges] = {}
    for change in changes:
        into = step.get(change.table)
        if into is None:
            into = step[change.table] = RowChanges(tables[change.table])
        if not into.take(change):
            yield step
            step = {change.table: RowChanges(tables[change.table])}
            step[change.table].take(change)
    yield step
