"""A page that contradicts itself, or the place that was asked for, is named by its first wrong version, position, stream or table."""

from collections.abc import Sequence

import anyio
import pytest

from inventory_es import StreamId
from inventory_es.ports import Checkpoint, FeedPage, ProjectionId, RecordedEvent, Row, RowsPage, StreamHead, StreamPage, StreamsPage, Table
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.toolkit.page_rules import (
    check_feed_page,
    check_rows_page,
    check_stream_page,
    check_stream_page_backwards,
    check_streams_page,
    is_feed_read,
    read_feed_page,
)
from inventory_es.testing.contracts.core.event_labels import EventLabels, stream_id

X, Y = stream_id("x"), stream_id("y")
LABELS = EventLabels()
TABLE = Table("levels", {"product": str, "units": int}, ("product",))


def event(version: int, stream: StreamId = X, position: int | None = None) -> RecordedEvent:
    new = LABELS.event("a")
    at = version if position is None else position
    return RecordedEvent(stream, version, at, new.event_id, new.event_type, 1, new.recorded_at, new.data, new.metadata)


def versions(*numbers: int) -> list[RecordedEvent]:
    return [event(number) for number in numbers]


def positions(*numbers: int) -> list[RecordedEvent]:
    return [event(1, position=number) for number in numbers]


@pytest.mark.parametrize(
    "events, version, is_end, wrong",
    [
        ([], 4, False, "version 2: a page behind it stands still"),
        ([], 4, True, "version 3: it is missing"),
        (versions(3), 4, True, "version 4: it is missing"),
        (versions(3, 4), 3, True, "version 4: it is there, and the stream says that its version is 3"),
        (versions(3, 4), 3, False, "version 4: it is there"),
        (versions(4), 4, True, "version 3: version 4 is in its place"),
        (versions(3, 5), 5, True, "version 4: version 5 is in its place"),
        (versions(3, 3), 4, True, "version 4: version 3 is in its place"),
        (versions(2, 3), 3, True, "version 3: version 2 is in its place"),
        (versions(4, 3), 4, True, "version 3: version 4 is in its place"),
        (versions(3, 4, 5, 6), 6, True, "version 3: a page from there has 4 events, 3 were asked for"),
        ([event(3), event(4, Y)], 4, True, "version 4: an event of another stream is in its place"),
    ],
)
def test_a_page_forward_that_does_not_follow_is_refused(events: list[RecordedEvent], version: int, is_end: bool, wrong: str) -> None:
    with pytest.raises(CorruptStoreError, match=wrong) as refusal:
        check_stream_page(StreamPage(events, version, is_end), X, after=2, limit=3, store="Store")
    assert (refusal.value.store, refusal.value.place.partition(",")[0]) == ("Store", f"stream {X}")


@pytest.mark.parametrize(
    "events, version, before, is_end, wrong",
    [
        ([], 4, None, False, "version 4: a page that begins there stands still"),
        ([], 4, None, True, "version 4: it is missing"),
        (versions(4, 3), 4, None, True, "version 2: it is missing"),
        (versions(3, 2, 1), 4, None, True, "version 4: version 3 is in its place"),
        (versions(5, 4), 4, None, False, "version 4: version 5 is in its place"),
        (versions(4, 2), 4, None, False, "version 3: version 2 is in its place"),
        (versions(4, 4), 4, None, False, "version 3: version 4 is in its place"),
        (versions(3, 2, 1), 4, 3, True, "version 2: version 3 is in its place"),
        (versions(4, 3, 2, 1), 4, None, True, "version 4: a page from there has 4 events, 3 were asked for"),
        ([event(4), event(3, Y)], 4, None, False, "version 3: an event of another stream is in its place"),
    ],
)
def test_a_page_backwards_that_does_not_follow_is_refused(
    events: list[RecordedEvent], version: int, before: int | None, is_end: bool, wrong: str
) -> None:
    with pytest.raises(CorruptStoreError, match=wrong):
        check_stream_page_backwards(StreamPage(events, version, is_end), X, before=before, limit=3, store="Store")


@pytest.mark.parametrize(
    "events, next_after, is_end, wrong",
    [
        ([], 5, False, "position 5 of its feed: a page behind it stands still"),
        ([], 4, True, "position 4 of its feed: a page goes back to it"),
        (positions(6, 8), 7, True, "position 7 of its feed: a page goes back to it"),
        (positions(5, 6), 6, True, "position 5 of its feed: it comes out of order, or twice"),
        (positions(6, 6), 6, True, "position 6 of its feed: it comes out of order, or twice"),
        (positions(8, 7), 8, False, "position 7 of its feed: it comes out of order, or twice"),
        (positions(6, 7, 8, 9), 9, True, "position 5 of its feed: a page behind it has 4 events, 3 were asked for"),
    ],
)
def test_a_page_of_the_feed_that_does_not_go_on_is_refused(events: list[RecordedEvent], next_after: int, is_end: bool, wrong: str) -> None:
    with pytest.raises(CorruptStoreError, match=wrong):
        check_feed_page(FeedPage(events, next_after, is_end), after=5, limit=3, store="Store")


@pytest.mark.parametrize(
    "names, is_end, wrong",
    [
        ((), False, "a page stands still"),
        ((("x-1", 1),), True, "stream x-1 of its catalogue: it comes out of order, or twice"),
        ((("x-3", 1), ("x-2", 1)), True, "stream x-2 of its catalogue: it comes out of order"),
        ((("x-3", 1), ("x-3", 1)), True, "stream x-3 of its catalogue: it comes out of order"),
        ((("y-1", 1),), True, "stream y-1 of its catalogue: it comes out of order, or twice, or was not asked for"),
        ((("x-2", 1), ("x-3", 1), ("x-4", 1), ("x-5", 1)), True, "a page has 4 streams, 3 were asked for"),
    ],
)
def test_a_page_of_a_catalogue_that_does_not_go_on_is_refused(names: Sequence[tuple[str, int]], is_end: bool, wrong: str) -> None:
    page = StreamsPage([StreamHead(StreamId.parse(name), version) for name, version in names], is_end)
    with pytest.raises(CorruptStoreError, match=wrong):
        check_streams_page(page, "x-", after=StreamId("x", "1"), limit=3, store="Store")


def rows(*pairs: tuple[str | None, int | None]) -> list[Row]:
    return [{"product": product, "units": units} for product, units in pairs]


@pytest.mark.parametrize(
    "found, is_end, wrong",
    [
        ([], False, "stands still"),
        (rows(("b", 3)), True, "out of order, or twice"),
        (rows(("b", 4), ("a", 4)), True, "out of order, or twice"),
        (rows(("b", 4), ("b", 4)), True, "out of order, or twice"),
        (rows(("b", 4), ("c", None)), True, "out of order, or twice"),
        (rows(("a", 4), ("b", 4), ("c", 4), ("d", 4)), True, "4 rows, 3 were asked for"),
    ],
)
def test_a_page_of_rows_that_does_not_go_on_is_refused(found: list[Row], is_end: bool, wrong: str) -> None:
    page = RowsPage(found, Checkpoint(), ProjectionId("levels", 1), is_end)
    with pytest.raises(CorruptStoreError, match=f"table levels, ordered by units, product: .*{wrong}"):
        check_rows_page(page, TABLE, order=("units",), after=(3, "b"), descending=False, limit=3, store="Store")


def test_good_pages_pass() -> None:
    check_stream_page(StreamPage([], 0, is_end=True), X, after=0, limit=1, store="Store")
    check_stream_page(StreamPage([], 2, is_end=True), X, after=7, limit=1, store="Store")
    check_stream_page(StreamPage(versions(3), 4, is_end=False), X, after=2, limit=3, store="Store")
    check_stream_page_backwards(StreamPage(versions(4, 3), 4, is_end=False), X, before=99, limit=2, store="Store")
    check_stream_page_backwards(StreamPage([], 4, is_end=True), X, before=1, limit=2, store="Store")
    check_feed_page(FeedPage([], 9, is_end=False), after=5, limit=3, store="Store")
    check_feed_page(FeedPage(positions(7, 9), 9, is_end=True), after=5, limit=3, store="Store")
    check_streams_page(StreamsPage([], is_end=True), "x-", after=None, limit=3, store="Store")
    page = RowsPage(rows(("b", 3), ("a", 3), ("z", 1)), Checkpoint(), ProjectionId("levels", 1), is_end=False)
    check_rows_page(page, TABLE, order=("units",), after=None, descending=True, limit=3, store="Store")


class Gaps:
    """A feed that passes over one position with each page, up to an event."""

    def __init__(self, at: int, *, head: int | None = None) -> None:
        self.at = at
        self.told = at if head is None else head
        self.reads = 0

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        self.reads += 1
        if after >= self.at:
            return FeedPage([], after, is_end=True)
        return FeedPage(positions(self.at) if after + 1 == self.at else [], after + 1, is_end=False)

    async def head(self) -> int:
        return self.told

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        return self.at >= position


def test_pages_without_events_are_passed_over(backend: str) -> None:
    page = anyio.run(lambda: read_feed_page(Gaps(1_000), after=0, limit=1), backend=backend)
    assert ([one.position for one in page.events], page.next_after) == ([1_000], 1_000)


def test_pages_without_events_and_without_an_end_are_refused(backend: str) -> None:
    feed = Gaps(1 << 60)
    with pytest.raises(CorruptStoreError, match="1001 pages before it have no events and are not the end"):
        anyio.run(lambda: read_feed_page(feed, after=0, limit=1), backend=backend)
    assert feed.reads == 1_001


@pytest.mark.parametrize("position, is_read", [(5, True), (6, True), (4, False), (0, False)])
def test_a_feed_is_read_where_its_head_is(position: int, is_read: bool, backend: str) -> None:
    assert anyio.run(is_feed_read, Gaps(5), position, backend=backend) is is_read


def test_a_head_behind_the_end_of_the_feed_is_refused(backend: str) -> None:
    with pytest.raises(CorruptStoreError, match="position 9 of its feed: the head is there, and the feed ends at position 5"):
        anyio.run(is_feed_read, Gaps(5, head=9), 5, backend=backend)
