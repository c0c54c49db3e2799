"""The follower of a projection: it runs the version that readers ask, and a newer one that is built beside it."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress

import attrs

from inventory_es.application.following.lease import is_held
from inventory_es.application.following.projection import Projection, ProjectionStatus, active_of
from inventory_es.application.following.runner import ProjectionRunner, status_of
from inventory_es.ports import Clock, EventFeed, ProjectionId, ProjectionVersion, ReadModel
from inventory_es.ports.errors import FeedRewoundError, ProjectionNotFoundError, UnavailableError
from inventory_es.ports.toolkit.waiting import Event, new_event, scope, together

_STATUS_READS = 2
_Work = Callable[[ProjectionRunner], Awaitable[None]]


class ProjectionFollower:
    """Runs the versions of one projection that this code can keep up, as long as somebody needs them.

    - The version of the code, unless readers ask a newer one with the same tables and this one was dropped.
    - The version that readers ask, if it has the tables of the code and the projection is the same in every version. If that version is
      newer than the version of the code, the latter is not run: nobody would read it.

    The follower reads the versions at the start, whenever a runner ends, and every ``interval`` seconds. So it follows a changeover that
    another process makes, and does not bring back a version that was dropped.

    Args:
        projection: the projection in the version of the code.
        runner: makes the runner of one version; its argument is the projection in that version.
        feed: of the event store.
        read_model: has the rows.
        clock: for the lag.
        interval: seconds between two reads of the versions, above 0.
    """

    def __init__(
        self,
        projection: Projection,
        runner: Callable[[Projection], ProjectionRunner],
        *,
        feed: EventFeed,
        read_model: ReadModel,
        clock: Clock,
        interval: float = 1.0,
    ) -> None:
        self._projection = projection
        self._runner = runner
        self._feed = feed
        self._read_model = read_model
        self._clock = clock
        self._interval = interval
        self._runners: dict[ProjectionId, ProjectionRunner] = {}
        self._ended: set[ProjectionId] = set()
        self._is_stopped = False
        self._is_known = False
        self._problem: Exception | None = None
        self._rewound: dict[ProjectionId, FeedRewoundError] = {}
        self._news: Event | None = None

    async def run(self) -> None:
        """Work or stand by until :meth:`stop`, or until failing events have stopped every version that is to be run.

        Raises:
            FeedRewoundError: the feed was replaced, for every version that is to be run. A version that is rebuilt beside another goes on.
            IncompatibleStoreError, CorruptStoreError, StoreClosedError, ReadModelUnavailableError: as :meth:`ProjectionRunner.run`.
        """
        await self._run(ProjectionRunner.run, is_over=lambda wanted: bool(wanted) and self._ended >= set(wanted))

    async def catch_up(self) -> None:
        """Bring every version that is to be run to the end of the feed once.

        Raises:
            FeedRewoundError, IncompatibleStoreError, CorruptStoreError, StoreClosedError, ReadModelUnavailableError: as :meth:`run`.
        """
        await self._run(ProjectionRunner.catch_up, is_over=lambda wanted: self._ended >= set(wanted))

    def stop(self) -> None:
        """End :meth:`run` after the commits in flight. Idempotent; for any task of its event loop, or any thread without one."""
        self._is_stopped = True
        for runner in tuple(self._runners.values()):
            runner.stop()
        self._tell()

    async def resume(self) -> None:
        """Resume the versions that are stopped; the next run tries their failing event again."""
        for projection in (await self._wanted()).values():
            await self._runner(projection).resume()

    async def status(self) -> Sequence[ProjectionStatus]:
        """Return the state of the version that readers ask, and of a version that is to be run beside it."""
        for _ in range(_STATUS_READS):  # a version may be dropped meanwhile
            with suppress(ProjectionNotFoundError):
                return await self._status()
        return await self._status()

    async def _status(self) -> Sequence[ProjectionStatus]:
        versions = await self._read_model.versions(self._projection.projection_id.name)
        there = {one.projection_id for one in versions}
        active = [one.projection_id for one in versions if one.is_active]
        statuses: list[ProjectionStatus] = []
        for projection_id in dict.fromkeys((*active, *self._choose(versions))):
            if projection_id not in there:
                await self._read_model.prepare(projection_id, tuple(self._projection.all_tables.values()))
            statuses.append(await status_of(projection_id, feed=self._feed, read_model=self._read_model, clock=self._clock))
        now = self._clock.now()
        idle = [one.projection_id for one in versions if not is_held(one.checkpoint, now)]
        return [attrs.evolve(one, unfollowed=tuple(other for other in idle if other != one.projection_id)) for one in statuses]

    async def _run(self, work: _Work, *, is_over: Callable[[Collection[ProjectionId]], bool]) -> None:
        wanted = await self._wanted()
        self._news = new_event()
        async with together() as tasks:
            while not (self._is_stopped or is_over(wanted)):
                self._leave(wanted)
                for projection_id, projection in wanted.items():
                    if projection_id not in self._runners and projection_id not in self._ended:
                        self._runners[projection_id] = runner = self._runner(projection)
                        tasks.start_soon(self._keep, projection_id, runner, work)
                with scope(self._interval):
                    await self._news.wait()
                self._news = new_event()
                wanted = await self._wanted_now(wanted)
                if self._rewound and self._rewound.keys() >= set(wanted):  # no version can take over
                    self._problem = self._problem or next(iter(self._rewound.values()))
                    break
            self._leave(())
        if self._problem is not None:
            raise self._problem

    async def _keep(self, projection_id: ProjectionId, runner: ProjectionRunner, work: _Work) -> None:
        try:
            await work(runner)
        except FeedRewoundError as problem:
            self._rewound[projection_id] = problem
        except Exception as problem:  # noqa: BLE001  # raised by run, when the other versions have ended in order
            self._problem = problem
            self.stop()
        finally:
            if self._runners.get(projection_id) is runner:
                del self._runners[projection_id]
                self._ended.add(projection_id)
            self._tell()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    def _leave(self, wanted: Collection[ProjectionId]) -> None:
        """Stop the runners of versions that nobody needs; a version that is needed again later is run again."""
        self._ended &= set(wanted)
        for projection_id in self._runners.keys() - set(wanted):
            self._runners.pop(projection_id).stop()

    async def _wanted(self) -> Mapping[ProjectionId, Projection]:
        return self._choose(await self._read_model.versions(self._projection.projection_id.name))

    async def _wanted_now(self, before: Mapping[ProjectionId, Projection]) -> Mapping[ProjectionId, Projection]:
        try:
            return await self._wanted()
        except UnavailableError:  # the runners wait for it too
            return before

    def _choose(self, versions: Sequence[ProjectionVersion]) -> Mapping[ProjectionId, Projection]:
        own, active = self._projection.projection_id, active_of(versions)
        is_there = own in {one.projection_id for one in versions}
        has_own_tables = active is not None and active.tables == self._projection.all_tables
        chosen: dict[ProjectionId, Projection] = {}
        if active is not None and has_own_tables and self._projection.same_in_every_version:
            chosen[active.projection_id] = attrs.evolve(self._projection, projection_id=active.projection_id)
            is_own_needed = own.version > active.projection_id.version
        elif active is not None and own.version < active.projection_id.version:
            is_own_needed = is_there or not (has_own_tables or self._is_known)
        else:
            is_own_needed = True
        if is_own_needed:
            chosen[own] = self._projection
        self._is_known |= is_there
        return chosen
