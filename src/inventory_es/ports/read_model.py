"""The port of a read model: the rows of projections, each committed together with its checkpoint."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable
from uuid import UUID

import attrs
from msgspec import to_builtins as _iso

from inventory_es.ports.errors import CorruptStoreError

Value = str | int | None
"""The value of a column; an int has 64 bits. Instants are ISO 8601 texts in UTC with microseconds, so that they sort by time."""

Row = Mapping[str, Value]
"""One row: every column by name."""


def _is_name(_instance: object, field: "attrs.Attribute[str]", value: str) -> None:
    if not (value.isascii() and value.isidentifier() and value == value.lower() and len(value) <= 64 and "__" not in value):
        msg = f"{field.name} must be a lower-case ASCII identifier of at most 64 characters, without two underscores in a row"
        raise ValueError(msg)


@attrs.frozen
class ProjectionId:
    """A projection's name and the version of its rows. A rebuild makes a new version next to the old one.

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
        columns: every column with the type of its values, ``str`` or ``int``. Columns outside the key may also hold ``None``.
        key: the columns that identify a row.
        indexes: for each kind of selection other than by the key, its filter columns, then its order columns.
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
    """Write a whole row, and replace the row with the same key if there is one."""

    table: str
    row: Row


@attrs.frozen
class Patch:
    """Change some columns of the row with this key. A missing row is a no-op."""

    table: str
    key: tuple[Value, ...]
    row: Row


@attrs.frozen
class Delete:
    """Delete the row with this key. A missing row is a no-op."""

    table: str
    key: tuple[Value, ...]


@attrs.frozen
class Add:
    """Add to numbers of the row with this key, and set other columns of it. A missing row is created.

    Attributes:
        table: of the row.
        key: of the row.
        amounts: the numbers to add, by column. A missing number, or ``None``, counts as 0.
        row: the columns to set. In a new row, all other columns hold ``None``.
    """

    table: str
    key: tuple[Value, ...]
    amounts: Mapping[str, int]
    row: Row = attrs.field(factory=dict[str, Value])


Change = Put | Patch | Delete | Add
"""One change of a row."""


@attrs.frozen
class EventMark:
    """An event by which a reader recognises the feed. Another event at that position belongs to another history.

    Attributes:
        position: of the event.
        event_id: of the event.
    """

    position: int
    event_id: UUID


@attrs.frozen(kw_only=True)
class Checkpoint:
    """The progress of a projection, and its lease.

    Attributes:
        position: the rows contain every event up to it; 0 at the beginning.
        recorded_at: of the event there; ``None`` at the beginning.
        epoch: the fencing token. Each takeover adds one, so a runner with an older epoch can't commit.
        owner: the runner that holds the lease, an opaque text; ``None`` for no runner.
        owned_until: the end of the lease, until which no other runner takes over without force.
        error: the reason why the projection is stopped; ``None`` while it is not.
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
        rows: in the requested order.
        checkpoint: the state of the projection that the rows show.
        active: the version of this projection that readers use, this one or another.
        is_end: True if there are no more rows.
    """

    rows: Sequence[Row]
    checkpoint: Checkpoint
    active: ProjectionId
    is_end: bool


@attrs.frozen
class ProjectionVersion:
    """One version of a projection.

    Attributes:
        projection_id: its name and version.
        tables: the shapes of its tables, by name.
        checkpoint: its progress and its lease.
        is_active: True if readers use this version.
    """

    projection_id: ProjectionId
    tables: Mapping[str, Table]
    checkpoint: Checkpoint
    is_active: bool


@runtime_checkable
class ReadModel(Protocol):
    """Rows of any number of projections. Each version of a projection has its own tables and checkpoint.

    One version of each name is active: readers use it while another version is built.

    Any number of tasks of one event loop may call at once. A cancelled call takes effect or not, and takes nothing from the next one.
    Projections, versions, tables and rows are separate, also if their names or keys look alike. Rows that are passed or returned belong to
    the caller; later changes to them have no effect.

    Every method may raise:
        ProjectionNotFoundError: a version that was never prepared, or that was dropped.
        ReadModelUnavailableError: the backend is away; for a commit, see there.
        CorruptStoreError: the stored data is damaged, and waiting does not help. Remove it, and rebuild it from the events.
        StoreClosedError: called after :meth:`aclose`.
        ValueError: a table or column that the projection does not have, a limit below 1.
    """

    async def prepare(self, projection: ProjectionId, tables: Sequence[Table], /) -> None:
        """Create the tables, and a checkpoint at 0, if they are missing. Idempotent for the same tables.

        The first prepared version of a name becomes active.

        Raises:
            IncompatibleStoreError: this version has other tables. Give the projection a new version.
        """
        ...

    async def checkpoint(self, projection: ProjectionId, /) -> Checkpoint:
        """Return the progress of this projection, and its lease."""
        ...

    async def commit(self, projection: ProjectionId, changes: Sequence[Change], /, *, before: Checkpoint, after: Checkpoint) -> None:
        """Apply the changes in order and move the checkpoint from ``before`` to ``after``: all or nothing, for any number of changes.

        Every field of the checkpoint is compared and kept: positions and epochs of 64 bits, texts of 5,000 characters and more.

        Raises:
            CheckpointConflictError: the checkpoint is not ``before``, because another runner moved it. Nothing was changed.
            ReadModelUnavailableError: perhaps changed. Read the checkpoint to find out.
            ValueError: ``after`` has a lower position or epoch than ``before``, a change does not fit its table, or a number would exceed
                64 bits. Nothing was changed.
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
        """Select rows with these values, ordered by these columns and then by the key. Checkpoint and rows are from one snapshot.

        Args:
            projection: the projection that owns the table.
            table: one of its tables.
            where: columns with their required values.
            order: columns to order by, before those of the key. None of them may hold ``None``.
            after: return only rows that follow these values of the order columns and then the key columns, as ``place_of`` returns them.
            descending: True for the order from the last row to the first.
            limit: the most rows, 1 or more.
        """
        ...

    async def versions(self, name: str, /) -> Sequence[ProjectionVersion]:
        """Return every version of a projection, lowest first. Exactly one of them is active. Empty if there is none."""
        ...

    async def activate(self, projection: ProjectionId, /, *, before: Checkpoint) -> bool:
        """Switch readers to this version, in one step, so that they never go back in time.

        Returns:
            True if this version is active now. ``False`` if the active version is further and is not stopped by an error. Then nothing was
            changed: catch up, and try again.

        Raises:
            CheckpointConflictError: the checkpoint is not ``before``, because another runner moved it. Nothing was changed.
        """
        ...

    async def drop(self, projection: ProjectionId, /) -> None:
        """Delete a version, its rows and its checkpoint, in one step. Its runner gets an error at the next commit.

        Raises:
            ValueError: the version is active, and there are others. Nothing was changed.
        """
        ...

    async def aclose(self) -> None:
        """Finish the calls in flight and release every resource. Idempotent."""
        ...


def to_text(at: datetime) -> str:
    """Return an instant in UTC as the text of a column. :func:`from_text` reads it back."""
    text: str = _iso(at)  # ten times as fast as datetime.isoformat, and without microseconds where there are none
    return text if at.microsecond else f"{text[:-1]}.000000Z"


def from_text(value: Value, *, column: str) -> datetime:
    """Return the instant in a column.

    Raises:
        CorruptStoreError: the column holds no instant.
    """
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise CorruptStoreError(store="read model", place=f"column {column}", problem="what it holds is no instant")
    return at


def order_of(table: Table, order: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a total order: the requested ones, then those of the key."""
    return (*order, *(name for name in table.key if name not in order))


def place_of(table: Table, order: Sequence[str], row: Row) -> tuple[Value, ...]:
    """Return the place of a row in an order: pass it as ``after`` to select the following rows."""
    return tuple(row[name] for name in order_of(table, order))
