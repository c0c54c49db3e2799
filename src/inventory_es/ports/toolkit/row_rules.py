"""Rules that every read model shares: refused selections and changes, checkpoints and sums."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from struct import Struct
from struct import error as StructError  # noqa: N812  # a class, for all its name
from typing import Any, get_args

from inventory_es.ports.errors import CheckpointConflictError
from inventory_es.ports.read_model import Add, Change, Checkpoint, Delete, ProjectionId, Put, Row, Table, Value, order_of

_BOUND = 2**63
_CHANGES = frozenset(get_args(Change))


def table_of(tables: Mapping[str, Table], name: str) -> Table:
    """Return the table of this name.

    Raises:
        ValueError: there is no such table.
    """
    table = tables.get(name)
    if table is None:
        msg = f"the projection has no table {name}"
        raise ValueError(msg)
    return table


def picker(names: Sequence[str]) -> Callable[[Row], tuple[Any, ...]]:
    """Return a function that picks the values of these columns from a row."""
    return itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)


def check_before(projection: ProjectionId, before: Checkpoint, actual: Checkpoint) -> None:
    """Refuse an expected checkpoint that is not the actual one.

    Raises:
        CheckpointConflictError: with the actual position and epoch.
    """
    if actual != before:
        raise CheckpointConflictError(
            projection=str(projection),
            position=before.position,
            epoch=before.epoch,
            actual_position=actual.position,
            actual_epoch=actual.epoch,
        )


def may_take_over(new: Checkpoint, active: Checkpoint) -> bool:
    """Return True if readers may switch: the new version is as far as the active one, or the active one is stopped by an error."""
    return new.position >= active.position or active.error is not None


def check_drop(projection: ProjectionId, active: ProjectionId, others: int) -> None:
    """Refuse to drop the version that readers use.

    Raises:
        ValueError: the version is active, and there are others.
    """
    if projection == active and others:
        msg = f"{projection} is the version that readers ask: activate another one before this one is dropped"
        raise ValueError(msg)


def check_select(table: Table, where: Row, order: Sequence[str], after: Sequence[Value] | None, limit: int) -> None:
    """Refuse a selection that does not fit the table.

    Raises:
        ValueError: an unknown column, a limit below 1, an ``after`` of another length than the order.
    """
    unknown = {*where, *order} - set(table.columns)
    if unknown:
        msg = f"table {table.name} has no columns {sorted(unknown)}"
        raise ValueError(msg)
    if type(limit) is not int or limit < 1:
        msg = "limit must be 1 or more, a whole number"
        raise ValueError(msg)
    if after is not None and (not isinstance(after, tuple | list) or len(after) != len(order_of(table, order))):
        msg = f"after has one value for each of {order_of(table, order)}"
        raise ValueError(msg)


def check_commit(tables: Mapping[str, Table], changes: Sequence[Change], before: Checkpoint, after: Checkpoint) -> None:
    """Refuse a commit that goes backwards, or that does not fit the tables.

    Raises:
        ValueError: the message names the problem.
    """
    if after.position < before.position or after.epoch < before.epoch:
        msg = "a checkpoint never goes back: after is behind before"
        raise ValueError(msg)
    known: dict[str, _KnownShapes] = {}
    for change in changes:
        if type(change) not in _CHANGES:
            msg = f"a change is a Put, an Add, a Patch or a Delete, not a {type(change).__name__}"
            raise ValueError(msg)
        if change.table not in known:
            known[change.table] = _KnownShapes(table_of(tables, change.table))
        known[change.table].check(change)


def add_up(table: str, value: Value, amount: int) -> int:
    """Return the sum of a column's value and an amount.

    Raises:
        ValueError: the sum exceeds 64 bits.
    """
    total = amount if value is None else int(value) + amount
    if not -_BOUND <= total < _BOUND:
        msg = f"a number of table {table} would be beyond 64 bits"
        raise ValueError(msg)
    return total


class _KnownShapes:
    """Shapes of checked changes. Nearly every change has the columns and types of an earlier one, so only the first is checked fully."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._numbers: dict[tuple[object, ...], tuple[str, ...]] = {}
        self._pack = {count: Struct(f"{count}q").pack for count in range(2 * len(table.columns) + 1)}

    def check(self, change: Change) -> None:
        row: Row = {} if isinstance(change, Delete) else change.row
        shape: tuple[object, ...] = (type(change), *row, *map(type, row.values()))
        key: tuple[Value, ...] = ()
        amounts: Iterable[int] = ()
        if not isinstance(change, Put):
            key = change.key
            shape += (0, *map(type, key))
        if isinstance(change, Add):
            amounts = change.amounts.values()
            shape += (0, *change.amounts, *map(type, amounts))
        numbers = self._numbers.get(shape)
        if numbers is None:
            _check_change(self._table, change)
            self._numbers[shape] = tuple(name for name, value in row.items() if isinstance(value, int))
            return
        values = [*[row[name] for name in numbers], *amounts, *[value for value in key if isinstance(value, int)]]
        try:
            self._pack[len(values)](*values)
        except StructError:
            _check_change(self._table, change)


def _check_change(table: Table, change: Change) -> None:
    if isinstance(change, Put):
        if change.row.keys() != table.columns.keys():
            msg = f"a row of table {table.name} has exactly the columns {sorted(table.columns)}"
            raise ValueError(msg)
        _check_values(table, change.row)
        return
    if len(change.key) != len(table.key):
        msg = f"a key of table {table.name} has one value for each of {table.key}"
        raise ValueError(msg)
    _check_values(table, dict(zip(table.key, change.key, strict=True)))
    if isinstance(change, Delete):
        return
    if not set(change.row) <= set(table.columns) - set(table.key):
        msg = f"a change of table {table.name} names columns outside its key, and no others"
        raise ValueError(msg)
    _check_values(table, change.row)
    if isinstance(change, Add):
        _check_amounts(table, change)


def _check_amounts(table: Table, change: Add) -> None:
    numbers = {name for name, kind in table.columns.items() if kind is int} - set(table.key) - set(change.row)
    if not set(change.amounts) <= numbers:
        msg = f"what is added in table {table.name} are numbers outside its key that are not set in the same change"
        raise ValueError(msg)
    for name, amount in change.amounts.items():
        _check_value(table, name, amount)


def _check_values(table: Table, row: Row) -> None:
    for name, value in row.items():
        if value is not None or name in table.key:
            _check_value(table, name, value)


def _check_value(table: Table, name: str, value: Value) -> None:
    kind = table.columns[name]
    if type(value) is not kind or (isinstance(value, int) and not -_BOUND <= value < _BOUND):
        msg = f"column {name} of table {table.name} holds {kind.__name__}{' of 64 bits' if kind is int else ''}"
        raise ValueError(msg)
