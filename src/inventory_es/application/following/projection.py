"""Projections: a name, tables, and a pure function from an event to changes of rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, get_args

import attrs

from inventory_es.application.following.subscription import EventFilter
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.read_model import Change, ProjectionId, ProjectionVersion, Table

OnFailure = Literal["stop", "retry", "park"]
"""Policy for an event that can't be projected.

- ``stop``: the projection stands still until somebody resumes it.
- ``retry``: the runner tries this event again, with growing pauses.
- ``park``: the event and later events of its stream become dead letters; other streams go on.
"""

DEAD_LETTERS = Table(
    "parked",
    {"position": int, "stream": str, "version": int, "event_type": str, "error": str, "parked_at": str},
    ("position",),
    (("stream",),),
)
"""Table of a projection's dead letters, created beside its own tables."""


def check_on_failure(on_failure: object) -> None:
    """Refuse an unknown policy.

    Raises:
        ValueError: the policy is not one of :data:`OnFailure`.
    """
    if on_failure not in get_args(OnFailure):
        msg = f"on_failure must be one of {', '.join(get_args(OnFailure))}"
        raise ValueError(msg)


class Envelope(Protocol):
    """The place of an event, as a projection sees it. Every recorded event is an envelope."""

    @property
    def stream(self) -> StreamId:
        """Stream of the event."""

    @property
    def version(self) -> int:
        """Version of the stream at the event, starting at 1."""

    @property
    def position(self) -> int:
        """Position of the event in the store."""

    @property
    def recorded_at(self) -> datetime:
        """Time of the event, UTC."""


@attrs.frozen
class EventEnvelope:
    """An :class:`Envelope` apart from its event, to call a projection directly.

    Attributes:
        stream: stream of the event.
        version: version of the stream at the event, starting at 1.
        position: position of the event in the store.
        recorded_at: time of the event, UTC.
    """

    stream: StreamId
    version: int
    position: int
    recorded_at: datetime


@attrs.frozen(kw_only=True)
class Projection:
    """A function from events to changes of rows, with the tables that it fills.

    Attributes:
        projection_id: name and version. Raise the version when ``apply`` or the tables change; rows of a new version are built from the
            first event.
        tables: its tables; none has the name of :data:`~inventory_es.application.following.projection.DEAD_LETTERS`.
        apply: takes a decoded event and its envelope, and returns changes. It must be pure: the same arguments give the same changes,
            without side effects. With ``by_instant`` it takes the decoded events of one instant of one stream, oldest first, and the
            envelope of the last one.
        wanted: the events that it is called with.
        newest_only: True if rows depend on the newest event of a stream alone, as they may where events carry balances. Of several
            events of a stream in one batch, ``apply`` gets the last.
        by_instant: True if ``apply`` takes the events of an instant together: those of one command, or of one ``execute_all`` and time.
            Use it where states in between must not be seen, for instance with a threshold. Rows and checkpoint then stand between
            instants, wherever the pages of the feed end. Events that were stored before instants were marked are instants of their own.
        same_in_every_version: True if ``apply`` and the tables are the same in every version, so that versions only count rebuilds.
            Followers then keep up whichever version readers ask. False if the code of a version is its own.

    Raises:
        ValueError: a table has the name of the table of dead letters. Or ``by_instant`` is combined with ``newest_only``, or with a filter
            by type, which would cut instants.
    """

    projection_id: ProjectionId
    tables: tuple[Table, ...] = attrs.field()
    apply: Callable[[Any, Envelope], Iterable[Change]]
    wanted: EventFilter = attrs.field(factory=EventFilter)
    newest_only: bool = False
    by_instant: bool = False
    same_in_every_version: bool = False

    @tables.validator
    def _check_tables(self, _field: object, tables: tuple[Table, ...]) -> None:
        if any(table.name == DEAD_LETTERS.name for table in tables):
            msg = f"a table called {DEAD_LETTERS.name} holds the dead letters: choose another name"
            raise ValueError(msg)

    def __attrs_post_init__(self) -> None:
        if self.by_instant and (self.newest_only or self.wanted.types is not None):
            msg = "a projection by instant takes every event of a stream: neither newest_only nor a filter by type goes with it"
            raise ValueError(msg)

    @property
    def all_tables(self) -> Mapping[str, Table]:
        """Every table by name, that of the dead letters included."""
        return {table.name: table for table in (*self.tables, DEAD_LETTERS)}


@attrs.frozen(kw_only=True)
class ProjectionStatus:
    """The state of one version of a projection.

    Attributes:
        projection_id: name and version.
        state: ``running`` (a runner has it), ``idle`` (none has), ``retrying`` (at an event that fails), ``stopped`` (at an event that
            failed, until it is resumed).
        position: every event up to it is in the rows.
        error: place and reason of a failure; ``None`` while there is none.
        owner: the runner that has it.
        lag_events: number of positions that the feed is ahead: an upper bound for events.
        lag_seconds: age of the oldest event that is not in the rows.
        active: the version that readers ask, this one or another.
        unfollowed: other existing versions that nobody follows: remains of an interrupted rebuild, or rows that may be dropped. Followers
            fill it in; a runner leaves it empty.
        dead_letters: number of its dead letters, counted up to 1,000.
    """

    projection_id: ProjectionId
    state: Literal["running", "idle", "retrying", "stopped"]
    position: int
    error: str | None
    owner: str | None
    lag_events: int
    lag_seconds: float
    active: ProjectionId
    unfollowed: tuple[ProjectionId, ...] = ()
    dead_letters: int = 0

    @property
    def is_active(self) -> bool:
        """True if this is the version that readers ask."""
        return self.projection_id == self.active


def active_of(versions: Sequence[ProjectionVersion]) -> ProjectionVersion | None:
    """Return the version that readers ask; ``None`` where there is no version."""
    return next((one for one in versions if one.is_active), None)
