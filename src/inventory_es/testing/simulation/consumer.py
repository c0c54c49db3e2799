"""A consumer of the bus that trusts it with nothing: deliveries are news, the feed is the truth."""

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventCodec, EventFeed, RecordedEvent
from inventory_es.ports.toolkit.page_rules import read_feed_page

PAGE = 5
"""Events that it reads at once: few, so that a restart meets it between two pages."""


@attrs.define
class Row:
    """What it knows of one inventory.

    Attributes:
        version: of the newest event that it took.
        on_hand: units there.
        reserved: units promised.
    """

    version: int = 0
    on_hand: int = 0
    reserved: int = 0


class Consumer:
    """Projects the stock of every inventory. Its rows and its checkpoint outlive the node that it runs on.

    Args:
        codec: decodes what it gets.

    Attributes:
        rows: by stream.
        checkpoint: position up to which it has read the feed.
        taken: how many events it took, each once.
    """

    def __init__(self, codec: EventCodec) -> None:
        self.rows: dict[StreamId, Row] = {}
        self.checkpoint: int = 0
        self.taken: int = 0
        self._codec = codec

    def take(self, recorded: RecordedEvent) -> bool:
        """Take an event if it is the next one of its stream; leave out what came before.

        Returns:
            ``False``: one before it is missing.
        """
        row = self.rows.setdefault(recorded.stream, Row())
        if recorded.version > row.version + 1:
            return False
        if recorded.version == row.version + 1:
            event = self._codec.decode(recorded)
            self.rows[recorded.stream] = Row(recorded.version, event.on_hand, event.reserved)
            self.taken += 1
        return True

    async def catch_up(self, feed: EventFeed) -> None:
        """Read the feed from the checkpoint to its end."""
        is_end = False
        while not is_end:
            page = await read_feed_page(feed, after=self.checkpoint, limit=PAGE)
            for recorded in page.events:
                self.take(recorded)
            self.checkpoint = max(self.checkpoint, page.next_after)
            is_end = page.is_end
