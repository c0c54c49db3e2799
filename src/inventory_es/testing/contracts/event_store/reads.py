"""ES-22 … ES-27, ES-32, ES-56, ES-67: reads while others write, and pages that come to an end."""

from collections.abc import Sequence
from functools import partial

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent, StreamCatalogue, StreamPage, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.ports.toolkit.page_rules import (
    check_feed_page,
    check_stream_page,
    check_stream_page_backwards,
    check_streams_page,
    count_empty_pages,
)
from inventory_es.testing.contracts.core.await_points import cancel_at
from inventory_es.testing.contracts.core.event_labels import event_id, stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.calls import Calls
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, going_on
from inventory_es.testing.promise import MismatchError, promise

_TEN = "a b c d e f g h i j"
_X, _Y = stream_id("x"), stream_id("y")
_LARGE = 200_000
_POINTS = 20
_STEPS = 4
_SHORT = 0.02
_FAR = 1 << 60


class ReadingCases:
    """Cases of reading streams."""

    @promise("ES-22", "A missing stream is empty with version 0, and reading does not create it.")
    async def test_es_22_a_missing_stream(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            for page in (await store.page("x"), await store.page("x", after=7), await store.page_backwards("x")):
                expect(
                    that=not page.events and page.version == 0 and page.is_end,
                    expected="no events, version 0, is_end",
                    got=page,
                    meaning="a stream that is not there is empty",
                )
            expect(that=not await store.find("x", [event_id("a")]), expected="nothing", got="an event", meaning="nothing is there to find")
            await store.append("x@0 a", meaning="reading a missing stream created it")
            await harness.feed_holds(store, "a", meaning="reading a missing stream wrote something")

    @promise("ES-23", "Forward reading starts after version v and respects the limit.")
    async def test_es_23_forward_with_a_limit(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append(f"x@0 {_TEN}")
            for after, limit, labels in (
                (0, 3, "a b c"),
                (3, 3, "d e f"),
                (8, 5, "i j"),
                (9, 1, "j"),
                (0, 10, _TEN),
                (4, 6, "e f g h i j"),
            ):
                page = await store.page("x", after=after, limit=limit)
                _is_page(harness, page, labels, limit)
                _says_end_rightly(page, reached=bool(page.events) and page.events[-1].version == 10)
                expect(that=page.version == 10, expected="version 10", got=page.version, meaning="a page says the version of the stream")

    @promise("ES-24", "Backward reading starts before version v, or at the end, newest first.")
    async def test_es_24_backward(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append(f"x@0 {_TEN}")
            for before, limit, labels in ((None, 3, "j i h"), (8, 3, "g f e"), (3, 5, "b a"), (2, 1, "a"), (11, 2, "j i"), (99, 2, "j i")):
                page = await store.page_backwards("x", before=before, limit=limit)
                _is_page(harness, page, labels, limit)
                _says_end_rightly(page, reached=bool(page.events) and page.events[-1].version == 1)
                expect(that=page.version == 10, expected="version 10", got=page.version, meaning="a page says the version of the stream")

    @promise("ES-25", "Ranges past the end are empty; a limit below 1, after below 0 and before below 1 are ValueError.")
    async def test_es_25_ranges_past_the_end(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b c")
            for page in (await store.page("x", after=3), await store.page("x", after=1_000_000), await store.page_backwards("x", before=1)):
                expect(
                    that=not page.events and page.is_end and page.version == 3,
                    expected="no events, is_end, version 3",
                    got=page,
                    meaning="nothing is there, and nothing more will come of it",
                )
            await _is_value_error(store, "limit 0", after=0, limit=0)
            await _is_value_error(store, "limit -1", after=0, limit=-1)
            await _is_value_error(store, "after -1", after=-1, limit=1)
            await _is_value_error(store, "limit 0 backwards", before=None, limit=0)
            await _is_value_error(store, "limit -1 backwards", before=3, limit=-1)
            await _is_value_error(store, "before 0", before=0, limit=1)
            await _is_value_error(store, "before -1", before=-1, limit=1)
            await _is_value_error(store, "limit 0 of a missing stream", name="y", after=0, limit=0)
            await _is_value_error(store, "after -1 of a missing stream", name="y", after=-1, limit=1)
            await _is_value_error(store, "limit 0 of a missing stream backwards", name="y", before=None, limit=0)
            await _is_value_error(store, "before 0 of a missing stream", name="y", before=0, limit=1)

    @promise("ES-26", "Paging by any page size gives the same as one big read.")
    async def test_es_26_paging(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b c")
            await store.append("y@0 p q r")
            await store.append("x@3 d e f g h i j")
            for size in (1, 2, 3, 7, 9, 10, 11):
                forward = await _forward(store, size)
                backward = await _backward(store, size)
                shown = harness.labels.show(forward), harness.labels.show(reversed(backward))
                expected = f"[{_TEN}]"
                meaning = f"pages of {size} do not join to the stream: forward {shown[0]}, backward {shown[1]}"
                expect(that=shown == (expected, expected), expected=expected, got=shown, meaning=meaning)

    @promise("ES-27", "A read during appends gives a consistent prefix, and its version belongs to its events.", seeds=8)
    async def test_es_27_reads_during_appends(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            harness.need(store, together=3)
            writers = (store, *others)
            await store.append("x@0 a b")
            done = anyio.Event()

            async def write() -> None:
                for version in range(2, 14, 3):
                    await writers[version % len(writers)].append(f"x@{version} e{version} f{version} g{version}")
                done.set()

            async def read() -> None:
                while not done.is_set():
                    _is_prefix(await store.page("x"))
                    _is_tail(await store.page_backwards("x", limit=5))
                    await anyio.lowlevel.checkpoint()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                tasks.start_soon(read)
                tasks.start_soon(write)

    @promise("ES-32", "find_events gives exactly the asked ids of that stream, by version.")
    async def test_es_32_find_events(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b c d")
            await store.append("y@0 p b")
            for asked, labels in (("c a", "a c"), ("a b c d", "a b c d"), ("p", ""), ("d z", "d"), ("", ""), ("b b", "b")):
                found = await store.find("x", [event_id(label) for label in asked.split()])
                expected = harness.labels.show(harness.labels.events(labels))
                expect(
                    that=harness.labels.show(found) == expected,
                    expected=expected,
                    got=harness.labels.show(found),
                    meaning=f"asked for [{asked}] in x, which holds [a b c d]",
                )
            await harness.holds(
                store, "x", [harness.labels.event(label) for label in "abcd"], meaning="looking events up changed the stream"
            )


class PageCases:
    """Cases of consecutive pages."""

    @promise(
        "ES-56",
        "Each page goes on from the one before it, by any page size and with events of any size, and only the end is empty.",
        seeds=0,
    )
    async def test_es_56_pages_go_on(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            declared = store.capabilities
            large = min(declared.max_event_bytes, declared.max_append_bytes, _LARGE)
            names = [f"{stream}{number}" for stream in "xy" for number in range(4)]
            sizes = (100, large, 100, large) * 2
            events = [harness.labels.sized(name, size) for name, size in zip(names, sizes, strict=True)]
            for version in range(4):
                await store.append(StreamWrite(_X, version, [events[version]]))
                await store.append(StreamWrite(_Y, version, [events[4 + version]]))
            await harness.contract.settle()
            for size in (1, 2, 3, 5, 1_000):
                for stream, written in ((_X, events[:4]), (_Y, events[4:])):
                    _are_all(harness, await _pages_forward(store, stream, size), harness.labels.show(written))
                    _are_all(harness, await _pages_backward(store, stream, size), harness.labels.show(reversed(written)))
                if store.has_feed:
                    fed = [events[place] for version in range(4) for place in (version, 4 + version)]
                    _are_all(harness, await _feed(store, size), harness.labels.show(fed))
                if isinstance(store.raw, StreamCatalogue):
                    await _streams(store, size)

    @promise(
        "ES-67",
        "Whoever reads up to the head, or waits for a position, comes to the end: the head is an event of the feed, "
        "also after refused and cancelled appends, and a wait ends at its timeout, or when its position is there.",
        seeds=1,
    )
    async def test_es_67_reading_to_the_head_ends(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            await _head_is_read(store, others)
            await store.append("x@0 a b")
            await _head_is_read(store, others)
            for version in (1, 3):
                await store.refused(ConcurrencyError, f"x@{version} c", meaning="a wrong version was let through")
                await _head_is_read(store, others)
            await store.append("x@0 a b", meaning="the same append again is answered")
            await _head_is_read(store, others)
            for point in range(_POINTS):
                writes = [f"y{point}@0 y{point}a y{point}b"]
                reached = await cancel_at(point, lambda count: store.append(*writes, at_suspension=count))  # noqa: B023  # called now
                await harness.contract.settle()
                await _head_is_read(store, others)
                if not reached:
                    break

    @promise("ES-67", "A wait for a position ends at its timeout, or when the position is there, whoever appends it.", seeds=0)
    async def test_es_67_waits_end(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            calls = Calls(harness, store, "w")
            await store.append("x@0 a b")
            head = await store.head()
            for timeout in (0.0, _SHORT):
                meaning = f"a wait of {timeout:g} s for what does not come must end"
                await calls.bounded(partial(store.wait, head + _FAR, timeout=timeout), meaning)
                await calls.bounded(partial(store.wait, head, timeout=timeout), f"a wait of {timeout:g} s for what is there must end")
            for number, writer in enumerate([store, *others]):
                last = await store.head()
                async with anyio.create_task_group() as tasks:
                    for behind in (1, 1, 2):
                        ask = partial(store.wait, last + behind, timeout=10 * harness.contract.patience)
                        tasks.start_soon(calls.bounded, ask, "a wait for a position that is there meanwhile must end")
                    for _ in range(_STEPS):
                        await checkpoint()
                    await writer.append(f"z{number}@0 z{number}a z{number}b z{number}c")


async def _is_value_error(store: TestedStore, what: str, *, name: str = "x", limit: int, **place: int | None) -> None:
    try:
        page = await (store.page_backwards if "before" in place else store.page)(name, limit=limit, **place)  # type: ignore[arg-type]  # misuse
    except ValueError:
        return
    raise MismatchError(expected="ValueError", got=str(page), meaning=f"{what} is a mistake of the caller, not a question")


async def _forward(store: TestedStore, size: int) -> list[RecordedEvent]:
    events: list[RecordedEvent] = []
    while True:
        last = events[-1].version if events else 0
        page = await store.page("x", after=last, limit=size)
        events += page.events
        if page.is_end or not page.events or page.events[-1].version <= last:
            return events
        await anyio.lowlevel.checkpoint()


async def _backward(store: TestedStore, size: int) -> list[RecordedEvent]:
    events: list[RecordedEvent] = []
    while True:
        first = events[-1].version if events else None
        page = await store.page_backwards("x", before=first, limit=size)
        events += page.events
        if page.is_end or not page.events or (first is not None and page.events[-1].version >= first):
            return events
        await anyio.lowlevel.checkpoint()


def _is_page(harness: StoreHarness, page: StreamPage, labels: str, limit: int) -> None:
    """Expect a page within its limit, and an empty page only at the end."""
    wanted = harness.labels.events(labels)
    shown, expected = harness.labels.show(page.events), harness.labels.show(wanted[: max(1, len(page.events))])
    expect(
        that=shown == expected and len(page.events) <= limit,
        expected=f"{harness.labels.show(wanted)}, or its beginning",
        got=shown,
        meaning="a page holds the events that follow the place it was asked for, in order, at most as many as the limit",
    )


def _says_end_rightly(page: StreamPage, *, reached: bool) -> None:
    expect(
        that=page.is_end == reached,
        expected=f"is_end={reached}",
        got=f"is_end={page.is_end}",
        meaning="who pages through the stream stops too early" if page.is_end else "who pages through the stream asks once too often",
    )


def _is_prefix(page: StreamPage) -> None:
    versions = [event.version for event in page.events]
    consistent = versions == list(range(1, len(versions) + 1)) and (not page.is_end or len(versions) == page.version)
    whole_batches = len(versions) % 3 == 2 or not page.is_end
    expect(
        that=consistent and whole_batches and page.version % 3 == 2,
        expected="versions 1..n without a gap, n the version that the page says, and no part of an append",
        got=f"versions {versions}, version {page.version}, is_end {page.is_end}",
        meaning="who decides on this state expects a version that it did not see",
    )


def _is_tail(page: StreamPage) -> None:
    versions = [event.version for event in page.events]
    expect(
        that=versions == list(range(page.version, page.version - len(versions), -1)) and page.version % 3 == 2,
        expected=f"versions from {page.version} downwards",
        got=f"versions {versions}",
        meaning="the page's version and its events are from different moments",
    )


async def _head_is_read(store: TestedStore, others: Sequence[TestedStore]) -> None:
    """Expect each instance's feed, read to its end, to end with the event at the head."""
    for one in (store, *others):
        head = await one.head()
        events = await one.whole_feed()
        last = events[-1].position if events else 0
        expect(
            that=last >= head,
            expected=f"an event at position {head}, the head, or behind it",
            got=f"{last}, the position of the last event",
            meaning="whoever reads the feed up to its head never ends",
        )
        expect(that=await one.head() >= last, expected=f"head {last} or more", got=head, meaning="the feed shows events behind its head")


async def _pages_forward(store: TestedStore, stream: StreamId, limit: int) -> list[RecordedEvent]:
    events: list[RecordedEvent] = []
    is_end = False
    while not is_end:
        page = await store.page(stream, after=len(events), limit=limit)
        with going_on():
            check_stream_page(page, stream, after=len(events), limit=limit, store=store.kind)
        events += page.events
        is_end = page.is_end
        await checkpoint()
    return events


async def _pages_backward(store: TestedStore, stream: StreamId, limit: int) -> list[RecordedEvent]:
    events: list[RecordedEvent] = []
    before, is_end = None, False
    while not is_end:
        page = await store.page_backwards(stream, before=before, limit=limit)
        with going_on():
            check_stream_page_backwards(page, stream, before=before, limit=limit, store=store.kind)
        events += page.events
        before, is_end = events[-1].version if events else None, page.is_end
        await checkpoint()
    return events


async def _feed(store: TestedStore, limit: int) -> list[RecordedEvent]:
    events: list[RecordedEvent] = []
    after, is_end, empty = 0, False, 0
    while not is_end:
        page = await store.feed_page(after=after, limit=limit)
        with going_on():
            check_feed_page(page, after=after, limit=limit, store=store.kind)
            empty = count_empty_pages(empty, page, store=store.kind)
        events += page.events
        after, is_end = page.next_after, page.is_end
        await checkpoint()
    return events


async def _streams(store: TestedStore, limit: int) -> None:
    last: StreamId | None = None
    is_end = False
    while not is_end:
        page = await store.streams(after=last, limit=limit)
        with going_on():
            check_streams_page(page, "", after=last, limit=limit, store=store.kind)
        last, is_end = (page.heads[-1].stream if page.heads else last), page.is_end
        await checkpoint()


def _are_all(harness: StoreHarness, found: list[RecordedEvent], expected: str) -> None:
    if harness.labels.show(found) != expected:
        raise MismatchError(expected=expected, got=harness.labels.show(found), meaning="the pages do not join to what was written")
