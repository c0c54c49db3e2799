"""The dead letters of a projection: listed, tried again, dropped."""

from collections.abc import Sequence

import attrs

from inventory_es.application.following.feed_head import check_feed
from inventory_es.application.following.lease import Ownership
from inventory_es.application.following.projection import PARKED
from inventory_es.application.following.projector import Projector
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Change, Checkpoint, Delete, EventFeed, RecordedEvent, Row
from inventory_es.ports.errors import CheckpointConflictError, FeedRewoundError
from inventory_es.ports.toolkit.page_rules import read_feed_page, read_rows_page

_MOST = 10_000


@attrs.frozen
class ParkedEvents:
    """Dead letters of one projection, stream by stream: within a stream, events apply in order or not at all.

    Retrying and dropping take the projection over for a moment; its runner stands by and goes on afterwards.

    Attributes:
        projector: applies the events.
        feed: of the event store, to read them again.
        ownership: of the projection, with an owner of its own.
    """

    projector: Projector
    feed: EventFeed
    ownership: Ownership

    async def list(self, *, after: int = 0, limit: int = 100) -> Sequence[Row]:
        """The parked events behind a position: position, stream, version, event type, error, when. The first of a stream is the cause."""
        page = await read_rows_page(self.ownership.read_model, self.ownership.projection_id, PARKED, after=(after,), limit=limit)
        return page.rows

    async def retry(self, stream: StreamId) -> int:
        """Apply the parked events of a stream (the first 10,000), all or none of them.

        Returns:
            How many there were.

        Raises:
            FeedRewoundError: the feed does not have these events any more; nothing was changed.
            Exception: whatever the projection raises for the first that fails again, or the read model for its changes; nothing was
                changed.
            CheckpointConflictError: another runner took over meanwhile; nothing was changed.
        """
        return await self._settle(stream, is_applied=True)

    async def drop(self, stream: StreamId) -> int:
        """Take the parked events of a stream away without applying them. Its later events apply again.

        Returns:
            How many there were.

        Raises:
            CheckpointConflictError: another runner took over meanwhile; nothing was changed.
        """
        return await self._settle(stream, is_applied=False)

    async def _settle(self, stream: StreamId, *, is_applied: bool) -> int:
        held = await self._take_over()
        try:
            where = {"stream": stream.text}
            page = await read_rows_page(self.ownership.read_model, self.ownership.projection_id, PARKED, where=where, limit=_MOST)
            positions = [int(row["position"] or 0) for row in page.rows]
            changes: list[Change] = []
            if is_applied:
                await check_feed(self.feed, str(self.ownership.projection_id), held.position, held.mark)
                changes += self.projector.changes_of([await self._event_of(row) for row in page.rows])
            changes += [Delete(PARKED.name, (position,)) for position in positions]
            await self.ownership.read_model.commit(self.ownership.projection_id, changes, before=held, after=self.ownership.renewed(held))
        finally:
            await self.ownership.release(held.epoch)
        return len(page.rows)

    async def _event_of(self, row: Row) -> RecordedEvent:
        position = int(row["position"] or 0)
        page = await read_feed_page(self.feed, after=max(0, position - 1), limit=1)
        for recorded in page.events:
            if (recorded.position, recorded.stream.text, recorded.version) == (position, row["stream"], row["version"]):
                return recorded
        raise FeedRewoundError(
            projection=str(self.ownership.projection_id),
            position=position,
            event_id=None,
            head=await self.feed.head(),
            found_id=page.events[0].event_id if page.events else None,
        )

    async def _take_over(self) -> Checkpoint:
        for _ in range(100):  # its runner commits in between: a few attempts are enough, for ever would be a fault
            held = await self.ownership.claim(by_force=True)
            if held is not None:
                return held
        seen = await self.ownership.read_model.checkpoint(self.ownership.projection_id)
        raise CheckpointConflictError(
            projection=str(self.ownership.projection_id),
            position=seen.position,
            epoch=seen.epoch,
            actual_position=seen.position,
            actual_epoch=seen.epoch,
        )
