"""What a projection is: a name, tables, and a pure function from an event to changes of rows."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Literal, Protocol, get_args

import attrs

from inventory_es.application.following.subscription import EventFilter
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.read_model import Change, ProjectionId, Table

OnFailure = Literal["stop", "retry", "park"]
"""What becomes of an event that can't be projected. ``stop``: the projection stands still until somebody resumes it. ``retry``: it tries
this event again and again, with growing pauses. ``park``: the event, and those behind it in its stream, wait aside; the rest goes on."""


def check_on_failure(on_failure: object) -> None:
    """Refuse what is no policy.

    Raises:
        ValueError: it is none of :data:`OnFailure`.
    """
    if on_failure not in get_args(OnFailure):
        msg = f"on_failure must be one of {', '.join(get_args(OnFailure))}"
        raise ValueError(msg)


PARKED = Table(
    "parked",
    {"position": int, "stream": str, "version": int, "event_type": str, "error": str, "parked_at": str},
    ("position",),
    (("stream",),),
)
"""The dead letters of a projection: one more table, made by whoever runs it."""


class Envelope(Protocol):
    """What a projection may know of an event besides the event: its place. Every recorded event is one."""

    @property
    def stream(self) -> StreamId:
        """The event's stream."""
        ...

    @property
    def version(self) -> int:
        """Its place there, starting at 1."""
        ...

    @property
    def position(self) -> int:
        """Its place in the store."""
        ...

    @property
    def recorded_at(self) -> datetime:
        """When it happened, UTC."""
        ...


@attrs.frozen
class EventEnvelope:
    """An :class:`Envelope` without its event, to ask a projection by hand.

    Attributes:
        stream: the event's stream.
        version: its place there, starting at 1.
        position: its place in the store.
        recorded_at: when it happened, UTC.
    """

    stream: StreamId
    version: int
    position: int
    recorded_at: datetime


@attrs.frozen(kw_only=True)
class Projection:
    """How events become rows.

    Attributes:
        projection_id: name and version. Whenever ``apply`` or the tables change, the version rises, and the rows are built anew.
        tables: its tables; none is called ``parked``.
        apply: from a decoded event and its envelope to changes. Pure: the same arguments give the same changes, and nothing else happens.
            With ``by_instant``: from the decoded events of one instant of one stream, oldest first, and the envelope of the last one.
        wanted: which events it is asked about.
        newest_only: whether rows depend on the newest event of a stream alone, as they may where events carry balances: of several
            events of a stream in one batch it is then asked about the last.
        by_instant: True if ``apply`` takes the events of an instant together: those of one command, or of one ``execute_all`` and time.
            For what must not see the states in between, such as a threshold. Rows and checkpoint then stand between instants, wherever
            the pages of the feed end. Events that were stored before instants were marked are instants alone.
        same_in_every_version: True if ``apply`` and the tables are the same in every version, so that versions only count rebuilds.
            Followers then keep up the version that readers ask, whichever it is. False if the code of a version is its own.

    Raises:
        ValueError: a table called ``parked``; ``by_instant`` together with ``newest_only``, or with a filter by type, which would cut
            instants.
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
        if any(table.name == PARKED.name for table in tables):
            msg = f"a table called {PARKED.name} holds the dead letters: choose another name"
            raise ValueError(msg)

    def __attrs_post_init__(self) -> None:
        if self.by_instant and (self.newest_only or self.wanted.types is not None):
            msg = "a projection by instant takes every event of a stream: neither newest_only nor a filter by type goes with it"
            raise ValueError(msg)


@attrs.frozen(kw_only=True)
class ProjectionStatus:
    """How one version of a projection stands.

    Attributes:
        projection_id: which.
        state: ``running`` (somebody runs it), ``idle`` (nobody does), ``retrying`` (at an event that fails), ``stopped`` (at an event that
            failed, until it is resumed).
        position: everything up to it is in the rows.
        error: where and why it fails; ``None`` while it does not.
        owner: who runs it.
        lag_events: how many positions the feed is ahead: at most as many events.
        lag_seconds: how long the oldest event that is not in the rows has waited.
        active: the version that readers ask, this one or another.
        unfollowed: other versions that are there and that nobody follows: what an interrupted rebuild left, or rows that may be dropped.
            Known to followers; empty in the status that a runner gives.
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

    @property
    def is_active(self) -> bool:
        """True if this is the version that readers ask."""
        return self.projection_id == self.active
