"""Running several projections at once, each in the version that readers ask."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import anyio
import attrs

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.adapters.system import SystemClock, Uuid7Generator
from inventory_es.application.following.dead_letters import DeadLetters
from inventory_es.application.following.follower import ProjectionFollower
from inventory_es.application.following.lease import Lease
from inventory_es.application.following.projection import OnFailure, ProjectionStatus
from inventory_es.application.following.projector import Projector
from inventory_es.application.following.runner import ProjectionRunner
from inventory_es.application.following.subscription import Pace
from inventory_es.cli.shipped_projections import SHIPPED, active_projection
from inventory_es.ports import EventFeed, ProjectionId, ReadModel
from inventory_es.ports.errors import ProjectionNotFoundError, UnavailableError

_LEASE = timedelta(seconds=10)
_PACE = Pace(batch_size=2_000)


@attrs.frozen(kw_only=True)
class Workshop:
    """Makes runners over one feed and one read model.

    Attributes:
        feed: of the event store.
        read_model: where the rows are.
        on_failure: what becomes of an event that can't be projected.
        owner: unlike that of any other process.
    """

    feed: EventFeed
    read_model: ReadModel
    on_failure: OnFailure
    owner: str = attrs.field(factory=lambda: Uuid7Generator().new_id())

    def runner(self, projection_id: ProjectionId) -> ProjectionRunner:
        """A runner of this version."""
        return ProjectionRunner(
            SHIPPED[projection_id.name](projection_id.version),
            feed=self.feed,
            read_model=self.read_model,
            codec=JsonEventCodec(),
            clock=SystemClock(),
            owner=self.owner,
            on_failure=self.on_failure,
            pace=_PACE,
        )

    def follower(self, name: str) -> ProjectionFollower:
        """What keeps the version up that readers ask."""
        first = SHIPPED[name](1)
        clock = SystemClock()
        return ProjectionFollower(
            first, lambda one: self.runner(one.projection_id), feed=self.feed, read_model=self.read_model, clock=clock
        )

    async def parked(self, name: str) -> DeadLetters:
        """What the active version has set aside; takes the projection over only to deal with it."""
        projection = SHIPPED[name]((await self.active(name)).version)
        await self.read_model.prepare(projection.projection_id, tuple(projection.all_tables.values()))
        lease = Lease(self.read_model, projection.projection_id, Uuid7Generator().new_id(), SystemClock(), _LEASE)
        return DeadLetters(Projector(projection, JsonEventCodec(), self.on_failure), self.feed, lease)

    def is_done_elsewhere(self, status: ProjectionStatus) -> bool:
        """Whether another process has brought this to the end of the feed, and holds it."""
        return status.owner not in {None, self.owner} and status.lag_events == 0

    async def active(self, name: str) -> ProjectionId:
        """The version that readers ask; the first one where there is none yet.

        Raises:
            IncompatibleStoreError: another version of this package has shaped its rows.
        """
        active = await active_projection(self.read_model, name)
        return ProjectionId(name, 1) if active is None else active.projection_id


class Projecting:
    """Projections that run until they are told to stop. When readers change over to another version of one, that one is run from then on.

    Args:
        workshop: makes the runners.
        names: of the projections.
    """

    def __init__(self, workshop: Workshop, names: Sequence[str]) -> None:
        self._workshop = workshop
        self._followers = {name: workshop.follower(name) for name in names}
        self._seen: dict[str, Sequence[ProjectionStatus]] = {}

    async def run(self, *, to_end: bool) -> None:
        """Run all of them.

        Args:
            to_end: end with the feed, instead of following it.
        """
        for name in self._followers:
            await self._workshop.active(name)
        async with anyio.create_task_group() as tasks:
            for follower in self._followers.values():
                tasks.start_soon(follower.catch_up if to_end else follower.run)

    def stop(self) -> None:
        """End :meth:`run` after the commits in flight. Twice is fine."""
        for follower in self._followers.values():
            follower.stop()

    async def resume(self) -> None:
        """Take those that an event has stopped out of that state."""
        for follower in self._followers.values():
            await follower.resume()

    async def look(self, *, to_end: bool = False) -> list[ProjectionStatus]:
        """How each of them stands, whoever runs it.

        Args:
            to_end: leave what another process has brought to the end.

        Raises:
            IncompatibleStoreError: another version of this package has shaped the rows that readers ask now.
        """
        for name, follower in self._followers.items():
            with suppress(ProjectionNotFoundError, UnavailableError):  # the next version is on its way, or the store comes back
                if not await self._workshop.read_model.versions(name):
                    continue
                active = await self._workshop.active(name)
                statuses = self._seen[name] = await follower.status()
                if to_end and any(one.projection_id == active and self._workshop.is_done_elsewhere(one) for one in statuses):
                    follower.stop()
        return [status for statuses in self._seen.values() for status in statuses]
