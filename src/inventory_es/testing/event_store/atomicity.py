"""ES-09 … ES-15: an append is there as a whole or not at all."""

from collections.abc import Iterator, Sequence
from typing import overload

from inventory_es.ports import AppendResult, NewEvent, StreamWrite
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, UnsupportedCapabilityError
from inventory_es.testing.event_store.bench import StoreBench, expect
from inventory_es.testing.event_store.tested_store import TestedStore, show_error, show_result
from inventory_es.testing.failure import MismatchError
from inventory_es.testing.labels import stream_id
from inventory_es.testing.promise import promise

_BATCH = 1_000
_MOST_EVENTS_TRIED = 20_000
_MOST_BYTES_TRIED = 32 << 20


class AtomicityCases:
    """All or nothing."""

    @promise("ES-09", "A rejected append leaves the stream and the feed unchanged.")
    async def test_es_09_a_rejected_append_leaves_no_trace(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a b")
            head = await store.head() if store.has_feed else 0
            await store.refused(ConcurrencyError, "x@1 c", meaning="a wrong version was let through")
            await bench.holds(store, "x", "a b", meaning="an event of the refused append is visible")
            await bench.feed_holds(store, "a b", meaning="an event of the refused append is in the feed")
            if store.has_feed:
                expect(that=await store.head() == head, expected=f"head {head}", got="another", meaning="a refused append moved the head")
            found = await store.find("x", [event.event_id for event in bench.labels.events("c")])
            expect(that=not found, expected="nothing", got=found, meaning="the id of a refused event is found")
            await store.append("x@2 c", meaning="the ids of a refused append were never stored, so they may be used")

    @promise("ES-10", "A batch is all or nothing: a rejected append leaves the stream unchanged.")
    async def test_es_10_a_refused_batch_leaves_the_stream_unchanged(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a b c")
            await store.refused(ConcurrencyError, "x@2 d1 d2", meaning="a wrong version was let through")
            await bench.holds(store, "x", "a b c", meaning="an event of the refused batch is visible")
            await store.refused(ValueError, "x@3 d1 d2 d1", meaning="one id twice in an append was taken")
            await bench.holds(store, "x", "a b c", meaning="the events before the one that was refused are visible")

    @promise("ES-11", "A batch is all or nothing also when the append fails in the middle.")
    async def test_es_11_a_batch_that_fails_in_the_middle(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            bench.need(store, together=3)
            await store.append("x@0 a")
            for place in range(3):
                events = _BreaksAt(bench.labels.events("b c d"), place)
                outcome = await _outcome(store, StreamWrite(stream_id("x"), 1, events))
                expect(
                    that=isinstance(outcome, _BreakError),
                    expected="the error of the caller's own sequence",
                    got=outcome if isinstance(outcome, BaseException) else show_result(outcome),
                    meaning=f"the events could not be read after the first {place}, so nothing can have been appended",
                )
                await bench.holds(store, "x", "a", meaning=f"the append failed after {place} of 3 events and left a part of them")
                await bench.feed_holds(store, "a", meaning=f"the append failed after {place} of 3 events and left a part in the feed")
            await store.append("x@1 b c d", meaning="after an append that failed, the same events can be appended")
            await bench.holds(store, "x", "a b c d", meaning="after an append that failed, the store goes on as if it had not been")

    @promise("ES-12", "The events of one append are adjacent, in stream and feed.")
    async def test_es_12_a_batch_stays_together(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a b")
            await store.append("y@0 p q")
            result = await store.append("x@2 c d e")
            await bench.holds(store, "x", "a b c d e", meaning="the events of a batch are not in their order")
            await bench.feed_holds(store, "a b p q c d e", meaning="the events of a batch are not together in the feed")
            last = (await store.whole_feed())[-1].position if store.has_feed else 0
            expect(
                that=result.position == last,
                expected=f"position {last}" + ("" if store.has_feed else ", as there is no feed"),
                got=f"position {result.position}",
                meaning="an append answers the position of its last event",
            )

    @promise("ES-13", "A failed append creates no stream.")
    async def test_es_13_a_failed_append_creates_no_stream(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.refused(ConcurrencyError, "x@1 a", meaning="a wrong version was let through")
            await store.refused(ValueError, "x@0 a a", meaning="one id twice in an append was taken")
            await bench.holds(store, "x", "", meaning="a refused append created the stream")
            result = await store.append("x@0 b", meaning="a stream that was never created is expected at 0")
            expect(that=result.versions[stream_id("x")] == 1, expected="version 1", got=result, meaning="a refused append counted")

    @promise(
        "ES-14",
        "A batch of 1,000 events works, or the declared maximum; above the maximum is AppendTooLargeError, nothing written.",
        seeds=0,
    )
    async def test_es_14_large_batches(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            most = store.capabilities.max_append_events
            size = min(_BATCH, most)
            labels = " ".join(f"e{number}" for number in range(size))
            await store.append(f"x@0 {labels}", meaning=f"{size} events are within what the store declares")
            await bench.holds(store, "x", labels, meaning="a large batch did not come back whole")
            if most <= _MOST_EVENTS_TRIED:
                labels = " ".join(f"f{number}" for number in range(most + 1))
                too_many = store.write(f"y@0 {labels}")
                error = await store.refused(AppendTooLargeError, too_many, meaning=f"max_append_events is {most}")
                if error.limit != store.capabilities.max_append_bytes or sum(event.size for event in too_many.events) <= error.limit:
                    _names_limit(error, most, most + 1)
            if store.capabilities.max_append_bytes <= _MOST_BYTES_TRIED:
                await self._too_many_bytes(bench, store)
            await bench.holds(store, "y", "", meaning="an append over a declared maximum was written")

    async def _too_many_bytes(self, bench: StoreBench, store: TestedStore) -> None:
        most = store.capabilities.max_append_bytes
        event_size = min(store.capabilities.max_event_bytes, most)
        count = most // event_size + 1
        if count > store.capabilities.max_append_events:
            return  # the other maximum comes first
        events = [bench.labels.sized(f"g{number}", event_size) for number in range(count)]
        error = await store.refused(AppendTooLargeError, StreamWrite(stream_id("y"), 0, events), meaning=f"max_append_bytes is {most}")
        _names_limit(error, most, count * event_size)

    @promise("ES-15", "Several streams in one append: all or none, also when one of them conflicts. Without multi_stream: refused.")
    async def test_es_15_several_streams_at_once(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a")
            if not store.capabilities.multi_stream:
                await store.refused(UnsupportedCapabilityError, "x@1 b", "y@0 p", meaning="multi_stream is not declared")
                await bench.holds(store, "x", "a", meaning="the refused append wrote to its first stream")
                await bench.holds(store, "y", "", meaning="the refused append wrote to its second stream")
                return
            result = await store.append("x@1 b", "y@0 p q", meaning="both streams have the expected versions")
            versions = {stream_id("x"): 2, stream_id("y"): 2}
            expect(that=dict(result.versions) == versions, expected=str(versions), got=result, meaning="one version for each stream")
            await bench.feed_holds(store, "a b p q", meaning="the events of one append stand together, in the order of its writes")
            for first, second in (("x@2 c", "y@1 r"), ("x@1 c", "y@2 r"), ("z@0 s", "x@1 c"), ("x@2 c", "z@1 s")):
                await store.refused(ConcurrencyError, first, second, meaning="one of the streams does not have its expected version")
                await self._two_streams_hold(bench, store, "all or none: one stream conflicts, and another was written")
            again = await store.append("x@1 b", "y@0 p q", meaning="the same append again is answered, not refused")
            expect(that=again.replayed, expected="replayed", got=again, meaning="the same append again was not recognised")
            await self._two_streams_hold(bench, store, "the same append again was written twice")

    async def _two_streams_hold(self, bench: StoreBench, store: TestedStore, meaning: str) -> None:
        await bench.holds(store, "x", "a b", meaning=meaning)
        await bench.holds(store, "y", "p q", meaning=meaning)
        await bench.holds(store, "z", "", meaning=meaning)
        await bench.feed_holds(store, "a b p q", meaning=meaning)


class _BreakError(Exception):
    """Raised by a caller's sequence of events."""


class _BreaksAt(Sequence[NewEvent]):
    """Events that can be read up to a place, such as a sequence that builds them one by one and fails."""

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
    except Exception as error:  # noqa: BLE001  # any answer is an answer: the case judges it
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
