"""The port of an event store: the only place where state is written."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol, runtime_checkable
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite

Durability = Literal["none", "process", "os", "power"]
FeedKind = Literal["none", "total"]


@attrs.frozen(kw_only=True)
class StoreCapabilities:
    """What a store promises beyond the least. Defaults are pessimistic; the contract tests hold that declared and observed agree.

    Attributes:
        durability: whose crash an acknowledged append survives: nobody's, this process's, the operating system's, a power cut.
        feed: ``total`` where the store is an :class:`~inventory_es.ports.EventFeed` too.
        multi_process: whether several processes (and several instances in one) may open the same data.
        multi_stream: whether one append may write to several streams, all or none.
        group_commit: whether the store is a :class:`~inventory_es.ports.GroupCommit` too.
        unique_event_ids: whether an event id is found for ever; otherwise an append is idempotent only at the versions it expects.
        withdraws: whether an append whose caller is cancelled is withdrawn where it only waits for others, with
            :class:`~inventory_es.ports.toolkit.blocking_calls.WithdrawnError` as the cause of the cancellation; and where it has begun,
            finished and answered in ``finishing``.
        settles_within: seconds after which an append without an answer (:class:`~inventory_es.ports.errors.AppendOutcomeUnknownError`, or
            its caller was cancelled) has taken effect or never will, counted from the end of its call and as this handle reads. 0: it has
            when the call ends, or reads wait for it. ``None``: no such time is known.
        survives_fork: whether a process that has it open may fork or become a daemon. The process goes on, a child that opens the place
            beside it loses nothing, and the handle that the child inherited raises ``StoreClosedError``. Needs ``multi_process``.
        max_event_bytes: the largest event (data and metadata), in bytes.
        max_append_events: the most events in one append.
        max_append_bytes: the most bytes (data and metadata of all its events) in one append. A maximum itself is taken, by whatever
            number of streams.
    """

    durability: Durability = "none"
    feed: FeedKind = "none"
    multi_process: bool = False
    multi_stream: bool = False
    group_commit: bool = False
    unique_event_ids: bool = False
    withdraws: bool = False
    settles_within: float | None = None
    survives_fork: bool = False
    max_event_bytes: int = 1 << 20
    max_append_events: int = 1_000
    max_append_bytes: int = 8 << 20


@runtime_checkable
class EventStore(Protocol):
    """Streams of events, appended with optimistic locking.

    Stream versions are counts: an absent stream has version 0, its first event version 1. The store sees opaque JSON and
    stamps nothing but positions. Any number of tasks of one event loop may call at once, each is answered, and none waits for a wait.
    What a caller passed or got is the caller's: a page never changes, also after the close, and a list that the caller changes later
    changes nothing stored and no other answer. Each answer is as of a moment after its question, whatever was asked or appended before.

    A call may be cancelled at any await point. It leaves nothing behind: no connection, no lock, no answer for another caller.

    Every method may raise:
        StoreUnavailableError: the backend is away; nothing was written; try again.
        StoreClosedError: called after :meth:`aclose`, or its place was moved, removed or replaced since it was opened.
        CorruptStoreError: what is stored contradicts itself; stop and look.
    """

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store promises, constant for its lifetime."""
        ...

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """Append all writes or none of them, durably as declared, before returning.

        Atomic to every reader, in the streams, the feed, the head, the catalogue and by id, also of the largest append that is declared. Of
        appends that race and share a stream, one wins. In the feed its events stand together, in the order of its writes. Where the caller
        is cancelled, all writes are there or none, now or a little later. What is refused leaves nothing behind: its ids may be used.

        Idempotent. Where all event ids of the append are stored already, contiguous, in order and with the same identity
        (stream, type, schema version, data), the original result comes back with ``replayed=True``; this is checked before
        the expected versions. With ``unique_event_ids`` it does not matter in which appends the events came: a part of an append
        is a replay, and so are several appends sent as one. Other metadata or another time changes nothing stored.
        Within the declared maxima an append may have any number of streams.

        An append that ends without an answer, by ``AppendOutcomeUnknownError`` or because its caller was cancelled, may take effect
        later: at the versions that it expects, or never. Its absence is final when it is looked for after one of its streams was read
        beyond the expected version, or ``settles_within`` seconds after the call ended. Before that, nobody may be told "no".

        What the backend says after the commit counts: where it may have committed and the answer got lost, or it warns that the commit
        is less durable than declared, the outcome is unknown. It is neither a success nor ``StoreUnavailableError``.

        Raises:
            ConcurrencyError: a stream does not have its expected version. Nothing was written.
            EventIdCollisionError: only some of the ids are stored, or elsewhere in their stream, or with another identity; it names one
                of the append's ids and the stream of its write. Nothing was written.
            UnsupportedCapabilityError: several streams in one append, and the store can't. Nothing was written.
            AppendTooLargeError: over a declared maximum. Nothing was written.
            AppendOutcomeUnknownError: perhaps written, or still to be written. Send the same events again to find out.
            ValueError: no writes, a write without events, two writes to one stream, one id twice, an expected version that is
                negative or no int. Nothing was written.
        """
        ...

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """Events with versions after ``after``, oldest first.

        A missing stream, or a range past its end, is an empty page. A page may be shorter than ``limit`` (1 or more, and however far
        above a page of the backend). Here and in every other method, limits, versions and positions up to 2**63 - 1 may be asked for.

        Raises:
            ValueError: ``limit`` below 1 or ``after`` below 0.
        """
        ...

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        """Events with versions before ``before`` (``None``: from the end), newest first.

        Raises:
            ValueError: ``limit`` below 1 or ``before`` below 1.
        """
        ...

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """Those of ``event_ids`` that this stream holds, by version, each once. Thousands may be asked for at once."""
        ...

    async def aclose(self) -> None:
        """Finish what is in flight, end every wait, and release every resource. Closing twice is fine, at once and after a cancelled close.

        A call that is under way ends soon: with its answer, or with StoreClosedError. An append may also end with
        AppendOutcomeUnknownError or StoreUnavailableError, as its outcome is. Other instances are not concerned.
        """
        ...


@runtime_checkable
class EventFeed(Protocol):
    """A total order over all streams of a store, for projections and subscriptions."""

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        """Events with positions after ``after`` (0: from the start), in position order, never skipping one.

        Raises:
            ValueError: ``limit`` below 1 or ``after`` below 0.
        """
        ...

    async def head(self) -> int:
        """The position of the newest event that readers may see; 0 for an empty store. A read of the feed that begins later shows it."""
        ...

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        """Wait until the head is perhaps at or past ``position``.

        A wake-up hint, never the truth: read to find out. It may end early with either answer, but for a position that is there
        already, which is True at once. It ends at its timeout, and soon after the position is appended, through whatever instance.

        Args:
            position: what to wait for.
            timeout: the longest wait, in seconds; 0 only looks, ``math.inf`` waits without an end.

        Returns:
            Whether the position was seen before the timeout.
        """
        ...


@runtime_checkable
class GroupCommit(Protocol):
    """A store that makes many independent appends durable with one commit."""

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        """Run each group as one atomic append, in order, and commit all of them once.

        Any number of groups; the declared maxima are those of each. They race, and wait for turns, like other appends. Where the
        caller is cancelled, each group is there whole or not at all.

        Returns:
            One outcome per group, in argument order: what :meth:`EventStore.append` would have returned or raised. One
            group's failure never sinks another.

        Raises:
            StoreUnavailableError, AppendOutcomeUnknownError: the commit as a whole; no group has an outcome.
            StoreClosedError: called after close.
        """
        ...


@runtime_checkable
class StreamCatalogue(Protocol):
    """A store that can list its streams."""

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        """Streams whose text starts with ``prefix``, ordered by their text, by code points.

        Args:
            prefix: of the canonical text (``inventory-``, ``inventory-85123A-``), character by character; empty for all.
            after: leave out streams up to and including this one.
            limit: 1 or more.
        """
        ...


@runtime_checkable
class VersionGlance(Protocol):
    """A store that can tell the version of a stream at once, without waiting for anybody.

    With it, a refusal is answered in the step in which its command came.
    """

    def glance_version(self, stream: StreamId, /) -> int | None:
        """The stream's version, at least as new as every append that was acknowledged before this call, by whatever process.

        It is never ahead: a read that begins after this call sees that version, or a newer one.

        Returns:
            ``None``: it can't be told at once, or not for sure; :meth:`EventStore.read_stream` tells. Raises nothing.
        """
        ...


@runtime_checkable
class TurnTaking(Protocol):
    """A store that several processes write to, and that lets one of them go first for a moment.

    Whoever lost a race reads and decides again in a turn of its own: then nobody is faster, and over many processes that want one
    stream each is served in its time.
    """

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Inside, appends through other handles wait, so that what is read here is what an append here meets.

        Entering waits for those who came before; leaving waits for nobody. It is a courtesy and no lock: a turn that takes long is over
        before it is left, a store that can't give one now lets everybody pass, and an append proves its expected version as ever.

        Raises:
            StoreClosedError: called after close.
        """
        ...
