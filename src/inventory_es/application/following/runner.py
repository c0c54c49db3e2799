"""The runner of a projection: it catches up, then follows the feed, with rows and checkpoint in one commit."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import attrs

from inventory_es.application.following.dead_letters import DeadLetters
from inventory_es.application.following.lease import Leader, Lease, is_held
from inventory_es.application.following.projection import DEAD_LETTERS, OnFailure, Projection, ProjectionStatus, active_of, check_on_failure
from inventory_es.application.following.projector import Projector, describe
from inventory_es.application.following.subscription import EventBatch, Pace, check_feed, mark_of
from inventory_es.application.observers import Observers, ProjectionAdvanced, lag_of
from inventory_es.ports import Checkpoint, Clock, EventCodec, EventFeed, ProjectionId, ReadModel, RecordedEvent
from inventory_es.ports.errors import CheckpointConflictError, FeedRewoundError, ProjectionNotFoundError, ReadModelUnavailableError
from inventory_es.ports.toolkit.page_rules import is_feed_read, read_feed_page, read_rows_page
from inventory_es.ports.toolkit.waiting import now

_PAGE = 1_000


class ProjectionRunner:
    """Keeps the rows of one version of a projection up with the feed. A ``ProjectionFollower`` chooses the version.

    Any number of runners of one projection may run, in any number of processes. One works and the others stand by; one of them takes over
    when the lease is released or ends. Each commit moves rows and checkpoint together and names the checkpoint that it follows. So an
    event counts once, whichever runner is killed, and however long a fenced runner sleeps.

    A version that is built beside the active one becomes active at the end of the feed: readers change over in one step. A version that
    was dropped is no longer run.

    A failing event never raises: see :data:`~inventory_es.application.following.projection.OnFailure`. The runner waits for stores that
    are away.

    Args:
        projection: the projection to run.
        feed: of the event store.
        read_model: has the rows.
        codec: decodes events.
        clock: for leases and lag.
        owner: an opaque text, unique to this runner.
        on_failure: policy for an event that can't be projected.
        pace: batch size and pauses.
        lease: the longest time for which a runner that died keeps others waiting.
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
        self._id = projection.projection_id
        self._feed = feed
        self._read_model = read_model
        self._clock = clock
        self._on_failure = on_failure
        self._projector = Projector(projection, codec, on_failure)
        self._lease = Lease(read_model, self._id, owner, clock, lease)
        self._leader = Leader(self._lease, Pace() if pace is None else pace)
        self._letters_lease = Lease(read_model, self._id, f"{owner}, for parked events", clock, lease)
        self._observers = Observers(observers)
        self._is_prepared = False
        self._is_settled = False
        self._blocked: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Work or stand by until :meth:`stop`, or until the projection is stopped by an event that fails, or dropped.

        :meth:`status` tells which.

        Raises:
            FeedRewoundError: the event store was replaced by a backup or another one, and the rows are of events that it does not have.
                The status says so, too, until the projection is rebuilt, or the store is back and the projection is resumed.
            IncompatibleStoreError: the read model has other tables for this version.
            CorruptStoreError, StoreClosedError: as the stores.
            ReadModelUnavailableError: at the start; later the runner waits for stores that are away.
        """
        await self._run(to_end=False)

    async def catch_up(self) -> None:
        """Work until the end of the feed is reached once, then release the lease. Stand by while another runner has it."""
        await self._run(to_end=True)

    def stop(self) -> None:
        """End :meth:`run` after the commit in flight. Idempotent; for any task of its event loop, or any thread without one."""
        self._leader.stop()

    @property
    def parked(self) -> DeadLetters:
        """The dead letters of the projection, whichever runner has it."""
        return DeadLetters(self._projector, self._feed, self._letters_lease)

    async def resume(self) -> None:
        """Resume a stopped projection; the next run tries the event again. No-op where it is not stopped.

        Raises:
            CheckpointConflictError: the checkpoint moved meanwhile.
        """
        await self._prepare()
        seen = await self._read_model.checkpoint(self._id)
        if seen.error is not None:
            await self._read_model.commit(self._id, (), before=seen, after=attrs.evolve(seen, error=None))

    async def status(self) -> ProjectionStatus:
        """Return the state of the projection now, whichever runner has it.

        Raises:
            ProjectionNotFoundError: it was dropped meanwhile.
        """
        await self._prepare()
        return await status_of(self._id, feed=self._feed, read_model=self._read_model, clock=self._clock)

    async def _prepare(self) -> None:
        if not self._is_prepared:  # once: a look at a version that was dropped must not bring it back
            await self._read_model.prepare(self._id, tuple(self._projection.all_tables.values()))
            self._is_prepared = True

    async def _run(self, *, to_end: bool) -> None:
        await self._prepare()

        async def term() -> float | None:
            if await self._is_stopped():
                return None
            if not await self._lease.acquire():
                return self._lease.renew_after
            await self._lead(to_end=to_end)
            return None if self._lease.held_checkpoint.error is None else self._leader.longer_pause()

        with suppress(ProjectionNotFoundError):  # dropped
            await self._leader.run(term)

    async def _is_stopped(self) -> bool:
        seen = await self._read_model.checkpoint(self._id)
        if seen.error is None or seen.owner is not None or self._on_failure == "retry":
            return False
        await check_feed(self._feed, str(self._id), seen.position, seen.mark)
        return True

    async def _lead(self, *, to_end: bool) -> None:
        """Follow the feed until :meth:`stop`, until its end with ``to_end``, or until the checkpoint has an error."""
        try:
            await self._follow(to_end=to_end)
        except FeedRewoundError as problem:
            if problem.projection == str(self._id):
                await stop_at(self._read_model, self._id, problem)
            raise

    async def _follow(self, *, to_end: bool) -> None:
        lease = self._lease
        async with self._leader.subscription(self._feed, self._projection.wanted) as subscription:
            self._blocked = await self._blocked_streams()
            is_end = await is_feed_read(self._feed, lease.held_checkpoint.position)
            rest: Sequence[RecordedEvent] = ()
            while not self._leader.is_stopping:
                if is_end:
                    await self._offer()
                    if to_end and self._is_settled:
                        return
                batch = await subscription.next_within(lease.renew_after)
                if batch is not None:
                    batch, rest = self._projector.whole(attrs.evolve(batch, events=(*rest, *batch.events)) if rest else batch)
                    is_end = batch.is_end
                if batch is not None and batch.position > lease.held_checkpoint.position:
                    await self._commit(batch)
                    if lease.held_checkpoint.error is not None:
                        return
                else:
                    await lease.renew()

    async def _offer(self) -> None:
        """Let readers of an older version change over to this one, unless a newer one is as far. Once, so that they can be sent back."""
        if not self._is_settled:
            held = self._lease.held_checkpoint
            others = [one for one in await self._read_model.versions(self._id.name) if one.projection_id.version >= self._id.version]
            is_superseded = any(
                one.is_active or (one.projection_id != self._id and one.checkpoint.position >= held.position) for one in others
            )
            self._is_settled = is_superseded or await self._read_model.activate(self._id, before=held) or await self._take_over()

    async def _take_over(self) -> bool:
        """Let readers change over from a version that is further, if its rows are of events that the feed does not have."""
        active = active_of(await self._read_model.versions(self._id.name))
        if active is None:
            return False
        try:
            await check_feed(self._feed, str(active.projection_id), active.checkpoint.position, active.checkpoint.mark)
        except FeedRewoundError as problem:
            await stop_at(self._read_model, active.projection_id, problem)
            if not await self._read_model.activate(self._id, before=self._lease.held_checkpoint):
                raise
            return True
        return False

    async def _commit(self, batch: EventBatch) -> None:
        try:
            await self._apply(batch)
        except ValueError:  # the read model refuses the changes: find the event that they are of
            await self._commit_singly(batch)

    async def _commit_singly(self, batch: EventBatch) -> None:
        for instant in self._projector.instants(batch.events):
            single = EventBatch(tuple(instant), instant[-1].position, is_end=False, mark=mark_of(instant[-1]))
            try:
                await self._apply(single)
            except ValueError as problem:
                await self._apply(single, refused=problem)
            if self._lease.held_checkpoint.error is not None:
                return
        await self._apply(attrs.evolve(batch, events=()))

    async def _apply(self, batch: EventBatch, *, refused: Exception | None = None) -> None:
        begun, held = now(), self._lease.held_checkpoint
        step = self._projector.step(batch, held.position, self._blocked, self._clock.now(), refused=refused)
        stopped = {"owner": None, "owned_until": None} if step.error is not None and self._on_failure == "stop" else {}
        await self._lease.commit(
            step.changes,
            position=step.position,
            recorded_at=step.recorded_at or held.recorded_at,
            error=step.error,
            mark=step.mark or held.mark,
            **stopped,
        )
        self._blocked = step.blocked
        self._observers.projection_advanced(
            ProjectionAdvanced(
                projection=str(self._id),
                position=step.position,
                events=len(batch.events),
                changes=len(step.changes),
                seconds=now() - begun,
                error=step.error,
                recorded=batch.events,
                lag=lag_of(batch.events, self._clock),
            )
        )

    async def _blocked_streams(self) -> frozenset[str]:
        """Return the streams that have dead letters."""
        streams: set[str] = set()
        after: tuple[int] | None = None
        is_end = False
        while not is_end:
            page = await read_rows_page(self._read_model, self._id, DEAD_LETTERS, after=after, limit=_PAGE)
            streams |= {str(row["stream"]) for row in page.rows}
            is_end = page.is_end
            after = None if is_end else (int(page.rows[-1]["position"] or 0),)
        return frozenset(streams)


async def status_of(projection_id: ProjectionId, *, feed: EventFeed, read_model: ReadModel, clock: Clock) -> ProjectionStatus:
    """Return the state of a version of a projection now, whichever runner has it.

    Raises:
        ProjectionNotFoundError: the version does not exist.
    """
    page = await read_model.select(projection_id, DEAD_LETTERS.name, limit=_PAGE)
    status = await reader_status(projection_id, page.checkpoint, feed=feed, clock=clock)
    return attrs.evolve(status, active=page.active, dead_letters=len(page.rows))


async def reader_status(projection_id: ProjectionId, seen: Checkpoint, *, feed: EventFeed, clock: Clock) -> ProjectionStatus:
    """Return the state of a reader of the feed that keeps no rows, whichever process has it."""
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
        active=projection_id,
    )


async def stop_at(read_model: ReadModel, projection_id: ProjectionId, problem: FeedRewoundError) -> None:
    """Record in the checkpoint of a version that it is stopped, and why. Its runner finds out at the next commit."""
    with suppress(CheckpointConflictError, ProjectionNotFoundError, ReadModelUnavailableError):  # the status says so without it
        seen = await read_model.checkpoint(projection_id)
        stopped = attrs.evolve(seen, epoch=seen.epoch + 1, owner=None, owned_until=None, error=describe(problem))
        await read_model.commit(projection_id, (), before=seen, after=stopped)
