"""ES-56: whoever goes through pages comes to the end."""

from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent, StreamCatalogue, StreamWrite
from inventory_es.ports.page_rules import check_feed_page, check_stream_page, check_stream_page_backwards, check_streams_page
from inventory_es.testing.event_store.bench import StoreBench
from inventory_es.testing.event_store.tested_store import TestedStore, going_on
from inventory_es.testing.failure import MismatchError
from inventory_es.testing.labels import stream_id
from inventory_es.testing.promise import promise

_X, _Y = stream_id("x"), stream_id("y")
_LARGE = 200_000


class PageCases:
    """Pages, one behind the other."""

    @promise(
        "ES-56",
        "Each page goes on from the one before it, by any page size and with events of any size, and only the end is empty.",
        seeds=0,
    )
    async def test_es_56_pages_go_on(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            declared = store.capabilities
            large = min(declared.max_event_bytes, declared.max_append_bytes, _LARGE)
            names = [f"{stream}{number}" for stream in "xy" for number in range(4)]
            sizes = (100, large, 100, large) * 2
            events = [bench.labels.sized(name, size) for name, size in zip(names, sizes, strict=True)]
            for version in range(4):
                await store.append(StreamWrite(_X, version, [events[version]]))
                await store.append(StreamWrite(_Y, version, [events[4 + version]]))
            await bench.contract.settle()
            for size in (1, 2, 3, 5, 1_000):
                for stream, written in ((_X, events[:4]), (_Y, events[4:])):
                    _are_all(bench, await _forward(store, stream, size), bench.labels.show(written))
                    _are_all(bench, await _backward(store, stream, size), bench.labels.show(reversed(written)))
                if store.has_feed:
                    fed = [events[place] for version in range(4) for place in (version, 4 + version)]
                    _are_all(bench, await _feed(store, size), bench.labels.show(fed))
                if isinstance(store.raw, StreamCatalogue):
                    await _streams(store, size)


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
    after, is_end = 0, False
    while not is_end:
        page = await store.feed_page(after=after, limit=limit)
        with going_on():
            check_feed_page(page, after=after, limit=limit, store=store.kind)
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


def _are_all(bench: StoreBench, found: list[RecordedEvent], expected: str) -> None:
    if bench.labels.show(found) != expected:
        raise MismatchError(expected=expected, got=bench.labels.show(found), meaning="the pages do not join to what was written")
