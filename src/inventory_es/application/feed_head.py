"""The end of a feed, held against a checkpoint: of another store, it would be taken for a long way ahead."""

from inventory_es.ports import Checkpoint, EventFeed, ProjectionId
from inventory_es.ports.errors import IncompatibleStoreError


async def head_of(feed: EventFeed, held: Checkpoint, projection: ProjectionId) -> int:
    """The position where the feed ends now.

    Raises:
        IncompatibleStoreError: the checkpoint is behind it: nothing new would ever be seen.
    """
    head = await feed.head()
    if head < held.position:
        problem = f"its checkpoint is at position {held.position}, the feed ends at {head}: it is of another event store"
        raise IncompatibleStoreError(store="projection", place=str(projection), problem=problem)
    return head
