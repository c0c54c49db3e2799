"""What a synchronous event store looks like: the ports of the store without ``async``."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable
from uuid import UUID

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.capabilities import StoreCapabilities
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite


class SyncEventStore(Protocol):
    """:class:`~inventory_es.ports.EventStore` for a driver that blocks. Every method promises and raises what its namesake does."""

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store promises, constant for its lifetime. Asked in the event loop: it must not block."""
        ...

    def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """Append all writes or none of them."""
        ...

    def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """Events with versions after ``after``, oldest first."""
        ...

    def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        """Events with versions before ``before``, newest first."""
        ...

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """Those of ``event_ids`` that this stream holds, by version."""
        ...

    def close(self) -> None:
        """Release every resource. Called once, when no other call runs any more."""
        ...


@runtime_checkable
class SyncEventFeed(Protocol):
    """:class:`~inventory_es.ports.EventFeed` for a driver that blocks; it is asked again and again instead of waiting."""

    def read_all(self, *, after: int, limit: int) -> FeedPage:
        """Events with positions after ``after``, in position order, never skipping one."""
        ...

    def head(self) -> int:
        """The position of the newest event that readers may see; 0 for an empty store."""
        ...


@runtime_checkable
class SyncGroupCommit(Protocol):
    """:class:`~inventory_es.ports.GroupCommit` for a driver that blocks."""

    def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        """Run each group as one atomic append, in order, and commit all of them once."""
        ...


@runtime_checkable
class SyncStreamCatalogue(Protocol):
    """:class:`~inventory_es.ports.StreamCatalogue` for a driver that blocks."""

    def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        """Streams whose text starts with ``prefix``, ordered by their text."""
        ...
