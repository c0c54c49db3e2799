"""Pages of a store, checked before use.

A loop over pages ends only because each page goes further than the one before. So every page is read through this module. A page that
stands still, goes back, skips, repeats or ends too early raises :class:`CorruptStoreError`. It never causes an endless loop or a shorter
history. A feed may have pages without events over positions that have none, up to :data:`MOST_EMPTY_PAGES` in a row. Between two pages
there is a checkpoint, so that a loop over a store that never waits can be cancelled.
"""

from collections.abc import Sequence
from itertools import pairwise
from operator import lt
from typing import NoReturn

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import CorruptStoreError
from inventory_es.ports.event_store import EventFeed, EventStore, StreamCatalogue
from inventory_es.ports.read_model import ProjectionId, ReadModel, Row, RowsPage, Table, Value, order_of, place_of
from inventory_es.ports.records import FeedPage, StreamPage, StreamsPage
from inventory_es.ports.toolkit.event_run import run_of
from inventory_es.ports.toolkit.waiting import give_way

MOST_EMPTY_PAGES = 1_000
"""The most pages of a feed in a row that have no events and are not the end."""


async def read_stream_page(store: EventStore, stream: StreamId, *, after: int = 0, limit: int) -> StreamPage:
    """Return a page of ``EventStore.read_stream``.

    Raises:
        CorruptStoreError: the page contradicts itself or the request.
    """
    page = await store.read_stream(stream, after=after, limit=limit)
    check_stream_page(page, stream, after=after, limit=limit, store=_name(store))
    if not page.is_end:
        await give_way()
    return page


async def read_stream_page_backwards(store: EventStore, stream: StreamId, *, before: int | None = None, limit: int) -> StreamPage:
    """Return a page of ``EventStore.read_stream_backwards``.

    Raises:
        CorruptStoreError: the page contradicts itself or the request.
    """
    page = await store.read_stream_backwards(stream, before=before, limit=limit)
    check_stream_page_backwards(page, stream, before=before, limit=limit, store=_name(store))
    if not page.is_end:
        await give_way()
    return page


async def read_feed_page(feed: EventFeed, *, after: int, limit: int) -> FeedPage:
    """Return a page of ``EventFeed.read_all`` that has events or is the end.

    Raises:
        CorruptStoreError: a page contradicts itself or the request, or too many pages in a row have no events.
    """
    empty = 0
    while True:
        page = await feed.read_all(after=after, limit=limit)
        check_feed_page(page, after=after, limit=limit, store=_name(feed))
        if page.is_end:
            return page
        await give_way()
        if page.events:
            return page
        empty = count_empty_pages(empty, page, store=_name(feed))
        after = page.next_after


async def is_feed_read(feed: EventFeed, position: int) -> bool:
    """Return True if the feed has nothing after ``position`` now.

    Raises:
        CorruptStoreError: the head is after ``position``, and the feed ends before it, so that reading up to the head would never end.
    """
    head = await feed.head()
    if head <= position:
        return True
    page = await read_feed_page(feed, after=position, limit=1)
    if not page.events and page.next_after < head:
        _refuse(_name(feed), f"position {head} of its feed", f"the head is there, and the feed ends at position {page.next_after}")
    return False


async def read_streams_page(store: StreamCatalogue, prefix: str, *, after: StreamId | None, limit: int) -> StreamsPage:
    """Return a page of ``StreamCatalogue.streams``.

    Raises:
        CorruptStoreError: the page contradicts itself or the request.
    """
    page = await store.streams(prefix, after=after, limit=limit)
    check_streams_page(page, prefix, after=after, limit=limit, store=_name(store))
    if not page.is_end:
        await give_way()
    return page


async def read_rows_page(
    read_model: ReadModel,
    projection: ProjectionId,
    table: Table,
    *,
    where: Row | None = None,
    order: Sequence[str] = (),
    after: Sequence[Value] | None = None,
    descending: bool = False,
    limit: int,
) -> RowsPage:
    """Return a page of ``ReadModel.select``.

    Raises:
        CorruptStoreError: the page contradicts itself or the request.
    """
    page = await read_model.select(projection, table.name, where=where, order=order, after=after, descending=descending, limit=limit)
    check_rows_page(page, table, order=order, after=after, descending=descending, limit=limit, store=_name(read_model))
    if not page.is_end:
        await give_way()
    return page


def check_stream_page(page: StreamPage, stream: StreamId, *, after: int, limit: int, store: str) -> None:
    """Refuse a forward page that does not follow version ``after`` without a gap up to its end.

    Raises:
        CorruptStoreError: names the first wrong version.
    """
    count = len(page.events)
    end = after + count
    if count:
        _check_run(page, stream, range(after + 1, end + 1), limit, store)
    elif not page.is_end:
        _refuse_version(store, stream, after, "a page behind it stands still: it has no events and is not the end")
    if count and end > page.version:
        _refuse_version(store, stream, end, f"it is there, and the stream says that its version is {page.version}")
    if page.is_end and end < page.version:
        _refuse_version(store, stream, end + 1, f"it is missing: the stream says that its version is {page.version}")


def check_stream_page_backwards(page: StreamPage, stream: StreamId, *, before: int | None, limit: int, store: str) -> None:
    """Refuse a backward page that does not go down from version ``before`` without a gap up to its end.

    Raises:
        CorruptStoreError: names the first wrong version.
    """
    count = len(page.events)
    start = page.version if before is None else min(page.version, before - 1)
    if count:
        _check_run(page, stream, range(start, start - count, -1), limit, store)
    elif not page.is_end:
        _refuse_version(store, stream, start, "a page that begins there stands still: it has no events and is not the end")
    if page.is_end and count < start:
        _refuse_version(store, stream, start - count, f"it is missing: the stream says that its version is {page.version}")


def check_feed_page(page: FeedPage, *, after: int, limit: int, store: str) -> None:
    """Refuse a page of the feed that does not continue from position ``after``.

    Raises:
        CorruptStoreError: names the wrong position.
    """
    positions = run_of(page.events).positions()
    if len(positions) > limit:
        _refuse(store, f"position {after} of its feed", f"a page behind it has {len(positions)} events, {limit} were asked for")
    if positions and not (positions[0] > after and all(map(lt, positions, positions[1:]))):
        at = next(at for at, (last, this) in enumerate(pairwise((after, *positions))) if this <= last)
        _refuse(store, f"position {positions[at]} of its feed", "it comes out of order, or twice")
    if page.next_after < (positions[-1] if positions else after):
        _refuse(store, f"position {page.next_after} of its feed", "a page goes back to it")
    if page.next_after == after and not page.is_end:
        _refuse(store, f"position {after} of its feed", "a page behind it stands still: it has no events and is not the end")


def count_empty_pages(number: int, page: FeedPage, *, store: str) -> int:
    """Return the number of consecutive pages without events: ``number`` and this page.

    Raises:
        CorruptStoreError: there are more than :data:`MOST_EMPTY_PAGES`.
    """
    if page.events or page.is_end:
        return 0
    if number == MOST_EMPTY_PAGES:
        _refuse(store, f"position {page.next_after} of its feed", f"{number + 1} pages before it have no events and are not the end")
    return number + 1


def check_streams_page(page: StreamsPage, prefix: str, *, after: StreamId | None, limit: int, store: str) -> None:
    """Refuse a page of a catalogue that does not continue from the stream ``after``.

    Raises:
        CorruptStoreError: names the wrong stream.
    """
    names = [head.stream.text for head in page.heads]
    last = "" if after is None else after.text
    place = f"stream {names[0] if names else last or prefix} of its catalogue"
    if len(names) > limit:
        _refuse(store, place, f"a page has {len(names)} streams, {limit} were asked for")
    if not names and not page.is_end:
        _refuse(store, place, "a page stands still: it has no streams and is not the end")
    for name in names:
        if name <= last or not name.startswith(prefix):
            _refuse(store, f"stream {name} of its catalogue", "it comes out of order, or twice, or was not asked for")
        last = name


def check_rows_page(
    page: RowsPage, table: Table, *, order: Sequence[str], after: Sequence[Value] | None, descending: bool, limit: int, store: str
) -> None:
    """Refuse a page of rows that does not continue from the place ``after``.

    Raises:
        CorruptStoreError: names the table.
    """
    place = f"table {table.name}, ordered by {', '.join(order_of(table, order))}"
    if len(page.rows) > limit:
        _refuse(store, place, f"a page has {len(page.rows)} rows, {limit} were asked for")
    if not page.rows and not page.is_end:
        _refuse(store, place, "a page stands still: it has no rows and is not the end")
    places = [*([] if after is None else [tuple(after)]), *(place_of(table, order, row) for row in page.rows)]
    try:
        follows = all((that < this if descending else this < that) for this, that in pairwise(places))
    except TypeError:
        follows = False
    if not follows:
        _refuse(store, place, "rows come out of order, or twice")


def _check_run(page: StreamPage, stream: StreamId, versions: range, limit: int, store: str) -> None:
    run = run_of(page.events)
    if len(run) > limit:
        _refuse_version(store, stream, versions[0], f"a page from there has {len(run)} events, {limit} were asked for")
    found = run.versions()
    if found != list(versions):
        wrong = next(at for at, version in enumerate(versions) if found[at] != version)
        _refuse_version(store, stream, versions[wrong], f"version {found[wrong]} is in its place")
    if run.streams().count(stream) != len(run):
        wrong = next(at for at, other in enumerate(run.streams()) if other != stream)
        _refuse_version(store, stream, versions[wrong], "an event of another stream is in its place")


def _name(store: object) -> str:
    return type(store).__name__


def _refuse_version(store: str, stream: StreamId, version: int, problem: str) -> NoReturn:
    _refuse(store, f"stream {stream}, version {version}", problem)


def _refuse(store: str, place: str, problem: str) -> NoReturn:
    raise CorruptStoreError(store=store, place=place, problem=problem)
