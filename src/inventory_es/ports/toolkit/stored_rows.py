"""Projections as rows: the changes of a commit, folded, and the columns of the catalogue of projections."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import attrs

from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.read_model import Add, Change, Checkpoint, EventMark, Patch, Put, Row, Table, Value, from_text, to_text
from inventory_es.ports.toolkit.row_rules import add_up, picker

Key = tuple[Any, ...]
"""The values of a row's key, or of more of its columns."""

_KINDS: Mapping[str, type[str] | type[int]] = {"str": str, "int": int}


@attrs.define
class RowChanges:
    """The changes of one commit to one table, folded so that each row is written once, in any order.

    Attributes:
        table: the table of the rows.
        whole: the rows to write, and ``None`` for rows to delete, by key.
        partial: changes of rows whose other columns stay, by key. No key is in ``whole`` too.
    """

    table: Table
    whole: dict[Key, Row | None] = attrs.field(factory=dict[Key, Row | None])
    partial: dict[Key, Patch | Add] = attrs.field(factory=dict[Key, Patch | Add])
    _key_of: Callable[[Row], Key] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._key_of = picker(self.table.key)

    def take(self, change: Change) -> bool:
        """Fold in one more change. Return ``False`` if the change must be a step of its own, after the present ones."""
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
    """Fold changes into as few steps as possible, nearly always one. The steps must be written in order."""
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


def shape_of(tables: Mapping[str, Table]) -> str:
    """Return the JSON text of tables in the catalogue."""
    shapes = {
        table.name: [{name: kind.__name__ for name, kind in table.columns.items()}, table.key, table.indexes] for table in tables.values()
    }
    return json.dumps(shapes, sort_keys=True)


def tables_of(shape: str) -> Mapping[str, Table]:
    """Return the tables of a shape in the catalogue.

    Raises:
        CorruptStoreError: the shape is damaged.
    """
    try:
        return {
            name: Table(name, {column: _KINDS[kind] for column, kind in columns.items()}, tuple(key), tuple(map(tuple, indexes)))
            for name, (columns, key, indexes) in json.loads(shape).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
        raise CorruptStoreError(store="read model", place="column shape of projections", problem="what it holds are no tables") from problem


def checkpoint_values(checkpoint: Checkpoint) -> tuple[Value, ...]:
    """Return the columns of a checkpoint, in the order in which :func:`checkpoint_of` reads them."""
    mark = (None, None) if checkpoint.mark is None else (checkpoint.mark.position, str(checkpoint.mark.event_id))
    times = _text_of(checkpoint.recorded_at), _text_of(checkpoint.owned_until)
    return (checkpoint.position, times[0], checkpoint.epoch, checkpoint.owner, times[1], checkpoint.error, *mark)


def checkpoint_of(row: Sequence[Any]) -> Checkpoint:
    """Return the checkpoint of its columns.

    Raises:
        CorruptStoreError: a column holds what no projection has.
    """
    position, recorded_at, epoch, owner, owned_until, error, mark_position, mark_event_id = row
    return Checkpoint(
        position=_number(position, "position", least=0),
        recorded_at=_time(recorded_at),
        epoch=_number(epoch, "epoch", least=0),
        owner=_words(owner, "owner"),
        owned_until=_time(owned_until),
        error=_words(error, "error"),
        mark=None if mark_event_id is None else _mark(mark_position, mark_event_id),
    )


def active_of(version: object) -> int:
    """Return the number of a version in the catalogue.

    Raises:
        CorruptStoreError: the column holds what no projection has.
    """
    return _number(version, "version", least=1, table="active_projections")


def _mark(position: object, event_id: object) -> EventMark:
    column, number = "mark_event_id", _number(position, "mark_position", least=1)
    try:
        return EventMark(number, UUID(str(event_id)))
    except ValueError:
        raise _damaged(column, "projections") from None


def _number(value: object, column: str, *, least: int, table: str = "projections") -> int:
    if type(value) is not int or value < least:
        raise _damaged(column, table)
    return value


def _words(value: object, column: str) -> str | None:
    if not isinstance(value, str | None):
        raise _damaged(column, "projections")
    return value


def _time(text: str | None) -> datetime | None:
    return None if text is None else from_text(text, column="recorded_at or owned_until of projections")


def _damaged(column: str, table: str) -> CorruptStoreError:
    problem = "it holds what no projection has (remove the file: what follows the events makes it again)"
    return CorruptStoreError(store="read model", place=f"column {column} of {table}", problem=problem)


def _text_of(at: datetime | None) -> str | None:
    return None if at is None else to_text(at)
