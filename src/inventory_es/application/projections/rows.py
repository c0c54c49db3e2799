"""Rows of projections: one class declares the columns of a table, the changes of its rows, and the answer to a query."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar, cast, get_args

import attrs

from inventory_es.application.following.projection import Envelope, Projection
from inventory_es.application.following.subscription import EventFilter
from inventory_es.application.results import Result
from inventory_es.domain.identifiers import INVENTORY_CATEGORY
from inventory_es.ports.read_model import Add, Change, Delete, Patch, ProjectionId, Put, Row, Table, Value, from_text, to_text

T = TypeVar("T")

Key = tuple[Value, ...]
"""Values of the key columns of a row."""


@attrs.frozen(kw_only=True)
class AsOf(Result):
    """A row about one inventory, with its place in the history.

    Attributes:
        product_id: the product.
        store_id: the store.
        version: of the inventory's stream, at the event that the row shows.
        position: of that event in the store.
        recorded_at: time of that event, UTC.
    """

    product_id: str
    store_id: str
    version: int
    position: int
    recorded_at: datetime


class RowTable(Generic[T]):
    """A table whose columns are the attributes of a class. Instants are stored as text and read as datetimes.

    Args:
        name: unique within the projection.
        kind: attrs class of the rows: texts, integers, instants and enumerations of text, optional outside the key.
        key: the columns that tell rows apart.
        indexes: as of :class:`~inventory_es.ports.Table`.

    Attributes:
        shape: the table, for the read model: columns of the key, then of the class, then of its bases.
    """

    def __init__(self, name: str, kind: type[T], *, key: tuple[str, ...], indexes: tuple[tuple[str, ...], ...] = ()) -> None:
        fields: Iterable[attrs.Attribute[Any]] = attrs.fields(cast(Any, kind))
        kinds = {
            one.name: get_args(one.type) or (one.type,) for one in sorted(fields, key=lambda one: one.name not in kind.__annotations__)
        }
        columns = {column: int if int in kinds[column] else str for column in dict.fromkeys((*key, *kinds))}
        self.name: str = name
        self.shape: Table = Table(name, columns, key, indexes)
        self._kind = kind
        self._instants = tuple(column for column, types in kinds.items() if datetime in types)

    def put(self, row: Row) -> Put:
        """Return the change that writes a whole row, with instants as text (``to_text``)."""
        return Put(self.name, row)

    def patch(self, key: Key, columns: Row) -> Patch:
        """Return the change that sets some columns of the row with this key."""
        return Patch(self.name, key, columns)

    def delete(self, key: Key) -> Delete:
        """Return the change that deletes the row with this key."""
        return Delete(self.name, key)

    def add(self, key: Key, amounts: Mapping[str, int], columns: Row) -> Add:
        """Return the change that adds amounts to some columns, and sets others."""
        return Add(self.name, key, amounts, columns)

    def read(self, rows: Sequence[Row]) -> tuple[T, ...]:
        """Return rows of the table as objects.

        Raises:
            CorruptStoreError: a column holds no instant.
        """
        return tuple(map(self._object, rows))

    def _object(self, row: Row) -> T:
        values: dict[str, Any] = dict(row)
        for column in self._instants:
            if values[column] is not None:
                values[column] = from_text(values[column], column=column)
        return self._kind(**values)


def stamp(envelope: Envelope) -> dict[str, Value]:
    """Return the columns that say as of which event a row is."""
    return {"version": envelope.version, "position": envelope.position, "recorded_at": to_text(envelope.recorded_at)}


def inventory_projection(
    name: str, version: int, apply: Callable[[Any, Envelope], Iterable[Change]], *tables: RowTable[Any], **options: bool
) -> Projection:
    """Return a projection of the events of every inventory; ``options`` are those of :class:`Projection`."""
    wanted = EventFilter(categories={INVENTORY_CATEGORY})
    return Projection(
        projection_id=ProjectionId(name, version), tables=tuple(one.shape for one in tables), apply=apply, wanted=wanted, **options
    )
