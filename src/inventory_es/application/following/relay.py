"""The relay: it publishes the feed to an event bus, with a checkpoint of its own, at least once."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from attrs import evolve

from inventory_es.application.following.lease import WAITED_FOR, Leader, Lease
from inventory_es.application.following.projection import ProjectionStatus
from inventory_es.application.following.runner import reader_status
from inventory_es.application.following.subscription import EventFilter, Pace, event_at, mark_of
from inventory_es.application.observers import Observers, PublishFinished, lag_of
from inventory_es.domain.errors import InventoryError
from inventory_es.ports import Checkpoint, Clock, EventBus, EventFeed, ProjectionId, ReadModel, RecordedEvent
from inventory_es.ports.errors import CheckpointConflictError, EventBusUnavailableError, FeedRewoundError, ProjectionNotFoundError
from inventory_es.ports.toolkit.adapter_name import adapter_name
from inventory_es.ports.toolkit.waiting import now


class Relay:
    """Publishes every wanted event at least once, in the order of the feed, in batches.

    The checkpoint moves after the bus has taken a batch. A crash in between publishes that batch again; consumers recognise an event by
    stream and version. Any number of relays of one name may run: one works, the others stand by and take over. The relay waits for
    backends that are away, with growing pauses.

    Args:
        name: of the checkpoint: a lower-case ASCII identifier.
        feed: of the event store.
        bus: receives the events.
        read_model: has the checkpoint.
        clock: for the lease.
        owner: an opaque text, unique to this relay.
        wanted: the events to publish.
        pace: batch size and pauses.
        lease: the longest time for which a relay that died keeps others waiting.
        observers: objects with ``publish_finished(record)``; called synchronously.
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
        observers: Sequence[object] = (),
    ) -> None:
        self._id = ProjectionId(name, 1)
        self._feed = feed
        self._bus = bus
        self._read_model = read_model
        self._wanted = wanted
        self._clock = clock
        self._observers = Observers(observers)
        self._lease = Lease(read_model, self._id, owner, clock, lease)
        waited_for = (*WAITED_FOR, EventBusUnavailableError, ProjectionNotFoundError)  # the last one while it is rewound
        self._leader = Leader(self._lease, Pace() if pace is None else pace, waited_for=waited_for)

    async def run(self) -> None:
        """Publish or stand by until :meth:`stop`.

        Raises:
            AppendTooLargeError: an event that the bus can't take: filter it out, or choose another bus. Nothing is skipped.
            CorruptStoreError, StoreClosedError: as the backends.
            FeedRewoundError: the event store was replaced by a backup or another one. See :func:`rewind_relay`.
            ReadModelUnavailableError: at the start; later the relay waits for backends that are away.
        """
        await self._read_model.prepare(self._id, ())
        await self._leader.run(self._publish)

    def stop(self) -> None:
        """End :meth:`run` after the batch in flight. Idempotent; for any task of its event loop, or any thread without one."""
        self._leader.stop()

    async def checkpoint(self) -> Checkpoint:
        """Return the checkpoint: every event up to its position was published."""
        await self._read_model.prepare(self._id, ())
        return await self._read_model.checkpoint(self._id)

    async def status(self) -> ProjectionStatus:
        """Return the state of the relay of this name now, whichever process has it."""
        return await reader_status(self._id, await self.checkpoint(), feed=self._feed, clock=self._clock)

    async def _publish(self) -> float:
        lease = self._lease
        await self._read_model.prepare(self._id, ())  # it was dropped, if somebody rewinds
        if await lease.acquire():
            async with self._leader.subscription(self._feed, self._wanted) as subscription:
                while not self._leader.is_stopping:
                    batch = await subscription.next_within(lease.renew_after)
                    if batch is None:
                        await lease.renew()
                        continue
                    held = lease.held_checkpoint
                    if batch.events:
                        await self._call_bus(batch.events)
                    recorded_at = batch.events[-1].recorded_at if batch.events else held.recorded_at
                    await lease.commit(position=batch.position, mark=batch.mark or held.mark, recorded_at=recorded_at)
        return lease.renew_after

    async def _call_bus(self, events: Sequence[RecordedEvent]) -> None:
        begun, error = now(), "cancelled"
        try:
            await self._bus.publish(events)
        except Exception as problem:
            error = problem.code if isinstance(problem, InventoryError) else type(problem).__name__
            raise
        else:
            error = ""
        finally:
            self._observers.publish_finished(
                PublishFinished(
                    relay=self._id.name,
                    bus=adapter_name(self._bus),
                    recorded=events,
                    seconds=now() - begun,
                    lag=lag_of(events, self._clock),
                    error=error or None,
                )
            )


async def rewind_relay(name: str, *, feed: EventFeed, read_model: ReadModel, to: int) -> None:
    """Set the checkpoint of a relay back, so that it publishes the events after a position again.

    Do this after the bus has lost events, or after ``FeedRewoundError``. Consumers recognise an event by stream and version. A relay that
    runs, here or elsewhere, goes on from there. If this call is interrupted, a relay may go on from the beginning of the feed.

    Args:
        name: of the checkpoint; the relay of a service is ``relay``.
        feed: of the event store.
        read_model: has the checkpoint.
        to: the position of the last event that is not published again; 0 for all events.

    Raises:
        ValueError: ``to`` is below 0, or above the checkpoint.
        FeedRewoundError: the feed ends before ``to``.
        ReadModelUnavailableError, StoreUnavailableError, CorruptStoreError, StoreClosedError: as the backends.
    """
    relay = ProjectionId(name, 1)
    await read_model.prepare(relay, ())
    seen = await read_model.checkpoint(relay)
    if not 0 <= to <= seen.position:
        msg = f"{name} is at position {seen.position}: rewind it to a position from 0 to that one, not to {to}"
        raise ValueError(msg)
    head = await feed.head()
    if head < to:
        raise FeedRewoundError(projection=name, position=to, event_id=None, head=head, found_id=None)
    after = Checkpoint(position=to, epoch=seen.epoch + 1)
    if to and (last := await event_at(feed, to)) is not None:
        after = evolve(after, recorded_at=last.recorded_at, mark=mark_of(last))
    await read_model.drop(relay)  # a commit never moves a checkpoint back
    await read_model.prepare(relay, ())
    with suppress(CheckpointConflictError):  # a relay was faster, and publishes from the beginning
        await read_model.commit(relay, (), before=Checkpoint(), after=after)
