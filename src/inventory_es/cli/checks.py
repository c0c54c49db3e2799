"""Checks of a store by its meaning: streams fold, and rows of projections equal a projection of the events.

A store on a server is checked through its ports alone: its feed, its streams and its list of streams are compared with each other.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from itertools import zip_longest

import anyio
import attrs

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.commands.stream_heads import stream_heads
from inventory_es.application.following.projection import Projection
from inventory_es.application.following.subscription import check_feed, feed_of
from inventory_es.cli.projecting import Workshop
from inventory_es.cli.reading import open_to_read
from inventory_es.cli.rows import SHIPPED, active_projection, open_rows_to_read
from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import INVENTORY_CATEGORY, InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Checkpoint, EventFeed, EventStore, FeedPage, ReadModel, RecordedEvent, Table
from inventory_es.ports.errors import CorruptStoreError, EventDecodeError, FeedRewoundError, IncompatibleStoreError
from inventory_es.ports.read_model import Value, place_of
from inventory_es.ports.toolkit.page_rules import is_feed_read, read_feed_page, read_rows_page, read_stream_page
from inventory_es.ports.toolkit.urls import masked

_CODEC = JsonEventCodec()
_PAGE = 1_000


class _Fold:
    """The balances of a stream, as far as its events were applied. A host checks its own streams."""

    def __init__(self, stream: StreamId) -> None:
        self._inventory = Inventory(InventoryId(*stream.parts)) if stream.category == INVENTORY_CATEGORY else None

    def problem_of(self, recorded: RecordedEvent) -> str | None:
        """Apply the next event. Return the problem if it contradicts those before."""
        if self._inventory is not None:
            try:
                self._inventory.apply(Recorded(_CODEC.decode(recorded), recorded.version, recorded.recorded_at))
            except (CorruptStreamError, EventDecodeError) as problem:
                return problem.problem
        return None


def check_stream(stream: StreamId, events: Iterator[RecordedEvent]) -> Iterator[tuple[int, str]]:
    """Fold an inventory's stream, and yield the version at which it contradicts itself."""
    fold = _Fold(stream)
    for recorded in events:
        problem = fold.problem_of(recorded)
        if problem is not None:
            yield recorded.version, problem
            return


@attrs.frozen
class Finding:
    """A problem of a store on a server, or a table with rows that differ from a projection of the events.

    Attributes:
        path: the URL of the store without its password, or the path of the read model.
        place: in the store; or the table, and the key of the first row that differs.
        problem: the problem, without payload.
        concern: ``event``, ``stream``, ``meaning`` or ``rows``.
    """

    path: str
    place: str
    problem: str
    concern: str = "rows"

    @property
    def is_derived(self) -> bool:
        """False: ``--repair`` repairs neither rows nor a store on a server."""
        return False

    def __str__(self) -> str:
        return f"{self.path}: {self.place}: {self.problem}"


async def check_store(url: str) -> list[Finding]:
    """Compare the feed of a store with its streams and with its list of streams, and fold the balances of every stream.

    The version of each stream is held in memory. Others may go on writing.

    Args:
        url: the URL of the store.

    Raises:
        IncompatibleStoreError: there is no store.
        StoreUnavailableError: the store can't be read now.
    """
    async with open_to_read(url) as inventory:
        found = partial(Finding, masked(url))
        versions: dict[StreamId, int] = {}
        try:
            async for event in _feed(feed_of(inventory.store)):
                expected = versions.get(event.stream, 0) + 1
                if event.version != expected:
                    place = f"position {event.position}, version {event.version} of stream {event.stream}"
                    return [found(place, f"version {expected} should be there", concern="event")]
                versions[event.stream] = expected
        except CorruptStoreError as damage:
            return [found(damage.place, damage.problem, concern="event")]
        findings: list[Finding] = []
        for stream, version in versions.items():
            findings += await _check_one(inventory.store, stream, version, found)
        try:
            async with aclosing(stream_heads(inventory.store)) as heads:
                async for head in heads:
                    known = versions.pop(head.stream, 0)
                    if head.version < known:
                        problem = f"its version is {head.version} in the list of streams, and {known} in the feed"
                        findings.append(found(f"stream {head.stream}", problem, concern="stream"))
            findings += [found(f"stream {stream}", "it is not in the list of streams", concern="stream") for stream in versions]
        except CorruptStoreError as damage:
            findings.append(found(damage.place, damage.problem, concern="stream"))
        return findings


async def _feed(feed: EventFeed) -> AsyncIterator[RecordedEvent]:
    position, is_end = 0, False
    while not is_end:
        page = await read_feed_page(feed, after=position, limit=_PAGE)
        for event in page.events:
            yield event
        position, is_end = page.next_after, page.is_end
    await is_feed_read(feed, position)


async def _check_one(store: EventStore, stream: StreamId, version: int, found: Callable[..., Finding]) -> list[Finding]:
    fold, after = _Fold(stream), 0
    try:
        while after < version:
            page = await read_stream_page(store, stream, after=after, limit=_PAGE)
            if page.version < version:
                problem = f"its version is {page.version} by its name, and {version} in the feed"
                return [found(f"stream {stream}", problem, concern="stream")]
            for event in page.events:
                contradiction = fold.problem_of(event)
                if contradiction is not None:
                    return [found(f"version {event.version} of stream {stream}", contradiction, concern="meaning")]
            after += len(page.events)
    except CorruptStoreError as damage:
        return [found(damage.place, damage.problem, concern="stream")]
    return []


async def check_rows(url: str, path: str) -> list[Finding]:
    """Project the events into memory, up to the position of the rows, and compare every shipped projection of a read model.

    Args:
        url: the URL of the store.
        path: the path of the read model.

    Raises:
        IncompatibleStoreError: there is no such file, it has no projection, or its rows changed meanwhile.
    """
    rows = open_rows_to_read(path)
    findings: list[Finding] = []
    is_empty = True
    async with open_to_read(url) as inventory, rows as model:
        for name in SHIPPED:
            projection = await active_projection(model, name)
            if projection is not None:
                is_empty = False
                seen = await model.checkpoint(projection.projection_id)
                feed = feed_of(inventory.store)
                try:
                    await check_feed(feed, name, seen.position, seen.mark)
                except FeedRewoundError:
                    problem = f"its checkpoint is of other events than the store has: 'inventory-es rebuild {name}' makes the rows anew"
                    findings.append(Finding(path, str(projection.projection_id), problem))
                    continue
                rebuilt = MemoryReadModel()
                feed = _FeedUpTo(feed, seen.position)
                await Workshop(feed=feed, read_model=rebuilt, on_failure="park").runner(projection.projection_id).catch_up()
                for table in projection.tables:
                    place = await _difference(model, rebuilt, projection, table, seen, path)
                    if place is not None:
                        problem = f"a row is not what the events come to: 'inventory-es rebuild {name}' makes the rows anew"
                        findings.append(Finding(path, place, problem))
    if is_empty:
        problem = "no projection is in it; 'inventory-es project' fills it"
        raise IncompatibleStoreError(store="read model", place=path, problem=problem)
    return findings


async def _difference(
    model: ReadModel, rebuilt: ReadModel, projection: Projection, table: Table, seen: Checkpoint, path: str
) -> str | None:
    """Return the place of the first row that differs."""
    after: tuple[Value, ...] | None = None
    is_end = False
    while not is_end:
        page = await read_rows_page(model, projection.projection_id, table, after=after, limit=_PAGE)
        if page.checkpoint.position != seen.position:
            problem = "its rows moved on while they were verified: stop what follows the events, and verify again"
            raise IncompatibleStoreError(store="read model", place=path, problem=problem)
        expected = await read_rows_page(rebuilt, projection.projection_id, table, after=after, limit=_PAGE)
        for row, other in zip_longest(page.rows, expected.rows):
            if row is None or other is None or dict(row) != dict(other):
                key = ", ".join(map(str, place_of(table, (), row or other)))
                return f"{projection.projection_id}, table {table.name}, key {key}"
        is_end = page.is_end and expected.is_end
        after = None if is_end else place_of(table, (), page.rows[-1])
    return None


@attrs.frozen
class _FeedUpTo(EventFeed):
    """A feed that ends at a position."""

    feed: EventFeed
    end: int

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await read_feed_page(self.feed, after=after, limit=limit)
        if page.next_after < self.end:
            return page
        return FeedPage([event for event in page.events if event.position <= self.end], max(after, self.end), is_end=True)

    async def head(self) -> int:
        return self.end

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        await anyio.sleep(0 if position <= self.end else timeout)
        return position <= self.end
