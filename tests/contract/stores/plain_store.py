"""A correct store of the tests' own, built in steps that can be broken one at a time.

The store is built differently from the reference on purpose. It has a lock, and awaits between its steps. A write is prepared, then made
visible in one assignment. Ids are in one table per stream. Mutants override one step each.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn
from uuid import UUID

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import (
    AppendResult,
    FeedPage,
    NewEvent,
    RecordedEvent,
    StoreCapabilities,
    StreamHead,
    StreamPage,
    StreamsPage,
    StreamWrite,
)
from inventory_es.ports.errors import (
    AppendTooLargeError,
    ConcurrencyError,
    EventIdCollisionError,
    StoreClosedError,
    UnsupportedCapabilityError,
)

LEAST = StoreCapabilities(durability="process", multi_process=True, settles_within=0.0, max_append_events=1_000, max_append_bytes=4 << 20)
_PAGE = 100


@attrs.define(eq=False, slots=False)
class Shelf:
    """The data of one site: every append in order, and the lock over it. Mutants keep more on it."""

    feed: list[RecordedEvent] = attrs.field(factory=list[RecordedEvent])
    lock: anyio.Lock = attrs.field(factory=anyio.Lock)


class PlainStreams:
    """The write side alone: no feed, no group commit, one stream at a time, and ids that are never forgotten."""

    capabilities = attrs.evolve(LEAST, unique_event_ids=True)

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.closed = False

    # ── writing, step by step ────────────────────────────────────────────────────────────────────────────────────────

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        writes = self.materialise(writes)
        self.check_misuse(writes)
        self.check_sizes(writes)
        await self.shelf.lock.acquire()
        try:
            await checkpoint()
            return await self.append_locked(writes)
        finally:
            self.shelf.lock.release()

    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        if (replay := self.find_replay(writes)) is not None:
            return replay
        self.check_versions(writes)
        new = self.prepare(writes)
        await checkpoint()
        await self.make_visible(new)
        return AppendResult(new[-1].position, {write.stream: self.version(write.stream) for write in writes})

    def materialise(self, writes: Sequence[StreamWrite]) -> Sequence[StreamWrite]:
        return [StreamWrite(write.stream, write.expected_version, tuple(write.events)) for write in writes]

    def check_misuse(self, writes: Sequence[StreamWrite]) -> None:
        if not writes or any(not write.events for write in writes):
            _misuse("nothing to append")
        if len({write.stream for write in writes}) < len(writes):
            _misuse("two writes to one stream")
        self.check_twice(writes)
        for write in writes:
            if type(write.expected_version) is not int or write.expected_version < 0:
                _misuse("an expected version is a count")
        if len(writes) > 1 and not self.capabilities.multi_stream:
            raise UnsupportedCapabilityError(store="PlainStore", capability="multi_stream", way_out="append to one stream at a time")

    def check_twice(self, writes: Sequence[StreamWrite]) -> None:
        for write in writes:
            if len({event.event_id for event in write.events}) < len(write.events):
                _misuse("one id twice")

    def check_sizes(self, writes: Sequence[StreamWrite]) -> None:
        events = [event for write in writes for event in write.events]
        self.check_size("events", len(events), self.capabilities.max_append_events)
        self.check_size("event bytes", max(event.size for event in events), self.capabilities.max_event_bytes)
        self.check_size("bytes", sum(event.size for event in events), self.capabilities.max_append_bytes)

    def check_size(self, name: str, actual: int, limit: int) -> None:
        if actual > limit:
            raise AppendTooLargeError(limit_name=name, limit=limit, actual=actual)

    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        places = [self.place(write) for write in writes]
        if all(place is None for place in places):
            return None
        for write, place in zip(writes, places, strict=True):
            if place is None:
                self.collide(write, write.events[0])
        versions = {write.stream: place + len(write.events) for write, place in zip(writes, places, strict=True) if place is not None}
        last = self.of(writes[-1].stream)[versions[writes[-1].stream] - 1]
        return AppendResult(last.position, versions, replayed=True)

    def place(self, write: StreamWrite) -> int | None:
        """Return the version before the stored events of ``write``; ``None`` if none of them is stored."""
        stored = self.known(write.stream)
        found = [stored[event.event_id] for event in write.events if event.event_id in stored]
        if not found:
            return None
        for event, other in zip(write.events, found, strict=False):
            if not self.same(other, event, write.stream):
                self.collide(write, event)
        if len(found) < len(write.events) or [e.version for e in found] != list(range(found[0].version, found[0].version + len(found))):
            self.collide(write, write.events[0])
        return found[0].version - 1

    def known(self, stream: StreamId) -> dict[UUID, RecordedEvent]:
        """Return the stored events by id."""
        return {event.event_id: event for event in self.of(stream)}

    def same(self, stored: RecordedEvent, event: NewEvent, stream: StreamId) -> bool:
        return stored.has_identity_of(event, stream)

    def collide(self, write: StreamWrite, event: NewEvent) -> None:
        raise EventIdCollisionError(stream=write.stream, event_id=event.event_id, problem="is stored already, yet not as this append")

    def check_versions(self, writes: Sequence[StreamWrite]) -> None:
        for write in writes:
            self.check_version(write)

    def check_version(self, write: StreamWrite) -> None:
        actual = self.version(write.stream)
        if actual != write.expected_version:
            raise ConcurrencyError(stream=write.stream, expected=write.expected_version, actual=actual)

    def prepare(self, writes: Sequence[StreamWrite]) -> list[RecordedEvent]:
        new: list[RecordedEvent] = []
        for write in writes:
            for number, event in enumerate(write.events, self.version(write.stream) + 1):
                new.append(self.record(write.stream, number, self.position(len(new)), event))
        return new

    def record(self, stream: StreamId, version: int, position: int, event: NewEvent) -> RecordedEvent:
        return RecordedEvent(
            stream,
            version,
            position,
            event.event_id,
            event.event_type,
            event.schema_version,
            event.recorded_at,
            event.data,
            event.metadata,
        )

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        self.shelf.feed += new

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        self.check_open()
        self.check_page(limit=limit, after=after)
        await checkpoint()
        events = self.of(stream)
        page = events[after : after + min(limit, _PAGE)]
        return StreamPage(page, len(events), is_end=after + len(page) >= len(events))

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        self.check_open()
        self.check_page(limit=limit, before=before)
        await checkpoint()
        events = self.of(stream)
        stop = len(events) if before is None else min(before - 1, len(events))
        start = max(0, stop - min(limit, _PAGE))
        return StreamPage(events[start:stop][::-1], len(events), is_end=start == 0)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        self.check_open()
        await checkpoint()
        wanted = set(event_ids)
        return [event for event in self.of(stream) if event.event_id in wanted]

    async def aclose(self) -> None:
        self.closed = True
        async with self.shelf.lock:
            pass

    # ── what all of it stands on ─────────────────────────────────────────────────────────────────────────────────────

    def of(self, stream: StreamId) -> list[RecordedEvent]:
        if type(self).is_of is PlainStreams.is_of:  # the same, and fast enough for a thousand streams
            text = stream.text
            return [event for event in self.shelf.feed if event.stream.text == text]
        return [event for event in self.shelf.feed if self.is_of(event, stream)]

    def is_of(self, event: RecordedEvent, stream: StreamId) -> bool:
        return event.stream == stream

    def version(self, stream: StreamId) -> int:
        return len(self.of(stream))

    def position(self, behind: int) -> int:
        """Return the position of a new event that has so many new ones before it."""
        return 0

    def check_open(self) -> None:
        if self.closed:
            raise StoreClosedError(store="PlainStore")

    def check_page(self, *, limit: int, after: int = 0, before: int | None = None) -> None:
        if limit < 1 or after < 0 or (before is not None and before < 1):
            _misuse("no such page")


class PlainStore(PlainStreams):
    """A store with everything that the port knows."""

    capabilities = attrs.evolve(LEAST, unique_event_ids=True, feed="total", multi_stream=True, group_commit=True)

    def position(self, behind: int) -> int:
        return self.head_now() + behind + 1

    def head_now(self) -> int:
        return self.shelf.feed[-1].position if self.shelf.feed else 0

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        self.check_open()
        outcomes: list[AppendResult | Exception] = []
        for writes in groups:
            try:
                outcomes.append(await self.append(writes))
            except Exception as error:  # noqa: BLE001  # it is this append's outcome and must not sink its neighbours
                outcomes.append(error)
        return outcomes

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        self.check_open()
        self.check_page(limit=limit, after=after)
        await checkpoint()
        events = [event for event in self.shelf.feed if event.position > after]
        page = events[: min(limit, _PAGE)]
        return FeedPage(page, page[-1].position if page else after, is_end=len(page) == len(events))

    async def head(self) -> int:
        self.check_open()
        await checkpoint()
        return self.head_now()

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        with anyio.move_on_after(timeout):
            while await self.head() < position:
                await checkpoint()
        return await self.head() >= position

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        self.check_open()
        self.check_page(limit=limit)
        await checkpoint()
        versions = Counter(event.stream for event in self.shelf.feed)
        names = sorted(versions, key=str)
        rest = [name for name in names if str(name).startswith(prefix) and (after is None or str(name) > str(after))]
        return StreamsPage([StreamHead(name, versions[name]) for name in rest[:limit]], is_end=len(rest) <= limit)

    def glance_version(self, stream: StreamId, /) -> int | None:
        return None if self.closed else self.version(stream)


class WindowStore(PlainStreams):
    """A store that knows the ids of the last five events of a stream, and those at the expected versions of an append."""

    capabilities = LEAST

    def place(self, write: StreamWrite) -> int | None:
        there = self.of(write.stream)[write.expected_version : write.expected_version + len(write.events)]
        if [event.event_id for event in there] == [event.event_id for event in write.events]:
            for stored, event in zip(there, write.events, strict=True):
                if not self.same(stored, event, write.stream):
                    self.collide(write, event)
            return write.expected_version
        return super().place(write)

    def known(self, stream: StreamId) -> dict[UUID, RecordedEvent]:
        return {event.event_id: event for event in self.of(stream)[-5:]}


def _misuse(problem: str) -> NoReturn:
    raise ValueError(problem)


_shelves: dict[str, Shelf] = {}


@contextmanager
def shelf_of(name: str) -> Iterator[Shelf]:
    """Return the data of a site, which lasts as long as the process."""
    yield _shelves.setdefault(name, Shelf())
