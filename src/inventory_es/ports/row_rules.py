"""What every read model refuses before it does anything: questions and changes that fit no table."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from struct import Struct
from struct import error as StructError  # noqa: N812  # a class, for all its name
from typing import Any

from inventory_es.ports.errors import CheckpointConflictError
from inventory_es.ports.read_model import Add, Change, Checkpoint, Delete, ProjectionId, Put, Row, Table, Value, order_of

_BOUND = 2**63


def table_of(tables: Mapping[str, Table], name: str) -> Table:
    """The table of this name.

    Raises:
        ValueError: there is none.
    """
    table = tables.get(name)
    if table is None:
        msg = f"the projection has no table {name}"
        raise ValueError(msg)
    return table


def picker(names: Sequence[str]) -> Callable[[Row], tuple[Any, ...]]:
    """What takes the values of these columns from a row."""
    return itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)


def check_before(projection: ProjectionId, before: Checkpoint, actual: Checkpoint) -> None:
    """Refuse to go on from another checkpoint than the one that is there.

    Raises:
        CheckpointConflictError: where it is.
    """
    if actual != before:
        raise CheckpointConflictError(
            projection=str(projection),
            position=before.position,
            epoch=before.epoch,
            actual_position=actual.position,
            actual_epoch=actual.epoch,
        )


def check_drop(projection: ProjectionId, active: ProjectionId, others: int) -> None:
    """Refuse to take away what readers ask.

    Raises:
        ValueError: it is the active one of several versions.
    """
    if projection == active and others:
        msg = f"{projection} is the version that readers ask: activate another one before this one is dropped"
        raise ValueError(msg)


def check_select(table: Table, where: Row, order: Sequence[str], after: Sequence[Value] | None, limit: int) -> None:
    """Refuse what no table can answer.

    Raises:
        ValueError: an unknown column, a limit below 1, an ``after`` of another length than the order.
    """
    unknown = {*where, *order} - set(table.columns)
    if unknown:
        msg = f"table {table.name} has no columns {sorted(unknown)}"
        raise ValueError(msg)
    if limit < 1:
        msg = "limit must be 1 or more"
        raise ValueError(msg)
    if after is not None and len(after) != len(order_of(table, order)):
        msg = f"after has one value for each of {order_of(table, order)}"
        raise ValueError(msg)


def check_commit(tables: Mapping[str, Table], changes: Sequence[Change], before: Checkpoint, after: Checkpoint) -> None:
    """Refuse a commit that goes backwards, or that does not fit the tables.

    Raises:
        ValueError: which.
    """
    if after.position < before.position or after.epoch < before.epoch:
        msg = "a checkpoint never goes back: after is behind before"
        raise ValueError(msg)
    usual = {name: _UsualRows(table) for name, table in tables.items()} if changes else {}
    for change in changes:
        if not (type(change) is Put and change.table in usual and usual[change.table].include(change.row)):
            _check_change(table_of(tables, change.table), change)


def add_up(table: str, value: Value, amount: int) -> int:
    """The sum in a column.

    Raises:
        ValueError: it is beyond 64 bits.
    """
    total = amount if value is None else int(value) + amount
    if not -_BOUND <= total < _BOUND:
        msg = f"a number of table {table} would be beyond 64 bits"
        raise ValueError(msg)
    return total


class _UsualRows:
    """How nearly every row looks: all columns in the order of the table. Whether the types of its values fit is found out once for all."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._names = list(table.columns)
        self._numbers: dict[tuple[type, ...], tuple[str, ...] | None] = {}
        self._pack = {count: Struct(f"{count}q").pack for count in range(len(self._names) + 1)}

    def include(self, row: Row) -> bool:
        if list(row) != self._names:
            return False
        kinds = tuple(map(type, row.values()))
        if kinds not in self._numbers:
            self._numbers[kinds] = self._numbers_of(kinds)
        numbers = self._numbers[kinds]
        if numbers is None:
            return False
        try:
            self._pack[len(numbers)](*[row[name] for name in numbers])
        except StructError:
            return False
        return True

    def _numbers_of(self, kinds: tuple[type, ...]) -> tuple[str, ...] | None:
        """The columns that hold numbers where the types are these; ``None`` where they don't fit."""
        nothing = type(None)
        for (name, kind), actual in zip(self._table.columns.items(), kinds, strict=True):
            if actual is not kind and (actual is not nothing or name in self._table.key):
                return None
        return tuple(name for name, kind in zip(self._names, kinds, strict=True) if kind is int)


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
