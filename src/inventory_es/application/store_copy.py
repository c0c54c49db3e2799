"""Copies of an event store in another one: the whole history, with its ids, its times and the order of its positions.

A copy has no state besides the target. The target always holds a beginning of the source's feed, since each append carries a part of it.
So a run compares the events of the target with the source, one by one, and goes on behind them. At its end it reads back the events that
it wrote. Wherever it is killed, the next run does the same.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from operator import attrgetter
from typing import Literal, NoReturn

import anyio
import attrs

from inventory_es.application.commands.stream_heads import stream_heads
from inventory_es.application.following.subscription import feed_of
from inventory_es.application.retiming import Retiming
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventFeed, EventStore, GroupCommit, NewEvent, RecordedEvent, StoreCapabilities, StreamCatalogue, StreamWrite
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, CorruptStoreError, EventIdCollisionError, NotACopyError
from inventory_es.ports.toolkit.page_rules import read_feed_page, read_stream_page

_PAGE = 2_000
_LOOK = 0.2
"""Seconds between two looks at the source's head."""
MOST_BYTES = 8 << 20
"""The most bytes in one commit, unless a single event is larger."""

_COMPARED = ("stream", "version", "event_id", "event_type", "schema_version", "recorded_at", "data", "metadata")
_values = attrgetter(*_COMPARED)

Append = list[StreamWrite]
Phase = Literal["comparing", "copying", "verifying"]


@attrs.frozen
class CopyProgress:
    """The progress of a copy.

    Attributes:
        phase: ``comparing`` the events that the target has already, ``copying``, or ``verifying`` the events that this run wrote.
        position: in the source, up to which this phase is done.
        end: the position in the source at which the copy will end.
    """

    phase: Phase
    position: int
    end: int


@attrs.frozen(kw_only=True)
class CopyOutcome:
    """The content of the target after a copy. This run has compared every event of it with the source.

    Attributes:
        events: number of events in the target.
        events_now: number of events that this run appended.
        streams: number of streams in the target; ``None`` where one of the stores can't list its streams, and lists were not compared.
        position: in the source, up to which it was copied: its head when the run began.
        keeps_positions: True if every event has the same position in both stores, so that checkpoints hold in the target too.
    """

    events: int
    events_now: int
    streams: int | None
    position: int
    keeps_positions: bool


async def copy_store(
    source: EventStore,
    target: EventStore,
    *,
    advanced: Callable[[CopyProgress], object] = lambda _: None,
    retiming: Retiming | None = None,
    stop: anyio.Event | None = None,
) -> CopyOutcome:
    """Copy the source as it is now, in its order, into an empty target or behind an earlier copy of it.

    Events keep stream, version, id, type, time, payload and metadata byte for byte; positions keep their order. Others may write to the
    source meanwhile. The copy ends at the head that the source had at the start, and the next run goes on from there. While it runs, the
    target may hold a part of an append of the source; nobody else may write to the target.

    Args:
        source: a store with a feed.
        target: a store with a feed.
        advanced: called with the progress.
        retiming: sets back the times that a clock in the future recorded. The target is compared with the changed events, so every run of
            one copy takes the same retiming.
        stop: if given, the copy goes on with later events until this is set. It ends at the head that the source has then.

    Raises:
        ValueError: the retiming does not fit the events. Those before are copied.
        NotACopyError: the target holds other events. They are untouched.
        UnsupportedCapabilityError: one of the stores has no feed.
        AppendTooLargeError: an event is larger than the target allows. Those before it are copied.
        StoreUnavailableError, AppendOutcomeUnknownError: as the stores. Run it again.
    """
    return await _Copy(_Side(source, retiming), _Side(target), advanced).run(stop)


class _Side:
    """One of the two stores, and the position up to which both are known to be the same."""

    def __init__(self, store: EventStore, retiming: Retiming | None = None) -> None:
        self.store = store
        self.retiming = retiming
        self.feed: EventFeed = feed_of(store)
        self.position = 0

    async def next(self, limit: int) -> Sequence[RecordedEvent]:
        """Return the next events; none at the end."""
        after = self.position
        while True:
            page = await read_feed_page(self.feed, after=after, limit=limit)
            if page.events or page.is_end:
                return page.events if self.retiming is None else list(map(self.retiming.apply, page.events))
            after = page.next_after


class _Copy:
    def __init__(self, source: _Side, target: _Side, advanced: Callable[[CopyProgress], object]) -> None:
        self._source = source
        self._target = target
        self._advanced = advanced
        self._end = 0
        self._same = 0
        self._keeps_positions = True

    async def run(self, stop: anyio.Event | None) -> CopyOutcome:
        self._end = await self._source.feed.head()
        await self._compare("comparing")
        before = self._same
        await self._go_on()
        while stop is not None:
            with anyio.move_on_after(_LOOK):
                await stop.wait()
            stop = None if stop.is_set() else stop  # before the head is read, which then has all that came before
            self._end = await self._source.feed.head()
            if self._end > self._source.position:
                await self._go_on()
        return CopyOutcome(
            events=self._same,
            events_now=self._same - before,
            streams=await self._compare_streams(),
            position=self._source.position,
            keeps_positions=self._keeps_positions,
        )

    async def _go_on(self) -> None:
        """Copy up to the end, and read back the copied events."""
        await self._write(self._source.position)
        await self._compare("verifying")
        if self._source.position < self._end:
            _refuse(f"event {self._same + 1} of its feed", "is missing")

    async def _compare(self, phase: Phase) -> None:
        """Compare the rest of the target with the source."""
        source, target = self._source, self._target
        self._advanced(CopyProgress(phase, source.position, self._end))
        while copies := await target.next(_PAGE):
            originals = await source.next(len(copies))
            if not originals:
                _refuse(f"event {self._same + 1} of its feed", "is not in the source")
            for original, copy in zip(originals, copies, strict=False):  # pages may be shorter: the rest comes with the next
                self._same += 1
                if _values(original) != _values(copy):
                    _refuse(f"event {self._same} of its feed", f"is not that of the source: {_difference(original, copy)}")
                self._keeps_positions &= original.position == copy.position
                source.position, target.position = original.position, copy.position
            self._advanced(CopyProgress(phase, source.position, self._end))

    async def _write(self, after: int) -> None:
        """Append the events that the source has behind this position."""
        retiming = self._source.retiming
        reading = _Side(self._source.store, None if retiming is None else retiming.fork())
        reading.position = after
        self._advanced(CopyProgress("copying", after, self._end))
        while reading.position < self._end:
            events = [event for event in await reading.next(_PAGE) if event.position <= self._end]
            if not events:
                _refuse("the source", f"ended before position {self._end}, where its head was")
            for commit in copy_batches(events, self._target.store.capabilities):
                await self._append(commit)
            reading.position = events[-1].position
            self._advanced(CopyProgress("copying", reading.position, self._end))

    async def _append(self, commit: list[Append]) -> None:
        store = self._target.store
        try:
            if isinstance(store, GroupCommit) and len(commit) > 1:
                for outcome in await store.append_group(commit):
                    if isinstance(outcome, Exception):
                        raise outcome
            else:
                for append in commit:
                    await store.append(append)
        except (ConcurrencyError, EventIdCollisionError) as conflict:
            _refuse(f"stream {conflict.stream}", "was written by somebody else meanwhile")

    async def _compare_streams(self) -> int | None:
        """Compare the target's list of streams with its events and with the source's list, and return their number."""
        if not (isinstance(self._source.store, StreamCatalogue) and isinstance(self._target.store, StreamCatalogue)):
            return None
        streams = events = 0
        async with aclosing(stream_heads(self._source.store)) as originals, aclosing(stream_heads(self._target.store)) as copies:
            original = await anext(originals, None)
            async for copy in copies:
                while original is not None and original.stream < copy.stream:
                    original = await anext(originals, None)
                known = original.version if original is not None and original.stream == copy.stream else 0
                if known < copy.version or (known > copy.version and not await self._is_newer(copy.stream, copy.version)):
                    _refuse(f"stream {copy.stream}", f"has version {copy.version} there and {known} in the source")
                streams += 1
                events += copy.version
        if events != self._same:
            _refuse("its list of streams", f"counts {events} events where its feed has {self._same}")
        return streams

    async def _is_newer(self, stream: StreamId, version: int) -> bool:
        """Return whether the source's events behind this version came after the copied ones."""
        page = await read_stream_page(self._source.store, stream, after=version, limit=1)
        return page.events[0].position > self._source.position


def _difference(original: RecordedEvent, copy: RecordedEvent) -> str:
    differing = [name for name, mine, theirs in zip(_COMPARED, _values(original), _values(copy), strict=True) if mine != theirs]
    return f"another {' and '.join(differing).replace('_', ' ')}"


def _refuse(place: str, problem: str) -> NoReturn:
    raise NotACopyError(place=place, problem=problem)


def copy_batches(events: Sequence[RecordedEvent], capabilities: StoreCapabilities) -> Iterator[list[Append]]:
    """Yield commits of as few appends as keep the events in their order.

    A store numbers an append write by write. So a stream that comes back after others begins another append.

    Args:
        events: a part of the feed.
        capabilities: of the target.

    Raises:
        AppendTooLargeError: an event is larger than the target allows.
        CorruptStoreError: an event is invalid for every store.
    """
    most_bytes = min(MOST_BYTES, capabilities.max_append_bytes)
    commit: list[Append] = []
    commit_bytes = append_events = append_bytes = 0
    written: dict[str, list[NewEvent]] = {}
    last = ""
    for event in events:
        size = event.size
        if size > capabilities.max_event_bytes:
            what = f"bytes in event {event.version} of stream {event.stream}:"
            raise AppendTooLargeError(limit_name=what, limit=capabilities.max_event_bytes, actual=size)
        if commit and commit_bytes + size > most_bytes:
            yield commit
            commit, commit_bytes, written = [], 0, {}
        name = event.stream.text
        is_next = name != last and (name in written or not capabilities.multi_stream)
        is_full = append_events == capabilities.max_append_events or append_bytes + size > capabilities.max_append_bytes
        if not written or is_next or is_full:
            commit.append([])
            append_events = append_bytes = 0
            written = {}
        if name not in written:
            written[name] = []
            commit[-1].append(StreamWrite(event.stream, event.version - 1, written[name]))
        written[name].append(_new(event))
        last = name
        commit_bytes += size
        append_events += 1
        append_bytes += size
    if commit:
        yield commit


def _new(event: RecordedEvent) -> NewEvent:
    try:
        return NewEvent(event.event_id, event.event_type, event.schema_version, event.recorded_at, event.data, event.metadata)
    except ValueError as problem:
        place = f"stream {event.stream}, version {event.version}"
        raise CorruptStoreError(store="source", place=place, problem=str(problem)) from problem
