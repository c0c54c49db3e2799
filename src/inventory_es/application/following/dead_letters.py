"""The dead letters of a projection: events that its function, or the read model, refused."""

from collections.abc import Sequence
from copy import copy

import attrs

from inventory_es.application.following.lease import Lease
from inventory_es.application.following.projection import DEAD_LETTERS
from inventory_es.application.following.projector import Projector
from inventory_es.application.following.subscription import check_feed
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Change, Delete, EventFeed, RecordedEvent, Row
from inventory_es.ports.errors import CheckpointConflictError, FeedRewoundError
from inventory_es.ports.toolkit.page_rules import read_feed_page, read_rows_page

_MOST = 10_000
_TAKEOVERS = 100


@attrs.frozen
class DeadLetters:
    """Dead letters of one projection, settled per stream: within a stream, events apply in order or not at all.

    Retrying and dropping take the lease by force for a moment; the runner stands by and goes on afterwards.

    Attributes:
        projector: applies the events.
        feed: of the event store, to read the events again.
        lease: on the projection, with an owner of its own.
    """

    projector: Projector
    feed: EventFeed
    lease: Lease

    async def list(self, *, after: int = 0, limit: int = 100) -> Sequence[Row]:
        """Return dead letters behind a position: position, stream, version, event type, error, time.

        The first of a stream is the cause of the others.
        """
        return (await read_rows_page(self.lease.read_model, self.lease.projection_id, DEAD_LETTERS, after=(after,), limit=limit)).rows

    async def retry(self, stream: StreamId) -> int:
        """Apply the dead letters of a stream (the first 10,000), all or none of them.

        Returns:
            The number of dead letters.

        Raises:
            FeedRewoundError: the feed does not have these events any more. Nothing was changed.
            Exception: whatever the projection raises for the first event that fails again, or the read model for its changes. Nothing was
                changed.
            CheckpointConflictError: another runner took over meanwhile. Nothing was changed.
        """
        return await self._settle(stream, is_applied=True)

    async def drop(self, stream: StreamId) -> int:
        """Delete the dead letters of a stream without applying them. Later events of the stream apply again.

        Returns:
            The number of dead letters.

        Raises:
            CheckpointConflictError: another runner took over meanwhile. Nothing was changed.
        """
        return await self._settle(stream, is_applied=False)

    async def _settle(self, stream: StreamId, *, is_applied: bool) -> int:
        lease = copy(self.lease)  # calls may overlap, and each has a checkpoint of its own
        await _take(lease)
        try:
            page = await read_rows_page(lease.read_model, lease.projection_id, DEAD_LETTERS, where={"stream": stream.text}, limit=_MOST)
            changes: list[Change] = []
            if is_applied:
                held = lease.held_checkpoint
                await check_feed(self.feed, str(lease.projection_id), held.position, held.mark)
                changes += self.projector.changes_of([await self._event_of(row) for row in page.rows])
            changes += [Delete(DEAD_LETTERS.name, (row["position"],)) for row in page.rows]
            await lease.commit(changes)
        finally:
            await lease.release()
        return len(page.rows)

    async def _event_of(self, row: Row) -> RecordedEvent:
        position = int(row["position"] or 0)
        page = await read_feed_page(self.feed, after=max(0, position - 1), limit=1)
        for recorded in page.events:
            if (recorded.position, recorded.stream.text, recorded.version) == (position, row["stream"], row["version"]):
                return recorded
        raise FeedRewoundError(
            projection=str(self.lease.projection_id),
            position=position,
            event_id=None,
            head=await self.feed.head(),
            found_id=page.events[0].event_id if page.events else None,
        )


async def _take(lease: Lease) -> None:
    """Take the lease by force. The runner commits in between, so a few attempts may fail."""
    for _ in range(_TAKEOVERS):
        if await lease.acquire(by_force=True):
            return
    seen = await lease.read_model.checkpoint(lease.projection_id)
    raise CheckpointConflictError(
        projection=str(lease.projection_id),
        position=seen.position,
        epoch=seen.epoch,
        actual_position=seen.position,
        actual_epoch=seen.epoch,
    )
