"""What every read model refuses before it does anything: questions and changes that fit no table."""

from collections.abc import Mapping, Sequence

from inventory_es.ports.errors import CheckpointConflictError
from inventory_es.ports.read_model import Change, Checkpoint, Delete, Patch, ProjectionId, Put, Row, Table, Value, order_of


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
    for change in changes:
        table = table_of(tables, change.table)
        if not isinstance(change, Put) and len(change.key) != len(table.key):
            msg = f"a key of table {table.name} has one value for each of {table.key}"
            raise ValueError(msg)
        if isinstance(change, Delete):
            continue
        if isinstance(change, Put) and change.row.keys() != table.columns.keys():
            msg = f"a row of table {table.name} has exactly the columns {sorted(table.columns)}"
            raise ValueError(msg)
        if isinstance(change, Patch) and not set(change.row) <= set(table.columns) - set(table.key):
            msg = f"a patch of table {table.name} names columns outside its key, and no others"
            raise ValueError(msg)
        for name, value in change.row.items():
            if type(value) is not table.columns[name] and (value is not None or name in table.key):
                msg = f"column {name} of table {table.name} holds {table.columns[name].__name__}"
                raise ValueError(msg)
