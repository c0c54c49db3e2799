"""The lease on a projection's checkpoint, and the loop of a leader: one of many candidates works, the others stand by.

A lease has an end, and clocks differ. So the end only decides how early a candidate tries; the epoch decides who may write. Acquiring
raises the epoch, and each commit names the checkpoint that it follows. So the commit of a leader that was replaced meets another
checkpoint and changes nothing. In the literature the epoch is a fencing token (M. Kleppmann, "How to do distributed locking", 2016).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import attrs

from inventory_es.application.following.subscription import EventFilter, Pace, Subscription, check_feed
from inventory_es.ports import Change, Checkpoint, Clock, EventFeed, ProjectionId, ReadModel
from inventory_es.ports.errors import CheckpointConflictError, ProjectionNotFoundError, ReadModelUnavailableError, StoreUnavailableError
from inventory_es.ports.toolkit.waiting import Scope, pause, scope

_RELEASE_SECONDS = 2.0
_ZERO = timedelta(0)
_LONGEST = timedelta(hours=1)
_LOST = (CheckpointConflictError, ProjectionNotFoundError, ReadModelUnavailableError)

WAITED_FOR = (CheckpointConflictError, ReadModelUnavailableError, StoreUnavailableError)
"""Errors after which a leader acquires the lease again: the checkpoint says where to go on."""


class Lease:
    """The lease of one candidate on one projection.

    Args:
        read_model: has the checkpoint.
        projection_id: the projection.
        owner: an opaque text, unique to this candidate.
        clock: the clock of this machine. Clocks that differ make a takeover early or late, never wrong: the epoch fences.
        duration: time from acquiring or renewing the lease to its end.

    Attributes:
        held_checkpoint: the checkpoint as this candidate last read or wrote it.
        is_held: True after acquiring, until the lease is released or a commit fails.
        renew_after: seconds after which the lease is renewed: a third of its duration.
    """

    def __init__(self, read_model: ReadModel, projection_id: ProjectionId, owner: str, clock: Clock, duration: timedelta) -> None:
        self.read_model = read_model
        self.projection_id = projection_id
        self.held_checkpoint: Checkpoint = Checkpoint()
        self.is_held: bool = False
        self.renew_after: float = duration.total_seconds() / 3
        self._owner = owner
        self._clock = clock
        self._duration = duration
        self._epoch = 0

    async def acquire(self, *, by_force: bool = False) -> bool:
        """Take the lease, if it is free: owned by nobody, by this candidate from before, or at its end.

        Args:
            by_force: also take it from an owner that is alive; that owner notices at its next commit.

        Returns:
            False if another candidate has the lease.
        """
        self.is_held = False
        seen = await self.read_model.checkpoint(self.projection_id)
        is_free = seen.owner == self._owner or not is_held(seen, self._clock.now(), lease=self._duration)
        if not (is_free or by_force):
            return False
        self.held_checkpoint = seen
        try:
            await self.commit(epoch=seen.epoch + 1, owner=self._owner)
        except CheckpointConflictError:  # another candidate was faster
            return False
        self._epoch = self.held_checkpoint.epoch
        return True

    async def keep(self) -> bool:
        """Acquire the lease where it is not held; renew it where a third of its duration is over.

        Returns:
            False if another candidate has the lease.
        """
        if not self.is_held:
            return await self.acquire()
        await self.renew()
        return True

    @property
    def is_ageing(self) -> bool:
        """True if a third of the duration is over, or the lease ends too late because the clock was set back."""
        until = self.held_checkpoint.owned_until
        return until is None or not 2 * self._duration / 3 <= until - self._clock.now() <= self._duration

    async def renew(self) -> None:
        """Renew the lease if it is ageing."""
        if self.is_ageing:
            await self.commit()

    async def commit(self, changes: Sequence[Change] = (), **moved: Any) -> None:
        """Commit changes of rows, move the held checkpoint and renew the lease, all of it or nothing.

        Args:
            changes: of rows.
            moved: new values for fields of the checkpoint.

        Raises:
            CheckpointConflictError: another candidate took over. Nothing was changed.
        """
        until = self._clock.now() + self._duration
        after = attrs.evolve(self.held_checkpoint, **({"owned_until": until} | moved))
        self.is_held = False
        await self.read_model.commit(self.projection_id, changes, before=self.held_checkpoint, after=after)
        self.held_checkpoint = after
        self.is_held = after.owner is not None

    async def release(self) -> None:
        """Free the lease at once. Where that fails, it is free at its end."""
        self.is_held = False
        if not self._epoch:
            return
        with scope(_RELEASE_SECONDS, shield=True), suppress(*_LOST):
            seen = await self.read_model.checkpoint(self.projection_id)
            if (seen.owner, seen.epoch) == (self._owner, self._epoch):
                free = attrs.evolve(seen, owner=None, owned_until=None)
                await self.read_model.commit(self.projection_id, (), before=seen, after=free)


class Leader:
    """The loop of a candidate: acquire the lease, work, pause, until stopped; then release the lease.

    Args:
        lease: on the projection.
        pace: pauses, and the batch size of subscriptions.
        waited_for: errors after which the loop pauses and goes on, each time for longer. Others end it.
        longest_pause: upper bound of a pause in seconds; by default a third of the lease.
        failed: is called with each error that is waited for.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        lease: Lease,
        pace: Pace,
        *,
        waited_for: tuple[type[Exception], ...] = WAITED_FOR,
        longest_pause: float | None = None,
        failed: Callable[[Exception], None] = lambda _: None,
        sleep: Callable[[float], Awaitable[object]] = pause,
    ) -> None:
        self.is_stopping: bool = False
        self._is_running = False
        self._lease = lease
        self._pace = pace
        self._waited_for = waited_for
        self._longest_pause = lease.renew_after if longest_pause is None else longest_pause
        self._failed = failed
        self._sleep = sleep
        self._pauses = pace.pauses()
        self._failed_at = 0
        self._pausing: Scope | None = None
        self._subscription: Subscription | None = None

    async def run(self, term: Callable[[], Awaitable[float | None]]) -> None:
        """Call ``term`` again and again until it returns ``None``, until :meth:`stop`, or until an error that is not waited for.

        Args:
            term: acquires the lease, or returns after how many seconds to try again; works while it has the lease.

        Raises:
            RuntimeError: it runs already.
        """
        if self._is_running:
            msg = "this one runs already: make another one, with an owner of its own, to run beside it"
            raise RuntimeError(msg)
        self._is_running = True
        try:
            while not self.is_stopping:
                try:
                    pause = await term()
                except self._waited_for as problem:
                    self._failed(problem)
                    pause = self.longer_pause()
                if pause is None:
                    break
                await self._wait(pause)
        finally:
            try:
                await self._lease.release()
            finally:
                self._is_running = False

    def stop(self) -> None:
        """End :meth:`run`: a pause ends now, and work in flight is finished first. Idempotent."""
        self.is_stopping = True
        if (subscription := self._subscription) is not None:
            subscription.stop()
        if (pausing := self._pausing) is not None:  # another thread may end the pause meanwhile
            pausing.cancel()

    def longer_pause(self) -> float:
        """Return the pause after a failure, in seconds: longer each time, from the start again once the checkpoint has moved."""
        position = self._lease.held_checkpoint.position
        if position > self._failed_at:
            self.succeeded()
        self._failed_at = position
        return min(next(self._pauses), self._longest_pause)

    def succeeded(self) -> None:
        """Let pauses start from the shortest again."""
        self._pauses = self._pace.pauses()

    @asynccontextmanager
    async def subscription(self, feed: EventFeed, wanted: EventFilter | None) -> AsyncGenerator[Subscription, None]:
        """Open a subscription behind the held checkpoint, which :meth:`stop` ends too.

        Raises:
            FeedRewoundError: the feed is not the one that the checkpoint was read from.
        """
        held, name = self._lease.held_checkpoint, str(self._lease.projection_id)
        await check_feed(feed, name, held.position, held.mark)
        async with Subscription(feed, after=held.position, wanted=wanted, pace=self._pace, mark=held.mark, name=name) as self._subscription:
            yield self._subscription

    async def _wait(self, seconds: float) -> None:
        if not self.is_stopping:
            with scope() as self._pausing:
                if not self.is_stopping:  # another thread may have stopped it just now
                    await self._sleep(seconds)
            self._pausing = None


def is_held(seen: Checkpoint, now: datetime, *, lease: timedelta = _ZERO) -> bool:
    """Return whether an owner holds a checkpoint now.

    Args:
        seen: the checkpoint.
        now: the time.
        lease: the longest duration that is known to be in use. A lease that ends later than that from now, and more than an hour from now,
            was written by a clock that stood ahead: it is over.
    """
    until = seen.owned_until
    return seen.owner is not None and until is not None and _ZERO < until - now <= max(lease, _LONGEST)
