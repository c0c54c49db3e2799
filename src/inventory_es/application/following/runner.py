"""Running a projection: catch up, then follow, one runner at a time, rows and checkpoint in one commit."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import anyio
import attrs

from inventory_es.application.following.dead_letters import ParkedEvents
from inventory_es.application.following.feed_head import check_feed, mark_of
from inventory_es.application.following.lease import Ownership, is_held
from inventory_es.application.following.projection import PARKED, OnFailure, Projection, ProjectionStatus, check_on_failure
from inventory_es.application.following.projector import Projector, describe
from inventory_es.application.following.subscription import EventBatch, Pace, Subscription
from inventory_es.application.observers import Observers, ProjectionAdvanced
from inventory_es.application.queries.active_version import active_of
from inventory_es.ports import Change, Checkpoint, Clock, EventCodec, EventFeed, ProjectionId, ReadModel, RecordedEvent
from inventory_es.ports.errors import (
    CheckpointConflictError,
    FeedRewoundError,
    ProjectionNotFoundError,
    ReadModelUnavailableError,
    StoreUnavailableError,
)
from inventory_es.ports.toolkit.page_rules import is_feed_read, read_feed_page, read_rows_page

_PAGE = 1_000


class ProjectionRunner:
    """Keeps the rows of one version of a projection up with the feed. A ``ProjectionFollower`` chooses the version.

    Any number of runners of one projection may run, in any number of processes: one works, the others stand by, and one of them takes
    over when it releases the projection or when its lease is over. Each commit moves rows and checkpoint together and names the
    checkpoint that it came from, so an event counts once, whoever is killed when, and however long a fenced runner sleeps.

    A version that is built beside the active one becomes active when it has reached the end of the feed: readers change over in one
    step. One that was dropped is no longer run.

    A failing event never ends the task: see :data:`~inventory_es.application.following.projection.OnFailure`. The task waits for a store
    that is away.

    Args:
        projection: what to run.
        feed: of the event store.
        read_model: where the rows are.
        codec: how events are read.
        clock: for leases and lag.
        owner: an opaque text, unique to this runner.
        on_failure: what becomes of an event that can't be projected.
        pace: batch size and pauses.
        lease: how long a runner that died keeps others waiting.
        observers: objects with ``projection_advanced(record)``; called synchronously.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        feed: EventFeed,
        read_model: ReadModel,
        codec: EventCodec,
        clock: Clock,
        owner: str,
        on_failure: OnFailure,
        pace: Pace | None = None,
        lease: timedelta = timedelta(seconds=10),
        observers: Sequence[object] = (),
    ) -> None:
        check_on_failure(on_failure)
        self._projection = projection
        self._feed = feed
        self._read_model = read_model
        self._clock = clock
        self._on_failure = on_failure
        self._pace = Pace() if pace is None else pace
        self._projector = Projector(projection, codec, on_failure)
        self._ownership = Ownership(read_model, projection.projection_id, owner, clock, lease)
        self._observers = Observers(observers)
        self._turn = lease.total_seconds() / 3
        self._is_prepared = False
        self._is_settled = False
        self._stopping = anyio.Event()
        self._subscription: Subscription | None = None
        self._parked: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Work or stand by until :meth:`stop`, or until the projection is stopped by an event that fails, or dropped.

        :meth:`status` tells which.

        Raises:
            FeedRewoundError: the event store was replaced by a backup or another one, and the rows are of events that it does not have.
                The status says so, too, until the projection is rebuilt, or the store is back and the projection is resumed.
            IncompatibleStoreError: the read model has other tables for this version.
            CorruptStoreError, StoreClosedError: as the stores.
            ReadModelUnavailableError: at the beginning; later on, stores that are away are waited for.
        """
        await self._run(to_end=False)

    async def catch_up(self) -> None:
        """Work until the end of the feed is reached once, then release the projection; stand by while another runner has it."""
        await self._run(to_end=True)

    def stop(self) -> None:
        """End :meth:`run` after the commit in flight. For any task of the same event loop; twice is fine."""
        self._stopping.set()
        if self._subscription is not None:
            self._subscription.stop()

    @property
    def parked(self) -> ParkedEvents:
        """The dead letters of the projection, whoever runs it."""
        return ParkedEvents(self._projector, self._feed, attrs.evolve(self._ownership, owner=f"{self._ownership.owner}, for parked events"))

    async def resume(self) -> None:
        """Take a stopped projection out of that state; the next run tries the event again. Where it is not stopped, nothing happens.

        Raises:
            CheckpointConflictError: it moved meanwhile.
        """
        await self._prepare()
        seen = await self._read_model.checkpoint(self._projection.projection_id)
        if seen.error is not None:
            await self._read_model.commit(self._projection.projection_id, (), before=seen, after=attrs.evolve(seen, error=None))

    async def status(self) -> ProjectionStatus:
        """How the projection stands now, whoever runs it.

        Raises:
            ProjectionNotFoundError: it was dropped meanwhile.
        """
        await self._prepare()
        return await status_of(self._projection.projection_id, feed=self._feed, read_model=self._read_model, clock=self._clock)

    async def _prepare(self) -> None:
        if not self._is_prepared:  # once: a version that was dropped does not come back by looking at it
            await self._read_model.prepare(self._projection.projection_id, (*self._projection.tables, PARKED))
            self._is_prepared = True

    async def _run(self, *, to_end: bool) -> None:
        await self._prepare()
        pauses = self._pace.pauses()
        epoch = 0
        try:
            while not self._stopping.is_set():
                pause = self._turn
                try:
                    if await self._is_stopped():
                        break
                    held = await self._ownership.claim()
                    if held is not None:
                        epoch, position = held.epoch, held.position
                        held = await self._work_or_tell(held, to_end=to_end)
                        if held.error is None:
                            break
                        pauses = self._pace.pauses() if held.position > position else pauses
                        pause = min(next(pauses), self._turn)
                except ProjectionNotFoundError:
                    break
                except (CheckpointConflictError, ReadModelUnavailableError, StoreUnavailableError):  # what the checkpoint says, holds
                    pause = min(next(pauses), self._turn)
                with anyio.move_on_after(pause):
                    await self._stopping.wait()
        finally:
            await self._ownership.release(epoch)

    async def _is_stopped(self) -> bool:
        seen = await self._read_model.checkpoint(self._projection.projection_id)
        if seen.error is None or seen.owner is not None or self._on_failure == "retry":
            return False
        await check_feed(self._feed, str(self._projection.projection_id), seen.position, seen.mark)
        return True

    async def _work_or_tell(self, held: Checkpoint, *, to_end: bool) -> Checkpoint:
        try:
            return await self._work(held, to_end=to_end)
        except FeedRewoundError as problem:
            if problem.projection == str(self._projection.projection_id):
                await stop_at(self._read_model, self._projection.projection_id, problem)
            raise

    async def _work(self, held: Checkpoint, *, to_end: bool) -> Checkpoint:
        """Follow the feed with the projection held, until something ends it; the last checkpoint, with its error if that was it."""
        name = str(self._projection.projection_id)
        await check_feed(self._feed, name, held.position, held.mark)
        self._parked = await self._parked_streams()
        is_end = await is_feed_read(self._feed, held.position)
        rest: Sequence[RecordedEvent] = ()
        async with Subscription(
            self._feed, after=held.position, wanted=self._projection.wanted, pace=self._pace, mark=held.mark, name=name
        ) as subscription:
            self._subscription = subscription
            while not self._stopping.is_set():
                if is_end:
                    await self._offer(held)
                    if to_end and self._is_settled:
                        break
                batch = await subscription.next_within(self._turn)
                if batch is not None:
                    batch, rest = self._projector.whole(attrs.evolve(batch, events=(*rest, *batch.events)) if rest else batch)
                    is_end = batch.is_end
                if batch is not None and batch.position > held.position:
                    held = await self._commit(batch, held)
                    if held.error is not None:
                        break
                elif self._ownership.is_ageing(held):
                    renewed = self._ownership.renewed(held)
                    await self._move(held, renewed, ())
                    held = renewed
        return held

    async def _offer(self, held: Checkpoint) -> None:
        """Let readers of an older version change over to this one, unless a newer one is as far; once, so that they can be sent back."""
        if not self._is_settled:
            own = self._projection.projection_id
            others = [one for one in await self._read_model.versions(own.name) if one.projection_id.version >= own.version]
            is_superseded = any(one.is_active or (one.projection_id != own and one.checkpoint.position >= held.position) for one in others)
            self._is_settled = is_superseded or await self._read_model.activate(own, before=held) or await self._take_over(held)

    async def _take_over(self, held: Checkpoint) -> bool:
        """Let readers change over from a version that is further, where that is of events that the feed does not have."""
        active = active_of(await self._read_model.versions(self._projection.projection_id.name))
        if active is None:
            return False
        try:
            await check_feed(self._feed, str(active.projection_id), active.checkpoint.position, active.checkpoint.mark)
        except FeedRewoundError as problem:
            await stop_at(self._read_model, active.projection_id, problem)
            if not await self._read_model.activate(self._projection.projection_id, before=held):
                raise
            return True
        return False

    async def _commit(self, batch: EventBatch, held: Checkpoint) -> Checkpoint:
        try:
            return await self._apply(batch, held)
        except ValueError:  # changes that the read model does not take: find out whose they are
            return await self._commit_singly(batch, held)

    async def _commit_singly(self, batch: EventBatch, held: Checkpoint) -> Checkpoint:
        for instant in self._projector.instants(batch.events):
            single = EventBatch(tuple(instant), instant[-1].position, is_end=False, mark=mark_of(instant[-1]))
            try:
                held = await self._apply(single, held)
            except ValueError as problem:
                held = await self._apply(single, held, refused=problem)
            if held.error is not None:
                return held
        return await self._apply(attrs.evolve(batch, events=()), held)

    async def _apply(self, batch: EventBatch, held: Checkpoint, *, refused: Exception | None = None) -> Checkpoint:
        begun = anyio.current_time()
        step = self._projector.step(batch, held.position, self._parked, self._clock.now(), refused=refused)
        recorded_at = step.recorded_at or held.recorded_at
        after = attrs.evolve(
            self._ownership.renewed(held),
            position=step.position,
            recorded_at=recorded_at,
            error=step.error,
            mark=step.mark or held.mark,
        )
        if step.error is not None and self._on_failure == "stop":
            after = attrs.evolve(after, owner=None, owned_until=None)
        await self._move(held, after, step.changes)
        self._parked = step.parked
        self._observers.projection_advanced(
            ProjectionAdvanced(
                projection=str(self._projection.projection_id),
                position=step.position,
                events=len(batch.events),
                changes=len(step.changes),
                seconds=anyio.current_time() - begun,
                error=step.error,
            )
        )
        return after

    async def _move(self, before: Checkpoint, after: Checkpoint, changes: Sequence[Change]) -> None:
        await self._read_model.commit(self._projection.projection_id, changes, before=before, after=after)

    async def _parked_streams(self) -> frozenset[str]:
        streams: set[str] = set()
        after: tuple[int] | None = None
        is_end = False
        while not is_end:
            page = await read_rows_page(self._read_model, self._projection.projection_id, PARKED, after=after, limit=_PAGE)
            streams |= {str(row["stream"]) for row in page.rows}
            is_end = page.is_end
            after = None if is_end else (int(page.rows[-1]["position"] or 0),)
        return frozenset(streams)


async def status_of(projection_id: ProjectionId, *, feed: EventFeed, read_model: ReadModel, clock: Clock) -> ProjectionStatus:
    """Return how a version of a projection stands now, whoever runs it.

    Raises:
        ProjectionNotFoundError: it is not there.
    """
    page = await read_model.select(projection_id, PARKED.name, limit=1)
    seen = page.checkpoint
    waiting = await read_feed_page(feed, after=seen.position, limit=1)
    now = clock.now()
    is_owned = is_held(seen, now)
    error = seen.error
    try:
        await check_feed(feed, str(projection_id), seen.position, seen.mark)
    except FeedRewoundError as problem:
        error, is_owned = describe(problem), False
    lag = (now - waiting.events[0].recorded_at).total_seconds() if waiting.events else 0.0
    return ProjectionStatus(
        projection_id=projection_id,
        state=("running" if is_owned else "idle") if error is None else ("retrying" if is_owned else "stopped"),
        position=seen.position,
        error=error,
        owner=seen.owner if is_owned else None,
        lag_events=max(0, await feed.head() - seen.position),
        lag_seconds=lag,
        active=page.active,
    )


async def stop_at(read_model: ReadModel, projection_id: ProjectionId, problem: FeedRewoundError) -> None:
    """Let the checkpoint of a version say that it is stopped, and by what; whoever runs it finds out at the next commit."""
    with suppress(CheckpointConflictError, ProjectionNotFoundError, ReadModelUnavailableError):  # status tells, without it
        seen = await read_model.checkpoint(projection_id)
        stopped = attrs.evolve(seen, epoch=seen.epoch + 1, owner=None, owned_until=None, error=describe(problem))
        await read_model.commit(projection_id, (), before=seen, after=stopped)
