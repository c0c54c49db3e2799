"""ES-01 … ES-08, ES-31: versions are counts, and an append says which one it expects."""

import attrs

from inventory_es.ports import NewEvent, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.promise import promise


class VersionCases:
    """Cases of versions and expected versions."""

    @promise("ES-01", "An append to a new stream expecting 0 gives version n, and reading gives the same events.")
    async def test_es_01_an_append_to_a_new_stream_reads_back(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            result = await store.append("x@0 a b c", meaning="a new stream is expected at version 0")
            expect(
                that=dict(result.versions) == {stream_id("x"): 3} and not result.replayed,
                expected="versions {x: 3}, not replayed",
                got=result,
                meaning="the answer is the version after the append's own events",
            )
            await harness.holds(store, "x", "a b c", meaning="what was appended is not what is read")
            result = await store.append("x@3 d", meaning="the version that was answered is the one to expect next")
            expect(that=result.versions[stream_id("x")] == 4, expected="version 4", got=result, meaning="versions count events")
            await harness.holds(store, "x", "a b c d", meaning="what was appended is not what is read")

    @promise("ES-02", "Expecting 0 on an existing stream is a conflict.")
    async def test_es_02_expecting_nothing_where_something_is(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            await store.refused(ConcurrencyError, "x@0 b", meaning="a second creation of one stream went through")
            await harness.holds(store, "x", "a", meaning="the refused creation changed the stream")

    @promise("ES-03", "Expecting n on a missing stream is a conflict.")
    async def test_es_03_expecting_something_where_nothing_is(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            error = await store.refused(ConcurrencyError, "x@2 a", meaning="a stream began at a version that it never had")
            expect(that=error.actual == 0, expected="actual 0", got=error.actual, meaning="a missing stream has version 0")
            await harness.holds(store, "x", "", meaning="the refused append created the stream")

    @promise("ES-04", "An exact version succeeds; one off either way is a conflict.")
    async def test_es_04_only_the_exact_version_will_do(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b c")
            await store.refused(ConcurrencyError, "x@2 d", meaning="a writer that missed the last event was let through")
            await store.refused(ConcurrencyError, "x@4 d", meaning="a writer that expects an event which is not there was let through")
            await store.append("x@3 d", meaning="the exact version was refused")
            await harness.holds(store, "x", "a b c d", meaning="only the append with the exact version may be there")

    @promise("ES-05", "The store keeps the given recorded_at verbatim and stamps no time of its own.")
    async def test_es_05_time_is_given(self, harness: StoreHarness) -> None:
        late, early, same = harness.labels.events("late early same")
        early = harness.labels.add("early", _at(early, year=1970))
        late = harness.labels.add("late", _at(late, year=2999))
        async with harness.open() as store:
            await store.append(StreamWrite(stream_id("x"), 0, [late, early, same]), meaning="times may be anything, in any order")
            await harness.holds(store, "x", "late early same", meaning="the time that the writer gave is not the one that is read")

    @promise("ES-06", "A conflict names the stream, the expected and the actual version.")
    async def test_es_06_a_conflict_carries_its_facts(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b c")
            for expected in (0, 1, 5):
                error = await store.refused(ConcurrencyError, f"x@{expected} d", meaning="a wrong version was let through")
                expect(
                    that=(error.stream, error.expected, error.actual) == (stream_id("x"), expected, 3),
                    expected=f"stream x, expected {expected}, actual 3",
                    got=f"stream {error.stream}, expected {error.expected}, actual {error.actual}",
                    meaning="who lost needs the actual version to read just the tail",
                )

    @promise("ES-07", "No writes, a write without events, two writes to one stream, a negative or non-integer expectation: ValueError.")
    async def test_es_07_nonsense_is_a_value_error(self, harness: StoreHarness) -> None:
        (event,) = harness.labels.events("d")
        async with harness.open() as store:
            await store.append("x@0 a")
            await store.refused(ValueError, meaning="an append without writes was taken")
            await store.refused(ValueError, "x@1", meaning="a write without events was taken")
            await store.refused(ValueError, "x@1 b", "x@2 c", meaning="two writes to one stream were taken")
            await store.refused(ValueError, "x@1 b", "y@0", meaning="one of the writes has no events")
            for version in (-1, 1.0, "1", None):
                write = StreamWrite(stream_id("x"), version, [event])  # type: ignore[arg-type]  # the misuse that is under test
                await store.refused(ValueError, write, meaning=f"the expected version {version!r} is no count")
            await harness.holds(store, "x", "a", meaning="a refused append changed the stream")
            await harness.holds(store, "y", "", meaning="a refused append created a stream")

    @promise("ES-08", "The versions of a stream are 1..n without a gap, also after refused appends.")
    async def test_es_08_versions_have_no_gaps(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            await store.refused(ConcurrencyError, "x@0 r1 r2 r3", meaning="a wrong version was let through")
            await store.append("x@1 b c")
            await store.append("y@0 p")
            await store.refused(ConcurrencyError, "x@2 r4", meaning="a wrong version was let through")
            result = await store.append("x@3 d")
            expect(
                that=result.versions[stream_id("x")] == 4,
                expected="version 4",
                got=result,
                meaning="a refused append used up a version, or another stream's events count here",
            )
            await harness.holds(store, "x", "a b c d", meaning="versions must count this stream's events alone")

    @promise("ES-31", "Operations on one stream never change another.")
    async def test_es_31_streams_do_not_touch(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b")
            await store.append("xy@0 p", meaning="another stream, whose name begins alike, is new")
            await store.append("y@0 a", meaning="an event id is unique within its stream; another stream may hold it too")
            await store.refused(ConcurrencyError, "xy@2 q", meaning="one stream was checked against another's version")
            await store.refused(ConcurrencyError, "xy@4 q", meaning="one stream was checked against the count of the whole store")
            await store.append("x@2 c")
            for name, labels in (("x", "a b c"), ("xy", "p"), ("y", "a")):
                await harness.holds(store, name, labels, meaning="an append to another stream shows here")


def _at(event: NewEvent, *, year: int) -> NewEvent:
    return attrs.evolve(event, recorded_at=event.recorded_at.replace(year=year))
