"""Conflicts and faults of the ports. Driver errors never leak: an adapter raises one of these, or ``ValueError`` for misuse."""

from typing import Any
from uuid import UUID

from inventory_es.domain.errors import ConflictError, FaultError
from inventory_es.domain.stream_id import StreamId


class ConcurrencyError(ConflictError):
    """A stream did not have the version that the writer expected. Nothing was written."""

    stream: StreamId
    expected: int
    actual: int

    code = "concurrency"
    sentence = "stream {stream} has version {actual}, not the expected {expected}: read it again and decide again"


class UnavailableError(FaultError):
    """A backend is away for now. Nothing was written; the same call may succeed later, or after a person has removed the cause.

    Attributes:
        retry_after: the seconds before which the call can't succeed, if they are known.
        remedy: the action that a person must take first, such as freeing space; then ``retryable`` is false. ``None``: the cause may pass
            by itself.
    """

    retry_after: float | None = None
    remedy: str | None = None

    code = "unavailable"
    retryable = True

    sentence = "a backend is away for now: {_try_again}"

    def __attrs_post_init__(self) -> None:
        vars(self)["retryable"] = self.remedy is None

    @property
    def _try_again(self) -> str:
        return f"try again{self._when}" if self.remedy is None else self.remedy

    @property
    def _first(self) -> str:
        return "" if self.remedy is None else f"{self.remedy}, then "

    @property
    def _when(self) -> str:
        return "" if self.retry_after is None else f" in {self.retry_after:.3g} s"


class StoreUnavailableError(UnavailableError):
    """The event store can't serve now. Nothing was written."""

    store: str
    reason: str

    code = "store_unavailable"
    sentence = "{store} is unavailable, nothing was written: {reason}; {_try_again}"


class CacheUnavailableError(UnavailableError):
    """The cache can't serve now."""

    cache: str
    reason: str

    code = "cache_unavailable"
    sentence = "{cache} is unavailable: {reason}; go on without it or {_try_again}"


class EventBusUnavailableError(UnavailableError):
    """The event bus can't accept or deliver events now. Events without an acknowledgement are delivered later."""

    bus: str
    reason: str

    code = "event_bus_unavailable"
    sentence = "{bus} is unavailable: {reason}; {_first}publish again{_when}"


class ReadModelUnavailableError(UnavailableError):
    """The read model can't serve now. A commit was perhaps applied; read the checkpoint to find out."""

    read_model: str
    reason: str

    code = "read_model_unavailable"
    sentence = "{read_model} is unavailable: {reason}; {_first}read the checkpoint{_when}, and go on from there"


class ReadModelBehindError(FaultError):
    """A read model did not reach the position that a query waits for in time."""

    projection: str
    position: int
    actual_position: int
    error: str | None

    code = "read_model_behind"
    retryable = True

    @property
    def message(self) -> str:
        cause = "its runner is behind or does not run" if self.error is None else f"it stands still: {self.error}"
        return f"{self.projection} is at position {self.actual_position}, not yet at {self.position}: {cause}; ask again later"


class ProjectionNotFoundError(FaultError):
    """A read model has no such version of a projection: it was never prepared, or it was dropped."""

    projection: str

    code = "projection_not_found"
    sentence = "{projection} is not in the read model: it was not prepared, or it was dropped; run it to build it anew"


class FeedRewoundError(FaultError):
    """A reader has seen events that the feed does not have. The event store was replaced by a backup, or by another store.

    Attributes:
        projection: the reader: the version of a projection, or the name of another reader.
        position: the reader's position.
        event_id: of the event that the reader knows at its position; ``None`` if it knows none.
        head: the position at which the feed ends.
        found_id: of the event that the feed has at the reader's position; ``None`` if there is none.
    """

    projection: str
    position: int
    event_id: UUID | None
    head: int
    found_id: UUID | None

    code = "feed_rewound"

    @property
    def message(self) -> str:
        if self.head < self.position:
            found = f"its checkpoint is at position {self.position}, the feed ends at {self.head}"
        else:
            there = "no event" if self.found_id is None else f"event {self.found_id}"
            found = f"its checkpoint knows event {self.event_id} at position {self.position}, the feed has {there} there"
        cause = "it is of another event store, or the store was replaced by a backup"
        return f"{self.projection} does not belong to this feed: {found}: {cause}; rebuild what was read, or bring that store back"


class CheckpointConflictError(ConflictError):
    """A projection's checkpoint is not where its runner left it: another runner took over. Nothing was changed."""

    projection: str
    position: int
    epoch: int
    actual_position: int
    actual_epoch: int

    code = "checkpoint_conflict"
    sentence = (
        "the checkpoint of {projection} is at position {actual_position} in epoch {actual_epoch}, "
        "not at {position} in epoch {epoch}: another runner moved it; read it again"
    )


class AppendOutcomeUnknownError(FaultError):
    """An append may have been written. Sending the same events (or ``command``) again is safe, and resolves the outcome.

    Attributes:
        store: the name of the store.
        reason: the cause, without payload.
        command: the command with its generated id, if a command handler raises this error; ``None`` if a store raises it.
        remedy: the action that a person must take first, such as freeing space. If there is one, ``retryable`` is false.
        retry_after: the seconds after which a repetition gets a final answer through any process. Before that, another process may refuse
            a command that is stored later. ``None`` if that is at once, or if the store declares no time.
    """

    store: str
    reason: str
    command: Any = None
    remedy: str | None = None
    retry_after: float | None = None

    code = "append_outcome_unknown"
    retryable = True

    def __attrs_post_init__(self) -> None:
        vars(self)["retryable"] = self.remedy is None

    @property
    def message(self) -> str:
        first = "" if self.remedy is None else f"{self.remedy}, then "
        then = "" if self.retry_after is None else f"; {self.retry_after:.3g} s later, the answer is final"
        told = f"{first}send the same again, with the same ids{then}"
        return f"{self.store} does not know whether the append was written: {self.reason}; {told}"


class EventIdCollisionError(FaultError):
    """Ids of an append are stored already, but not as this append. Nothing was written."""

    stream: StreamId
    event_id: UUID
    problem: str

    code = "event_id_collision"
    sentence = "event {event_id} of stream {stream} {problem}: an event id is used once; nothing was written"


class UnsupportedCapabilityError(FaultError):
    """The store does not declare this capability. Nothing was written."""

    store: str
    capability: str
    way_out: str

    code = "unsupported_capability"
    sentence = "{store} has no {capability}: {way_out}"


class AppendTooLargeError(FaultError):
    """An append exceeds a maximum that the store declares. Nothing was written."""

    limit_name: str
    limit: int
    actual: int

    code = "append_too_large"
    sentence = "the append has {limit_name} {actual}, the store takes {limit}: append less at once"


class CorruptStoreError(FaultError):
    """The stored data contradicts itself. Nothing is repaired by guessing."""

    store: str
    place: str
    problem: str

    code = "corrupt_store"
    sentence = "{store} is corrupt at {place}: {problem}; stop, copy the data, and look"


class IncompatibleStoreError(FaultError):
    """The place holds something else, or a newer format. Nothing was changed."""

    store: str
    place: str
    problem: str

    code = "incompatible_store"
    sentence = "{place} is no {store} that this version can open: {problem}"


class NotACopyError(FaultError):
    """The target of a copy holds something that the source does not hold at that place."""

    place: str
    problem: str

    code = "not_a_copy"
    sentence = "the target is no copy of the source: {place} {problem}; copy into an empty store"


class LaneFullError(FaultError):
    """Too many commands of this process wait for one inventory already. This command was not sent.

    Attributes:
        stream: of the inventory.
        waiting: the number of waiting commands.
    """

    stream: StreamId
    waiting: int

    code = "lane_full"
    retryable = True
    sentence = "{waiting} commands wait for {stream} already: let fewer in at once, and send this one again later"


class StoreClosedError(FaultError):
    """An adapter was used after its close, through a handle that was inherited by fork, or after its place was moved or removed."""

    store: str
    reason: str = "it was closed"

    code = "store_closed"
    sentence = "{store} can't be used: {reason}; open it again"


class EventDecodeError(FaultError):
    """A stored event can't be read as any registered type. The error names the place, never the payload."""

    stream: StreamId | None
    version: int | None
    event_type: str | None
    schema_version: int | None
    problem: str

    code = "event_decode"

    @property
    def message(self) -> str:
        place = f"event {self.version} of stream {self.stream}" if self.stream is not None else "an event"
        kind = f" ({self.event_type} v{self.schema_version})" if self.event_type is not None else ""
        return f"{place}{kind} can't be decoded: {self.problem}"
