"""The history of an inventory, page by page, from its stream."""

from datetime import datetime

from inventory_es.application.commands.states import StreamReader
from inventory_es.application.following.subscription import feed_of
from inventory_es.application.queries.projection_reader import Cursor, QueryPage
from inventory_es.application.results import HistoryEntry
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.quantity import whole_number
from inventory_es.ports import Checkpoint, EventStore
from inventory_es.ports.errors import ReadModelBehindError
from inventory_es.ports.toolkit.page_rules import read_stream_page, read_stream_page_backwards
from inventory_es.ports.toolkit.waiting import pause, scope


class HistoryPages:
    """Pages of histories, for a query side that has the event store.

    Args:
        store: has the streams.
        reader: decodes events.
    """

    def __init__(self, store: EventStore, reader: StreamReader) -> None:
        self._store = store
        self._reader = reader

    async def page(self, inventory_id: InventoryId, *, newest_first: bool, after: Cursor | None, limit: int) -> QueryPage[HistoryEntry]:
        """Return the page behind the version in ``after``."""
        cursor = None if after is None else _version(after)
        if newest_first:
            found = await read_stream_page_backwards(self._store, inventory_id.stream, before=cursor, limit=limit)
        else:
            found = await read_stream_page(self._store, inventory_id.stream, after=cursor or 0, limit=limit)
        entries = tuple(map(self._reader.entry, found.events))
        newest = max(entries, key=lambda entry: entry.position, default=None)
        seen = Checkpoint() if newest is None else Checkpoint(position=newest.position, recorded_at=newest.recorded_at)
        return QueryPage(entries, seen, None if found.is_end else (entries[-1].version,))

    async def wait_for(self, position: int, *, patience: float) -> None:
        """Wait until the store shows this position. A store without replicas shows it at once.

        Raises:
            ReadModelBehindError: the store did not show it within ``patience`` seconds.
            UnsupportedCapabilityError: the store has no feed, and so no order to wait in.
        """
        feed = feed_of(self._store)
        head = await feed.head()
        with scope(patience):
            while head < position:
                await feed.wait_for_position(position, timeout=patience)
                await pause(0)  # a store may return at once
                head = await feed.head()
        if head < position:
            raise ReadModelBehindError(projection="history", position=position, actual_position=head, error=None)


def _version(cursor: Cursor) -> int:
    match cursor:
        case (int(version),) if version >= 1:
            return version
        case _:
            msg = "after is what a page of the same query gave as next_after"
            raise ValueError(msg)


def check_as_of(time: datetime | None, version: int | None) -> None:
    """Refuse arguments that name no state of the past.

    Raises:
        ValueError: none or both are given, or the time has no time zone.
        InvalidQuantityError: the version is no whole number of 1 or more.
        TypeError: the time is not a datetime.
    """
    if (time is None) == (version is None):
        msg = "give either a time or a version"
        raise ValueError(msg)
    if version is not None:
        whole_number("version", version, at_least=1)
    given: object = time
    if given is not None and not isinstance(given, datetime):
        msg = f"time must be an aware datetime, not a {type(given).__name__}"
        raise TypeError(msg)
    if time is not None and time.utcoffset() is None:
        msg = "time must be an aware datetime: give it a time zone"
        raise ValueError(msg)
