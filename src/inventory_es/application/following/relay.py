"""From the feed to an event bus, with a checkpoint of its own: what was appended is published, whatever crashes in between."""

from datetime import timedelta

import anyio
import attrs

from inventory_es.application.following.feed_head import check_feed
from inventory_es.application.following.lease import Ownership
from inventory_es.application.following.subscription import EventFilter, Pace, Subscription
from inventory_es.ports import Checkpoint, Clock, EventBus, EventFeed, ProjectionId, ReadModel
from inventory_es.ports.errors import (
    CheckpointConflictError,
    EventBusUnavailableError,
    ReadModelUnavailableError,
    StoreUnavailableError,
)


class Relay:
    """Publishes every wanted event at least once, in the order of the feed, in batches.

    The checkpoint moves after the bus has taken a batch. A crash between the two publishes that batch again; consumers tell by stream
    and version. Any number of relays of one name may run: one works, the others stand by and take over. Backends that are away are
    waited for.

    Args:
        name: of the checkpoint: a lower-case ASCII identifier.
        feed: of the event store.
        bus: where to.
        read_model: keeps the checkpoint.
        clock: for the lease.
        owner: an opaque text, unique to this relay.
        wanted: which events.
        pace: batch size and pauses.
        lease: how long a relay that died keeps others waiting.
    """

    def __init__(
        self,
        name: str,
        *,
        feed: EventFeed,
        bus: EventBus,
        read_model: ReadModel,
        clock: Clock,
        owner: str,
        wanted: EventFilter | None = None,
        pace: Pace | None = None,
        lease: timedelta = timedelta(seconds=10),
    ) -> None:
        self._id = ProjectionId(name, 1)
        self._feed = feed
        self._bus = bus
        self._read_model = read_model
        self._wanted = wanted
        self._pace = Pace() if pace is None else pace
        self._ownership = Ownership(read_model, self._id, owner, clock, lease)
        self._turn = lease.total_seconds() / 3
        self._stopping = anyio.Event()
        self._subscription: Subscription | None = None

    async def run(self) -> None:
        """Publish or stand by until :meth:`stop`.

        Raises:
            AppendTooLargeError: an event that the bus can't take: filter it out, or choose another bus. Nothing is skipped.
            CorruptStoreError, StoreClosedError: as the backends.
            FeedRewoundError: the event store was replaced by a backup or another one. Drop the checkpoint to publish from its beginning.
            ReadModelUnavailableError: at the beginning; later on, what is away is waited for.
        """
        await self._read_model.prepare(self._id, ())
        pauses = self._pace.pauses()
        epoch = 0
        try:
            while not self._stopping.is_set():
                pause = self._turn
                try:
                    held = await self._ownership.claim()
                    if held is not None:
                        epoch = held.epoch
                        pauses = self._pace.pauses()
                        await self._work(held)
                except (CheckpointConflictError, EventBusUnavailableError, ReadModelUnavailableError, StoreUnavailableError):
                    pause = min(next(pauses), self._turn)  # nothing is lost: the checkpoint says where to go on
                with anyio.move_on_after(pause):
                    await self._stopping.wait()
        finally:
            await self._ownership.release(epoch)

    def stop(self) -> None:
        """End :meth:`run` after the batch in flight. For any task of the same event loop; twice is fine."""
        self._stopping.set()
        if self._subscription is not None:
            self._subscription.stop()

    async def checkpoint(self) -> Checkpoint:
        """How far it is: everything up to this position was published."""
        await self._read_model.prepare(self._id, ())
        return await self._read_model.checkpoint(self._id)

    async def _work(self, held: Checkpoint) -> None:
        name = str(self._id)
        await check_feed(self._feed, name, held.position, held.mark)
        async with Subscription(
            self._feed, after=held.position, wanted=self._wanted, pace=self._pace, mark=held.mark, name=name
        ) as subscription:
            self._subscription = subscription
            while not self._stopping.is_set():
                batch = await subscription.next_within(self._turn)
                after = self._ownership.renewed(held)
                if batch is not None:
                    if batch.events:
                        await self._bus.publish(batch.events)
                        after = attrs.evolve(self._ownership.renewed(held), recorded_at=batch.events[-1].recorded_at)
                    after = attrs.evolve(after, position=batch.position, mark=batch.mark or held.mark)
                elif not self._ownership.is_ageing(held):
                    continue
                await self._read_model.commit(self._id, (), before=held, after=after)
                held = after
