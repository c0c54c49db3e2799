"""ES-09 … ES-15, ES-61, ES-62: an append is written as a whole or not at all."""

from collections.abc import Iterator, Sequence
from typing import overload

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.ports import AppendResult, NewEvent, RecordedEvent, StreamCatalogue, StreamWrite, VersionGlance
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, UnsupportedCapabilityError
from inventory_es.testing.contracts.core.await_points import cancel_at
from inventory_es.testing.contracts.core.event_labels import stream_id, stream_name
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.comparison import Comparison
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.reference_model import ReferenceModel
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, show_error, show_result
from inventory_es.testing.promise import MismatchError, promise

_BATCH = 1_000
_MANY_STREAMS = 150
_MOST_EVENTS_TRIED = 20_000
_MOST_BYTES_TRIED = 32 << 20


_ALL_OR_NONE = (
    "Whoever reads while an append runs sees all of it or none, in streams, feed, head, catalogue and by id; "
    "once one of its events was seen, all are."
)
_LARGEST = "An append of the declared maximum is atomic: to readers while it runs, and where it is cancelled."
_MOST_TURNS = 40
_APPENDS = 3


class AtomicityCases:
    """Cases of atomic appends."""

    @promise("ES-09", "A rejected append leaves the stream and the feed unchanged.")
    async def test_es_09_a_rejected_append_leaves_no_trace(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b")
            head = await store.head() if store.has_feed else 0
            await store.refused(ConcurrencyError, "x@1 c", meaning="a wrong version was let through")
            await harness.holds(store, "x", "a b", meaning="an event of the refused append is visible")
            await harness.feed_holds(store, "a b", meaning="an event of the refused append is in the feed")
            if store.has_feed:
                expect(that=await store.head() == head, expected=f"head {head}", got="another", meaning="a refused append moved the head")
            found = await store.find("x", [event.event_id for event in harness.labels.events("c")])
            expect(that=not found, expected="nothing", got=found, meaning="the id of a refused event is found")
            await store.append("x@2 c", meaning="the ids of a refused append were never stored, so they may be used")

    @promise("ES-10", "A batch is all or nothing: a rejected append leaves the stream unchanged.")
    async def test_es_10_a_refused_batch_leaves_the_stream_unchanged(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b c")
            await store.refused(ConcurrencyError, "x@2 d1 d2", meaning="a wrong version was let through")
            await harness.holds(store, "x", "a b c", meaning="an event of the refused batch is visible")
            await store.refused(ValueError, "x@3 d1 d2 d1", meaning="one id twice in an append was taken")
            await harness.holds(store, "x", "a b c", meaning="the events before the one that was refused are visible")

    @promise("ES-11", "A batch is all or nothing also when the append fails in the middle.")
    async def test_es_11_a_batch_that_fails_in_the_middle(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, together=3)
            await store.append("x@0 a")
            for place in range(3):
                events = _BreaksAt(harness.labels.events("b c d"), place)
                outcome = await _outcome(store, StreamWrite(stream_id("x"), 1, events))
                expect(
                    that=isinstance(outcome, _BreakError),
                    expected="the error of the caller's own sequence",
                    got=outcome if isinstance(outcome, BaseException) else show_result(outcome),
                    meaning=f"the events could not be read after the first {place}, so nothing can have been appended",
                )
                await harness.holds(store, "x", "a", meaning=f"the append failed after {place} of 3 events and left a part of them")
                await harness.feed_holds(store, "a", meaning=f"the append failed after {place} of 3 events and left a part in the feed")
            await store.append("x@1 b c d", meaning="after an append that failed, the same events can be appended")
            await harness.holds(store, "x", "a b c d", meaning="after an append that failed, the store goes on as if it had not been")

    @promise("ES-12", "The events of one append are adjacent, in stream and feed.")
    async def test_es_12_a_batch_stays_together(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b")
            await store.append("y@0 p q")
            result = await store.append("x@2 c d e")
            await harness.holds(store, "x", "a b c d e", meaning="the events of a batch are not in their order")
            await harness.feed_holds(store, "a b p q c d e", meaning="the events of a batch are not together in the feed")
            last = (await store.whole_feed())[-1].position if store.has_feed else 0
            expect(
                that=result.position == last,
                expected=f"position {last}" + ("" if store.has_feed else ", as there is no feed"),
                got=f"position {result.position}",
                meaning="an append answers the position of its last event",
            )

    @promise("ES-13", "A failed append creates no stream.")
    async def test_es_13_a_failed_append_creates_no_stream(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.refused(ConcurrencyError, "x@1 a", meaning="a wrong version was let through")
            await store.refused(ValueError, "x@0 a a", meaning="one id twice in an append was taken")
            await harness.holds(store, "x", "", meaning="a refused append created the stream")
            result = await store.append("x@0 b", meaning="a stream that was never created is expected at 0")
            expect(that=result.versions[stream_id("x")] == 1, expected="version 1", got=result, meaning="a refused append counted")

    @promise(
        "ES-14",
        "A batch of 1,000 events works, or the declared maximum; above the maximum is AppendTooLargeError, nothing written.",
        seeds=0,
    )
    async def test_es_14_large_batches(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            most = store.capabilities.max_append_events
            size = min(_BATCH, most)
            labels = " ".join(f"e{number}" for number in range(size))
            await store.append(f"x@0 {labels}", meaning=f"{size} events are within what the store declares")
            await harness.holds(store, "x", labels, meaning="a large batch did not come back whole")
            if most <= _MOST_EVENTS_TRIED:
                labels = " ".join(f"f{number}" for number in range(most + 1))
                too_many = store.write(f"y@0 {labels}")
                error = await store.refused(AppendTooLargeError, too_many, meaning=f"max_append_events is {most}")
                if error.limit != store.capabilities.max_append_bytes or sum(event.size for event in too_many.events) <= error.limit:
                    _names_limit(error, most, most + 1)
            if store.capabilities.max_append_bytes <= _MOST_BYTES_TRIED:
                await self._too_many_bytes(harness, store)
            await harness.holds(store, "y", "", meaning="an append over a declared maximum was written")

    async def _too_many_bytes(self, harness: StoreHarness, store: TestedStore) -> None:
        most = store.capabilities.max_append_bytes
        event_size = min(store.capabilities.max_event_bytes, most)
        count = most // event_size + 1
        if count > store.capabilities.max_append_events:
            return  # the other maximum comes first
        events = [harness.labels.sized(f"g{number}", event_size) for number in range(count)]
        error = await store.refused(AppendTooLargeError, StreamWrite(stream_id("y"), 0, events), meaning=f"max_append_bytes is {most}")
        _names_limit(error, most, count * event_size)

    @promise("ES-15", "Several streams in one append: all or none, also when one of them conflicts. Without multi_stream: refused.")
    async def test_es_15_several_streams_at_once(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            if not store.capabilities.multi_stream:
                await store.refused(UnsupportedCapabilityError, "x@1 b", "y@0 p", meaning="multi_stream is not declared")
                await harness.holds(store, "x", "a", meaning="the refused append wrote to its first stream")
                await harness.holds(store, "y", "", meaning="the refused append wrote to its second stream")
                return
            result = await store.append("x@1 b", "y@0 p q", meaning="both streams have the expected versions")
            versions = {stream_id("x"): 2, stream_id("y"): 2}
            expect(that=dict(result.versions) == versions, expected=str(versions), got=result, meaning="one version for each stream")
            await harness.feed_holds(store, "a b p q", meaning="the events of one append stand together, in the order of its writes")
            for first, second in (("x@2 c", "y@1 r"), ("x@1 c", "y@2 r"), ("z@0 s", "x@1 c"), ("x@2 c", "z@1 s")):
                await store.refused(ConcurrencyError, first, second, meaning="one of the streams does not have its expected version")
                await self._two_streams_hold(harness, store, "all or none: one stream conflicts, and another was written")
            again = await store.append("x@1 b", "y@0 p q", meaning="the same append again is answered, not refused")
            expect(that=again.replayed, expected="replayed", got=again, meaning="the same append again was not recognised")
            await self._two_streams_hold(harness, store, "the same append again was written twice")

    @promise("ES-15", "Several streams in one append: all or none, also when the one that refuses it is any of many.", seeds=0)
    async def test_es_15_one_of_many_streams(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            many = min(_MANY_STREAMS, store.capabilities.max_append_events)
            if not store.capabilities.multi_stream or many < 2:  # several
                harness.run.not_declared("multi_stream, and max_append_events of 2 or more")
            comparison = Comparison(harness, store, ReferenceModel())
            await comparison.append([store.write("x@0 a")])
            for place in sorted({0, 1, many // 2, many - 1}):
                writes = [store.write(f"s{number}@0 s{number}") for number in range(many)]
                refused = [f"x@{version} b" for version in (0, 2)]
                refused += ["x@0 a'"] + ["x@1 a"] * store.capabilities.unique_event_ids
                for write in refused:
                    writes[place] = store.write(write)
                    await comparison.append(writes)
            for number in range(many):
                page = await store.page(f"s{number}", limit=1)
                expect(
                    that=page.version == 0,
                    expected=f"no stream s{number}",
                    got=f"version {page.version}",
                    meaning=f"an append to {many} streams was refused for one of them, and others were written",
                )
            await comparison.everything()

    @promise("ES-61", _ALL_OR_NONE, seeds=1)
    async def test_es_61_readers_see_all_or_none(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            for number in range(_APPENDS):
                writes = [f"a{number}@0 {' '.join(f'a{number}e{place}' for place in range(5))}"]
                if store.capabilities.multi_stream:
                    writes = [f"b{number}@0 b{number}e0 b{number}e1", f"c{number}@0 c{number}e0 c{number}e1", f"d@{number} d{number}"]
                await _seen_whole(harness, [store, *others], [store.write(write) for write in writes])
            if store.has_feed and len(others):
                expect(
                    that=await store.whole_feed() == await others[0].whole_feed(),
                    expected="one feed",
                    got="two",
                    meaning="the instances don't agree on the order",
                )

    @promise("ES-62", _LARGEST, seeds=0)
    async def test_es_62_the_largest_append(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            suspensions = await _seen_whole(harness, [store], _largest(harness, store, "seen"))
            for point in sorted({1, suspensions} - {0}):
                writes = _largest(harness, store, f"cut{point}")
                await cancel_at(point, lambda count: store.append(*writes, at_suspension=count))  # noqa: B023  # called now
                await harness.contract.settle()
                versions = [(await store.page(write.stream, limit=1)).version for write in writes]
                if versions and versions[0] == 0:
                    versions = [(await store.page(write.stream, limit=1)).version for write in writes]  # it was written during the search
                sizes = [len(write.events) for write in writes]
                expect(
                    that=versions in (sizes, [0] * len(sizes)),
                    expected=f"versions {sizes}, or 0",
                    got=versions,
                    meaning=f"an append of {sum(sizes)} events, which is within what is declared, was cancelled at await point {point} "
                    "and is there in part",
                )
                result = await store.append(*writes, meaning="the same large append again must be answered or written")
                expect(
                    that=list(result.versions.values()) == sizes and (result.replayed or not any(versions)),
                    expected=f"versions {sizes}, replayed where it was there",
                    got=show_result(result),
                    meaning="the same large append again must be answered or written",
                )
                last = (await store.page_backwards(writes[-1].stream, limit=1)).events[0]
                expect(
                    that=last.event_id == writes[-1].events[-1].event_id,
                    expected="its last event",
                    got=harness.labels.label(last),
                    meaning="a large append that was cancelled and sent again is not there whole",
                )

    async def _two_streams_hold(self, harness: StoreHarness, store: TestedStore, meaning: str) -> None:
        await harness.holds(store, "x", "a b", meaning=meaning)
        await harness.holds(store, "y", "p q", meaning=meaning)
        await harness.holds(store, "z", "", meaning=meaning)
        await harness.feed_holds(store, "a b p q", meaning=meaning)


async def _seen_whole(harness: StoreHarness, readers: Sequence[TestedStore], writes: Sequence[StreamWrite]) -> int:
    """Append, held at each await point until each reader has looked everywhere, and return the number of suspensions."""
    store = readers[0]
    suspensions = looks = 0
    is_done = anyio.Event()
    watchers = [_Watcher(harness, reader, writes) for reader in readers]
    for watcher in watchers:
        await watcher.begin()

    def count() -> None:
        nonlocal suspensions
        suspensions += 1

    def held() -> Iterator[object]:
        start = looks
        for turn in range(_MOST_TURNS if suspensions <= _MOST_TURNS else 1):
            if looks >= start + 2 * len(watchers):
                return
            yield turn

    async def watch(watcher: "_Watcher") -> None:
        nonlocal looks
        while not is_done.is_set() and not watcher.is_whole:
            await watcher.look()
            looks += 1
            await checkpoint()
        looks += 2 * len(watchers)

    async with anyio.create_task_group() as tasks:
        for watcher in watchers:
            tasks.start_soon(watch, watcher)
        await checkpoint()
        result = await store.append(*writes, at_suspension=count, held=held)
        is_done.set()
    await harness.contract.settle()
    for watcher in watchers:
        await watcher.end(result)
    return suspensions


def _largest(harness: StoreHarness, store: TestedStore, name: str) -> list[StreamWrite]:
    """Return an append of the declared maximum of events, to two streams where the store allows that."""
    declared = store.capabilities
    size = harness.labels.event(f"{name}0").size + 16  # with the longest number in it
    labels = [
        f"{name}{number}" for number in range(min(declared.max_append_events, _MOST_EVENTS_TRIED // 2, declared.max_append_bytes // size))
    ]
    half = len(labels) // 2 if declared.multi_stream and len(labels) > 1 else 0
    parts = {f"{name}two": labels[:half], f"{name}one": labels[half:]}
    return [StreamWrite(stream_id(stream), 0, harness.labels.events(" ".join(part))) for stream, part in parts.items() if part]


@attrs.define
class _Watcher:
    """A reader that looks for an append in every way of the store, and remembers whether it was there."""

    harness: StoreHarness
    store: TestedStore
    writes: Sequence[StreamWrite]
    is_whole: bool = False
    _seen: str = ""
    _head: int = 0
    _heads: list[int] = attrs.field(factory=list[int])

    async def begin(self) -> None:
        """Remember the end of the feed."""
        if self.store.has_feed:
            self._head = await self.store.head()

    async def look(self) -> None:
        """Look once in every way. After the first way that shows the append, all later ways must show it too."""
        for write in self.writes:
            before, size, stream = write.expected_version, len(write.events), write.stream
            page = await self.store.page(stream, after=before, limit=size)
            self._is(page.version - before, size, f"the version of {stream}", page.events)
            backwards = await self.store.page_backwards(stream, limit=1)
            self._is(backwards.version - before, size, f"the version of {stream}, read backwards", backwards.events)
            last = backwards.events[0].version if backwards.events else 0
            self._is(last - before, size, f"the last event of {stream}", backwards.events)
            ids = [write.events[0].event_id, write.events[-1].event_id] if size > 1 else [write.events[0].event_id]
            found = await self.store.find(stream, ids)
            self._is(len(found), len(ids), f"{stream} by id", found)
            if isinstance(self.store.raw, VersionGlance) and (version := self.store.glance(stream_name(stream))) is not None:
                self._is(version - before, size, f"a glance at {stream}", ())
            if isinstance(self.store.raw, StreamCatalogue):
                heads = {head.stream: head.version for head in (await self.store.streams(stream.text, limit=100)).heads}
                self._is(heads.get(stream, 0) - before, size, f"the catalogue's version of {stream}", ())
        if self.store.has_feed:
            await self._look_at_feed()
        self.is_whole = bool(self._seen)

    async def _look_at_feed(self) -> None:
        size = sum(len(write.events) for write in self.writes)
        head = await self.store.head()
        if head != self._head:
            self._heads.append(head)
            self._is(size, size, "the head of the feed", ())
        if (await self.store.feed_page(after=self._head, limit=1)).events or self._seen:
            self._is(size, size, "the feed", ())
            events = await self.store.whole_feed(after=self._head)
            self._is(len(events), size, "the feed", events)

    async def end(self, result: AppendResult) -> None:
        """Look once more, after the append was acknowledged."""
        self._seen = self._seen or "its acknowledgement"
        await self.look()
        wrong = [head for head in self._heads if head != result.position]
        expect(
            that=not wrong or not self.store.has_feed,
            expected=f"head {self._head} or {result.position}",
            got=wrong,
            meaning="the head was the position of no event, or of one in the middle of an append",
        )

    def _is(self, count: int, size: int, where: str, events: Sequence[RecordedEvent]) -> None:
        """Note how many of ``size`` events are seen there."""
        allowed = (size,) if self._seen else (0, size)
        if count not in allowed:
            after = f", as {self._seen} was seen before" if self._seen else ""
            raise MismatchError(
                expected=f"{' or '.join(map(str, allowed))} events in {where}{after}",
                got=f"{count} {self.harness.labels.show(events)}",
                meaning=f"{self.store.name or 'a task '}reads a part of an append that is under way",
            )
        if count and not self._seen:
            self._seen = where


class _BreakError(Exception):
    """The error of a caller's sequence of events."""


class _BreaksAt(Sequence[NewEvent]):
    """Events that can be read up to an index, as of a sequence that builds them one by one and fails."""

    def __init__(self, events: Sequence[NewEvent], place: int) -> None:
        self._events = events
        self._place = place
        self._reads = 0

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> NewEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[NewEvent]: ...
    def __getitem__(self, index: int | slice) -> NewEvent | Sequence[NewEvent]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if index % len(self) >= self._place:
            msg = f"event {index} can't be built"
            raise _BreakError(msg)
        return self._events[index]

    def __iter__(self) -> Iterator[NewEvent]:
        return (self[number] for number in range(len(self)))


async def _outcome(store: TestedStore, write: StreamWrite) -> AppendResult | Exception:
    entry = store.run.history.begin("append x@1 [b c d], whose events can't all be read")
    try:
        result = await store.run.schedule.drive(store.raw.append([write]))
    except Exception as error:  # noqa: BLE001  # the case judges every error
        entry.outcome = show_error(error)
        return error
    entry.outcome = show_result(result)
    return result


def _names_limit(error: AppendTooLargeError, limit: int, actual: int) -> None:
    if (error.limit, error.actual) != (limit, actual):
        expected = f"limit {limit}, actual {actual}"
        raise MismatchError(
            expected=expected, got=f"limit {error.limit}, actual {error.actual}", meaning="the refusal says by how much it is too large"
        )
