"""The history of an inventory, page by page, from its stream."""

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.application.commands.states import StreamReader
from inventory_es.application.following.feeds import feed_of
from inventory_es.application.commands.stream_reader import StreamReader
from inventory_es.application.following.subscription import feed_of
from inventory_es.application.queries.query_results import Place, QueryPage
from inventory_es.application.results import HistoryEntry
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports import Checkpoint, EventStore
from inventory_es.ports.errors import ReadModelBehindError
from inventory_es.ports.toolkit.page_rules import read_stream_page, read_stream_page_backwards


class HistoryPages:
    """Reads histories for a query side that has the event store at hand.

    Args:
        store: where the streams are.
        reader: decodes.
    """

    def __init__(self, store: EventStore, reader: StreamReader) -> None:
        self._store = store
        self._reader = reader

    async def page(self, inventory_id: InventoryId, *, newest_first: bool, after: Place | None, limit: int) -> QueryPage[HistoryEntry]:
        """One page, behind the version in ``after``."""
        place = None if after is None else _version(after)
        if newest_first:
            found = await read_stream_page_backwards(self._store, inventory_id.stream, before=place, limit=limit)
        else:
            found = await read_stream_page(self._store, inventory_id.stream, after=place or 0, limit=limit)
        entries = tuple(map(self._reader.entry, found.events))
        newest = max(entries, key=lambda entry: entry.position, default=None)
        seen = Checkpoint() if newest is None else Checkpoint(position=newest.position, recorded_at=newest.recorded_at)
        return QueryPage(entries, seen, None if found.is_end else (entries[-1].version,))

    async def wait_for(self, position: int, *, patience: float) -> None:
        """Wait until the store shows this position, which one that answers from one place does at once.

        Raises:
            ReadModelBehindError: not within ``patience`` seconds.
            UnsupportedCapabilityError: the store has no feed, and so no order to wait in.
        """
        feed = feed_of(self._store)
        head = await feed.head()
        with anyio.move_on_after(patience):
            while head < position:
                await feed.wait_for_position(position, timeout=patience)
                await checkpoint()  # for a store that does not wait
                head = await feed.head()
        if head < position:
            raise ReadModelBehindError(projection="history", position=position, actual_position=head, error=None)


def _version(place: Place) -> int:
    match place:
        case (int(version),) if version >= 1:
            return version
        case _:
            msg = "after is what a page of the same query gave as next_after"
            raise ValueError(msg)
