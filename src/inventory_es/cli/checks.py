"""Checks of a store by its meaning: streams fold, and rows of projections equal a projection of the events."""

from collections.abc import Iterator
from itertools import zip_longest

import anyio
import attrs

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.adapters.serialization import JsonEventCodec
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
from inventory_es.ports import Checkpoint, EventFeed, FeedPage, ReadModel, RecordedEvent, Table
from inventory_es.ports.errors import EventDecodeError, FeedRewoundError, IncompatibleStoreError
from inventory_es.ports.read_model import Value, place_of
from inventory_es.ports.toolkit.page_rules import read_feed_page, read_rows_page

_CODEC = JsonEventCodec()
_PAGE = 1_000


def check_stream(stream: StreamId, events: Iterator[RecordedEvent]) -> Iterator[tuple[int, str]]:
    """Fold an inventory's stream, and yield the version at which it contradicts itself. A host checks its own streams."""
    if stream.category != INVENTORY_CATEGORY:
        return
    inventory = Inventory(InventoryId(*stream.parts))
    for recorded in events:
        try:
            inventory.apply(Recorded(_CODEC.decode(recorded), recorded.version, recorded.recorded_at))
        except (CorruptStreamError, EventDecodeError) as problem:
            yield recorded.version, problem.problem
            return


@attrs.frozen
class RowFinding:
    """A table with rows that differ from a projection of the events.

    Attributes:
        path: the path of the read model.
        place: the table, and the key of the first row that differs.
        problem: the problem, without payload.
        concern: ``rows``.
    """

    path: str
    place: str
    problem: str
    concern: str = "rows"

    @property
    def is_derived(self) -> bool:
        """False: ``--repair`` does not repair rows."""
        return False

    def __str__(self) -> str:
        return f"{self.path}: {self.place}: {self.problem}"


async def check_rows(url: str, path: str) -> list[RowFinding]:
    """Project the events into memory, up to the position of the rows, and compare every shipped projection of a read model.

    Args:
        url: the URL of the store.
        path: the path of the read model.

    Raises:
        IncompatibleStoreError: there is no such file, it has no projection, or its rows changed meanwhile.
    """
    rows = open_rows_to_read(path)
    findings: list[RowFinding] = []
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
                    findings.append(RowFinding(path, str(projection.projection_id), problem))
                    continue
                rebuilt = MemoryReadModel()
                feed = _FeedUpTo(feed, seen.position)
                await Workshop(feed=feed, read_model=rebuilt, on_failure="park").runner(projection.projection_id).catch_up()
                for table in projection.tables:
                    place = await _difference(model, rebuilt, projection, table, seen, path)
                    if place is not None:
                        problem = f"a row is not what the events come to: 'inventory-es rebuild {name}' makes the rows anew"
                        findings.append(RowFinding(path, place, problem))
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
