"""ES-56, ES-67: paging, reading up to the head, and waiting all come to an end."""

from collections.abc import Sequence
from functools import partial

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent, StreamCatalogue, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.ports.toolkit.page_rules import (
    check_feed_page,
    check_stream_page,
    check_stream_page_backwards,
    check_streams_page,
    count_empty_pages,
)
from inventory_es.testing.contracts.core.await_points import cancel_at
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.calls import Calls
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, going_on
from inventory_es.testing.promise import MismatchError, promise

_X, _Y = stream_id("x"), stream_id("y")
_LARGE = 200_000
_POINTS = 20
_STEPS = 4
_SHORT = 0.02
_FAR = 1 << 60


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
                    _are_all(harness, await _forward(store, stream, size), harness.labels.show(written))
                    _are_all(harness, await _backward(store, stream, size), harness.labels.show(reversed(written)))
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


async def _forward(store: TestedStore, stream: StreamId, limit: int) -> list[RecordedEvent]:
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


async def _backward(store: TestedStore, stream: StreamId, limit: int) -> list[RecordedEvent]:
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
