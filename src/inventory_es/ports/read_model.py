"""The port of a read model: rows of projections, each with its checkpoint, moved together or not at all."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable
from uuid import UUID

import attrs
from msgspec import to_builtins as _iso

from inventory_es.ports.errors import CorruptStoreError

Value = str | int | None
"""What a column holds; an int is one of 64 bits. Instants are ISO 8601 texts in UTC with microseconds, so that they sort as time does."""

Row = Mapping[str, Value]
"""One row: every column by name."""


def _is_name(_instance: object, field: "attrs.Attribute[str]", value: str) -> None:
    if not (value.isascii() and value.isidentifier() and value == value.lower() and len(value) <= 64 and "__" not in value):
        msg = f"{field.name} must be a lower-case ASCII identifier of at most 64 characters, without two underscores in a row"
        raise ValueError(msg)


@attrs.frozen
class ProjectionId:
    """A projection's name and the version of its rows. A rebuild is a new version beside the old one.

    Raises:
        ValueError: a name that is no lower-case ASCII identifier, or has two underscores in a row; a version below 1.
    """

    name: str = attrs.field(validator=_is_name)
    version: int = attrs.field(validator=attrs.validators.ge(1))

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


@attrs.frozen
class Table:
    """The shape of one table of a projection.

    Attributes:
        name: unique within the projection.
        columns: every column with the type of what it holds, ``str`` or ``int``; those outside the key may also hold ``None``.
        key: the columns that tell rows apart.
        indexes: for each way of reading besides by the key, the columns that it filters by, then those that it orders by.
    """

    name: str = attrs.field(validator=_is_name)
    columns: Mapping[str, type[str] | type[int]]
    key: tuple[str, ...]
    indexes: tuple[tuple[str, ...], ...] = ()

    def __attrs_post_init__(self) -> None:
        for name in self.columns:
            _is_name(self, attrs.fields(Table).name, name)
        unknown = {*self.key, *(name for index in self.indexes for name in index)} - set(self.columns)
        if unknown or not self.key:
            msg = f"table {self.name}: the key and the indexes are made of its columns; unknown are {sorted(unknown)}"
            raise ValueError(msg)


@attrs.frozen
class Put:
    """Write a whole row, over the one of the same key if there is one."""

    table: str
    row: Row


@attrs.frozen
class Patch:
    """Change some columns of the row with this key; nothing happens where there is none."""

    table: str
    key: tuple[Value, ...]
    row: Row


@attrs.frozen
class Delete:
    """Take the row with this key away, if it is there."""

    table: str
    key: tuple[Value, ...]


@attrs.frozen
class Add:
    """Add to numbers of the row with this key, and set other columns of it; where there is none, it is made.

    Attributes:
        table: which.
        key: of the row.
        amounts: what is added, by column; a number that is not there yet, or ``None``, counts as 0.
        row: what is set; in a new row the columns that are named nowhere hold ``None``.
    """

    table: str
    key: tuple[Value, ...]
    amounts: Mapping[str, int]
    row: Row = attrs.field(factory=dict[str, Value])


Change = Put | Patch | Delete | Add
"""One change of rows."""


@attrs.frozen
class EventMark:
    """An event of the feed, by which a reader knows the feed again: another event at that position is of another history.

    Attributes:
        position: of the event.
        event_id: its id.
    """

    position: int
    event_id: UUID


@attrs.frozen(kw_only=True)
class Checkpoint:
    """How far a projection is, and whose it is.

    Attributes:
        position: everything up to it is in the rows; 0 at the beginning.
        recorded_at: of the event there; ``None`` at the beginning.
        epoch: raised by one whenever somebody takes the projection over: who holds an older one is fenced out.
        owner: who runs it, an opaque text; ``None`` for nobody.
        owned_until: until when nobody else may take it over without force.
        error: why it is stopped; ``None`` while it is not.
        mark: the last event that was read up to ``position``; ``None`` at the beginning, and in checkpoints from before marks were kept.
    """

    position: int = 0
    recorded_at: datetime | None = None
    epoch: int = 0
    owner: str | None = None
    owned_until: datetime | None = None
    error: str | None = None
    mark: EventMark | None = None


@attrs.frozen
class RowsPage:
    """Rows of a table, and the checkpoint from the same snapshot.

    Attributes:
        rows: in the order asked for.
        checkpoint: what the rows are as of.
        active: the version of this projection that readers ask, this one or another.
        is_end: whether there are no more.
    """

    rows: Sequence[Row]
    checkpoint: Checkpoint
    active: ProjectionId
    is_end: bool


@attrs.frozen
class ProjectionVersion:
    """One version of a projection.

    Attributes:
        projection_id: which.
        tables: their shapes, by name.
        checkpoint: how far it is, and whose it is.
        is_active: whether it is the version that readers ask.
    """

    projection_id: ProjectionId
    tables: Mapping[str, Table]
    checkpoint: Checkpoint
    is_active: bool


@runtime_checkable
class ReadModel(Protocol):
    """Rows of any number of projections, each version of each with tables and a checkpoint of its own.

    Of the versions of a name, one is active: the one that readers ask, while another is built beside it.

    Any number of tasks of one event loop may call at once. A call that is cancelled is done or not, and takes nothing from the next one.
    Projections, versions, tables and rows are separate, whatever their names and keys have in common. Rows that are given or answered
    belong to the caller: what becomes of them later changes nothing.

    Every method may raise:
        ProjectionNotFoundError: a version that was never prepared, or that was dropped.
        ReadModelUnavailableError: the backend is away; of a commit, see there.
        CorruptStoreError: what is stored is damaged, and waiting mends nothing. Take it away; the events make it again.
        StoreClosedError: called after :meth:`aclose`.
        ValueError: a table or column that the projection does not have, a limit below 1.
    """

    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        """Make the tables and a checkpoint at 0 where they are not there yet. Again with the same tables does nothing.

        The first version of a name that is prepared is active from then on.

        Raises:
            IncompatibleStoreError: this version has other tables. Give the projection a new version.
        """
        ...

    async def checkpoint(self, projection: ProjectionId, /) -> Checkpoint:
        """How far this projection is, and whose it is."""
        ...

    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        """Apply the changes in order and move the checkpoint from ``before`` to ``after``: all of it or nothing, however many there are.

        Every field of the checkpoint is compared, and kept: positions and epochs of 64 bits, texts of 5,000 characters and more.

        Raises:
            CheckpointConflictError: the checkpoint is not ``before``: somebody else moved it. Nothing was changed.
            ReadModelUnavailableError: perhaps changed. Read the checkpoint to find out: it tells.
            ValueError: ``after`` has a lower position or epoch than ``before``, or a change does not fit its table, or would take a number
                beyond 64 bits. Nothing was changed.
        """
        ...

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
        """Rows with these values, ordered by these columns and then by the key; checkpoint and rows from one snapshot.

        Args:
            projection: whose.
            table: which of its tables.
            where: columns and what they must hold.
            order: columns to order by, before those of the key. None of them may hold ``None``.
            after: only rows behind these values of the order columns and then the key columns, as ``place_of`` gives them.
            descending: from the last to the first.
            limit: the most rows, 1 or more.
        """
        ...

    async def versions(self, name: str, /) -> Sequence[ProjectionVersion]:
        """Every version of a projection that is there, lowest first; exactly one of them is active. Empty where there is none."""
        ...

    async def activate(self, projection: ProjectionId, /, *, before: Checkpoint) -> bool:
        """Let readers change over to this version, in one step, and so that they never go back in time.

        Returns:
            Whether it is active now. ``False`` where the version that is active is further, and does not stand at an error: nothing was
            changed; catch up, ask again.

        Raises:
            CheckpointConflictError: the checkpoint is not ``before``: somebody else moved it. Nothing was changed.
        """
        ...

    async def drop(self, projection: ProjectionId, /) -> None:
        """Take a version away, its rows and its checkpoint, in one step. Whoever runs it finds out at the next commit.

        Raises:
            ValueError: it is the active one of several. Nothing was changed.
        """
        ...

    async def aclose(self) -> None:
        """Finish what is in flight and release every resource. Closing twice is fine."""
        ...


def to_text(at: datetime) -> str:
    """An instant in UTC as a column holds it; :func:`from_text` reads it back."""
    text: str = _iso(at)  # ten times as fast as datetime.isoformat, and without microseconds where there are none
    return text if at.microsecond else f"{text[:-1]}.000000Z"


def from_text(value: Value, *, column: str) -> datetime:
    """Return the instant that a column holds.

    Raises:
        CorruptStoreError: it holds something else.
    """
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise CorruptStoreError(store="read model", place=f"column {column}", problem="what it holds is no instant")
    return at


def order_of(table: Table, order: Sequence[str]) -> tuple[str, ...]:
    """The columns that make an order total: those asked for, then the key's."""
    return (*order, *(name for name in table.key if name not in order))


def place_of(table: Table, order: Sequence[str], row: Row) -> tuple[Value, ...]:
    """Where a row stands in an order: what to give as ``after`` for the rows behind it."""
    return tuple(row[name] for name in order_of(table, order))
