"""A feed, held against what a reader has seen of it: of a store that was replaced, it is another feed."""

from inventory_es.ports import EventFeed, EventMark, RecordedEvent
from inventory_es.ports.errors import FeedRewoundError
from inventory_es.ports.toolkit.page_rules import read_feed_page


def mark_of(recorded: RecordedEvent) -> EventMark:
    """Return the mark of an event."""
    return EventMark(recorded.position, recorded.event_id)


async def check_feed(feed: EventFeed, name: str, position: int, mark: EventMark | None) -> None:
    """Hold the feed against a checkpoint.

    Args:
        feed: of the event store.
        name: whose checkpoint it is.
        position: everything up to it was read.
        mark: the last event that was read; ``None`` where only the position is known.

    Raises:
        FeedRewoundError: the feed has another event there, or ends before.
    """
    if mark is None:
        found, is_known = None, not position
    else:
        found = await _event_at(feed, mark.position)
        is_known = found is not None and found.event_id == mark.event_id
    if is_known:
        return
    head = await feed.head()
    if mark is None and head >= position:
        return
    raise FeedRewoundError(
        projection=name,
        position=position if mark is None or head < mark.position else mark.position,
        event_id=None if mark is None else mark.event_id,
        head=head,
        found_id=None if found is None else found.event_id,
    )


async def _event_at(feed: EventFeed, position: int) -> RecordedEvent | None:
    after = position - 1
    while True:
        page = await read_feed_page(feed, after=after, limit=1)
        if page.events or page.is_end or page.next_after >= position:
            return next((one for one in page.events if one.position == position), None)
        after = page.next_after
