"""The port of an event store: the only place where state is written."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol, runtime_checkable
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite

Durability = Literal["none", "process", "os", "power", "machine"]
FeedKind = Literal["none", "total"]


@attrs.frozen(kw_only=True)
class StoreCapabilities:
    """The promises of a store beyond the least. Defaults are pessimistic; the contract tests compare each declaration with behaviour.

    Attributes:
        durability: the crash that an acknowledged append survives: none, of this process, of the operating system, or a power cut.
            ``machine`` is the loss of the machine with its disks.
        feed: ``total`` if the store is an :class:`~inventory_es.ports.EventFeed` too.
        multi_process: True if several processes, and several instances in one process, may open the same data.
        multi_stream: True if one append may write to several streams, all or none.
        group_commit: True if the store is a :class:`~inventory_es.ports.GroupCommit` too.
        unique_event_ids: True if a stored event id is always found. Otherwise an append is idempotent only at its expected versions.
        withdraws: True if the store withdraws an append that only waits for others when its caller is cancelled. The cancellation
            then has :class:`~inventory_es.ports.toolkit.blocking_calls.WithdrawnError` as its cause. An append in ``finishing`` that has
            begun is finished and answered.
        settles_within: seconds after which an append without an answer has taken effect or never will, as this handle reads. They
            count from the end of the call. The answer is missing after :class:`~inventory_es.ports.errors.AppendOutcomeUnknownError`, or if
            the caller was cancelled. 0: the append has taken effect when the call ends, or reads wait for it. ``None``: no such time is
            known.
        turns_by_stream: True if a turn of the store, a :class:`~inventory_es.ports.TurnTaking`, holds off nothing but other turns over
            one of its streams.
        survives_fork: True if a process may fork or become a daemon while it has the store open. The process continues, and a child that
            opens the place too loses nothing. The handle that the child inherited raises ``StoreClosedError``. Needs ``multi_process``.
        max_event_bytes: the largest event (data and metadata), in bytes.
        max_append_events: the most events in one append.
        max_append_bytes: the most bytes (data and metadata of all its events) in one append. An append of exactly the maximum is accepted,
            with any number of streams.
    """

    durability: Durability = "none"
    feed: FeedKind = "none"
    multi_process: bool = False
    multi_stream: bool = False
    group_commit: bool = False
    unique_event_ids: bool = False
    withdraws: bool = False
    settles_within: float | None = None
    turns_by_stream: bool = False
    survives_fork: bool = False
    max_event_bytes: int = 1 << 20
    max_append_events: int = 1_000
    max_append_bytes: int = 8 << 20


@runtime_checkable
class EventStore(Protocol):
    """Streams of events, appended with optimistic locking.

    Stream versions are counts: a missing stream has version 0, its first event version 1. The store sees opaque JSON and sets nothing but
    positions. Any number of tasks of one event loop may call at once. Each call is answered, and a call that waits delays no other.

    Arguments and results belong to the caller. A page never changes, also after the close. A list that the caller changes later changes
    nothing stored, and no other answer. Each answer describes a moment after its call began, regardless of earlier calls.

    A call may be cancelled at any await point. It leaves nothing behind: no connection, no lock, no answer for another caller.

    Every method may raise:
        StoreUnavailableError: the backend is away; nothing was written; try again.
        StoreClosedError: called after :meth:`aclose`, or its place was moved, removed or replaced since it was opened.
        CorruptStoreError: the stored data contradicts itself; stop and look.
    """

    @property
    def capabilities(self) -> StoreCapabilities:
        """The promises of this store, constant for its lifetime."""
        ...

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """Append all writes or none of them, durably as declared, before returning.

        **Atomic** to every reader: in the streams, the feed, the head, the catalogue and by id, also for the largest declared append. Of
        appends that race and share a stream, one wins. In the feed an append's events are adjacent, in the order of its writes. If the
        caller is cancelled, all writes are stored or none, now or a little later. A refused append leaves nothing behind: its ids may be
        used. Within the declared maxima an append may have any number of streams.

        **Idempotent.** An append is a replay if all its event ids are stored: contiguous, in order and with the same identity. The identity
        is stream, type, schema version and data. A replay returns the original result with ``replayed=True``. Replays are recognised before
        the expected versions are checked. With ``unique_event_ids`` the events may come from any appends: a part of an append is a replay,
        and several appends sent as one are too. Other metadata or another time changes nothing stored.

        **Without an answer.** An append that raised ``AppendOutcomeUnknownError``, or whose caller was cancelled, may take effect later, at
        its expected versions, or never. A search that does not find it is final in two cases. One of its streams was read beyond the
        expected version before the search, or ``settles_within`` seconds have passed since the call ended. Otherwise no caller may be told
        "no".

        The backend's answer after the commit counts. The outcome is unknown if the backend may have committed and its answer got lost. It
        is unknown too if the backend warns of a commit less durable than declared. That is neither a success nor ``StoreUnavailableError``.

        Raises:
            ConcurrencyError: a stream does not have its expected version. Nothing was written.
            EventIdCollisionError: some of the ids are stored, but not as this append: others are missing, elsewhere in their stream, or of
                another identity. The error names one of the append's ids and the stream of its write. Nothing was written.
            UnsupportedCapabilityError: several streams in one append, and the store can't. Nothing was written.
            AppendTooLargeError: over a declared maximum. Nothing was written.
            AppendOutcomeUnknownError: perhaps written, or still to be written. Send the same events again to find out.
            ValueError: no writes, a write without events, two writes to one stream, one id twice, an expected version that is
                negative or no int. Nothing was written.
        """
        ...

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """Return the events with versions after ``after``, oldest first.

        For a missing stream, or a range past its end, the page is empty. A page may be shorter than ``limit``. Any limit of 1 or more is
        accepted, also far above a page of the backend. Every method accepts limits, versions and positions up to 2**63 - 1.

        Raises:
            ValueError: ``limit`` below 1 or ``after`` below 0.
        """
        ...

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        """Return the events with versions before ``before`` (``None``: from the end), newest first.

        Raises:
            ValueError: ``limit`` below 1 or ``before`` below 1.
        """
        ...

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """Return the events of this stream that have one of ``event_ids``, by version, each once. Accepts thousands of ids at once."""
        ...

    async def aclose(self) -> None:
        """Finish the calls in flight, end every wait, and release every resource. Idempotent, also at once and after a cancelled close.

        A call in flight ends soon: with its answer, or with StoreClosedError. An append may also end with AppendOutcomeUnknownError or
        StoreUnavailableError, according to its outcome. Other instances are not affected.
        """
        ...


@runtime_checkable
class EventFeed(Protocol):
    """A total order over all streams of a store, for projections and subscriptions."""

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        """Return the events with positions after ``after`` (0: from the start), in position order, without skipping one.

        Raises:
            ValueError: ``limit`` below 1 or ``after`` below 0.
        """
        ...

    async def head(self) -> int:
        """Return the position of the newest event that readers may see; 0 for an empty store. A later read of the feed shows that event."""
        ...

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        """Wait until the head is perhaps at or past ``position``.

        The answer is a wake-up hint, never the truth: read to find out. The call may end early with either answer, with one exception: for
        a position that is already there it returns True at once. It ends at its timeout. It also ends soon after any instance appends the
        position.

        Args:
            position: the position to wait for.
            timeout: the longest wait, in seconds; 0 only looks, ``math.inf`` waits without an end.

        Returns:
            True if the position was seen before the timeout.
        """
        ...


@runtime_checkable
class GroupCommit(Protocol):
    """A store that makes many independent appends durable with one commit."""

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        """Run each group as one atomic append, in order, and commit all of them once.

        Any number of groups is accepted; the declared maxima apply to each. Groups race, and wait for turns, like other appends. If the
        caller is cancelled, each group is stored whole or not at all.

        Returns:
            One outcome per group, in argument order: the result or the exception of :meth:`EventStore.append`. One group's failure
            never affects another.

        Raises:
            StoreUnavailableError, AppendOutcomeUnknownError: the commit as a whole; no group has an outcome.
            StoreClosedError: called after close.
        """
        ...


@runtime_checkable
class StreamCatalogue(Protocol):
    """A store that can list its streams."""

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        """List streams whose text starts with ``prefix``, ordered by their text, by code points.

        Args:
            prefix: of the canonical text (``inventory-``, ``inventory-85123A-``), character by character; empty for all.
            after: leave out streams up to and including this one.
            limit: 1 or more.
        """
        ...


@runtime_checkable
class VersionGlance(Protocol):
    """A store that can return the version of a stream at once, without waiting.

    With it, the command side answers a refusal in the event-loop step in which the command arrived.
    """

    def glance_version(self, stream: StreamId, /) -> int | None:
        """Return the stream's version, at least as new as every append acknowledged to any process before this call.

        The version is never ahead: a read that begins after this call sees that version, or a newer one.

        Returns:
            ``None`` if the version isn't known at once, or not for sure; :meth:`EventStore.read_stream` returns it. Raises nothing.
        """
        ...


@runtime_checkable
class TurnTaking(Protocol):
    """A store that several processes write to, and that lets one of them go first for a moment.

    A process that lost a race reads and decides again in a turn of its own. So no process is faster than the others, and each of many
    processes that want one stream is served in its time.
    """

    def turn(self, *streams: StreamId) -> AbstractAsyncContextManager[None]:
        """Make others wait for the block, so that its appends meet the state that it has read.

        Appends through other handles wait. With ``turns_by_stream``, nothing waits but turns over one of the same streams. So every writer
        of a contested stream must take turns, from the first race that it loses until nobody contests the stream. Tasks of one handle that
        want different streams may share a turn, which then ends for others when all have left.

        Entering waits for earlier turns; leaving waits for nothing. A turn is a courtesy, not a lock. A long turn ends before it is left.
        A store that can't give a turn now lets every writer pass. An append still checks its expected version.

        Args:
            streams: those that the block reads and appends to. Given only to a store that declares ``turns_by_stream``.

        Raises:
            StoreClosedError: called after close.
        """
        ...
