"""The store under test, which does all its work on a FileSystem, in the calling thread."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.file_system import FileSystem
from inventory_es.ports.records import AppendResult, FeedPage, RecordedEvent, StreamPage, StreamsPage, StreamWrite
from inventory_es.ports.toolkit.page_rules import check_feed_page, count_empty_pages

_PAGE = 1_000


class SteppedStore(Protocol):
    """One open handle on a store. Its methods and errors are those of the event store ports, but synchronous."""

    def commit(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        """Commit groups, as ``GroupCommit.append_group`` does."""
        ...

    def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """Read a page of a stream, as ``EventStore.read_stream`` does."""
        ...

    def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """Return events by id, as ``EventStore.find_events`` does."""
        ...

    def read_all(self, *, after: int, limit: int) -> FeedPage:
        """Read a page of the feed, as ``EventFeed.read_all`` does."""
        ...

    def streams(self, prefix: str, /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        """Return a page of streams, as ``StreamCatalogue.streams`` does."""
        ...

    def tidy(self) -> object:
        """Do the maintenance that a store does in the background."""
        ...

    def close(self) -> None:
        """Stop cleanly."""
        ...


class Shown(NamedTuple):
    """An event as a reader saw it."""

    position: int
    stream: str
    version: int
    event_id: UUID
    data: bytes


Log = tuple[Shown, ...]


@attrs.frozen
class Subject:
    """A store to be crashed.

    Attributes:
        open: opens the store, or makes a new one; always in the same place.
        inspect: checks the files after a clean stop, and returns what is wrong with them. The second argument is True if the power was
            ever cut. What ``inspect`` writes is ignored.
        set_aside: a part of the names of files that recovery makes and nobody reads. The checks that follow recovery run once for
            disks that differ in nothing else.
    """

    open: Callable[[FileSystem], SteppedStore]
    inspect: Callable[[FileSystem, bool], Iterable[str]] = attrs.field(default=lambda _files, _lost_power: (), kw_only=True)
    set_aside: str | None = attrs.field(default=None, kw_only=True)


def read_log(store: SteppedStore) -> Log:
    """Return everything that a reader of the feed sees."""
    shown: list[Shown] = []
    after, is_end, empty = 0, False, 0
    while not is_end:
        page = store.read_all(after=after, limit=_PAGE)
        check_feed_page(page, after=after, limit=_PAGE, store="the store")
        empty = count_empty_pages(empty, page, store="the store")
        shown += [Shown(event.position, event.stream.text, event.version, event.event_id, event.data) for event in page.events]
        after, is_end = page.next_after, page.is_end
    return tuple(shown)


def disagreement(store: SteppedStore, log: Log) -> str | None:
    """Return where a store contradicts its feed: in streams, their events and versions, the catalogue, or the look-up by id."""
    streams: dict[str, list[Shown]] = {}
    for event in log:
        streams.setdefault(event.stream, []).append(event)
    heads = {head.stream.text: head.version for head in store.streams("", limit=_PAGE).heads}
    if heads != {name: len(events) for name, events in streams.items()}:
        return f"the catalogue of streams says {heads}, the feed has { ({name: len(events) for name, events in streams.items()}) }"
    for name, events in streams.items():
        stream = StreamId.parse(name)
        page = store.read_stream(stream, limit=_PAGE)
        if page.version != len(events) or [event.event_id for event in page.events] != [event.event_id for event in events]:
            return f"stream {name} reads as {len(page.events)} events at version {page.version}, the feed has {len(events)} of it"
        found = store.find_events(stream, [event.event_id for event in events])
        if [event.version for event in found] != list(range(1, len(events) + 1)):
            return f"of the {len(events)} event ids of stream {name}, {len(found)} are found"
    return None
