"""Projections of the command line: makers of runners, and several runners at once."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import anyio
import attrs

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.adapters.sqlite import open_sqlite_read_model
from inventory_es.adapters.system import SystemClock, Uuid7Generator
from inventory_es.application.following.dead_letters import DeadLetters
from inventory_es.application.following.follower import ProjectionFollower
from inventory_es.application.following.lease import Lease
from inventory_es.application.following.projection import OnFailure, ProjectionStatus
from inventory_es.application.following.projector import Projector
from inventory_es.application.following.runner import ProjectionRunner
from inventory_es.application.following.subscription import Pace, feed_of
from inventory_es.cli.reading import open_to_read
from inventory_es.cli.rows import SHIPPED, active_projection, open_rows_to_read
from inventory_es.ports import EventFeed, ProjectionId, ReadModel
from inventory_es.ports.errors import ProjectionNotFoundError, UnavailableError

_LEASE = timedelta(seconds=10)
_PACE = Pace(batch_size=2_000)


@attrs.frozen(kw_only=True)
class Workshop:
    """One feed and one read model, with the runners between them.

    Attributes:
        feed: the feed of the store.
        read_model: the read model with the rows.
        on_failure: the policy for an event that can't be projected.
        owner: the unique name of this owner of leases.
    """

    feed: EventFeed
    read_model: ReadModel
    on_failure: OnFailure
    owner: str = attrs.field(factory=lambda: Uuid7Generator().new_id())

    def runner(self, projection_id: ProjectionId) -> ProjectionRunner:
        """Return a runner of this version."""
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
        """Return a follower, which runs the active version."""
        first = SHIPPED[name](1)
        clock = SystemClock()
        return ProjectionFollower(
            first, lambda one: self.runner(one.projection_id), feed=self.feed, read_model=self.read_model, clock=clock
        )

    async def parked(self, name: str) -> DeadLetters:
        """Return the dead letters of the active version. The projection is taken over only to apply or drop them."""
        projection = SHIPPED[name]((await self.active(name)).version)
        await self.read_model.prepare(projection.projection_id, tuple(projection.all_tables.values()))
        lease = Lease(self.read_model, projection.projection_id, Uuid7Generator().new_id(), SystemClock(), _LEASE)
        return DeadLetters(Projector(projection, JsonEventCodec(), self.on_failure), self.feed, lease)

    def is_done_elsewhere(self, status: ProjectionStatus) -> bool:
        """Return True if another process holds the projection and has reached the end of the feed."""
        return status.owner not in {None, self.owner} and status.lag_events == 0

    async def active(self, name: str) -> ProjectionId:
        """Return the active version; the first version if there is none yet.

        Raises:
            IncompatibleStoreError: the rows were written by a version of this package with other tables.
        """
        active = await active_projection(self.read_model, name)
        return ProjectionId(name, 1) if active is None else active.projection_id


@asynccontextmanager
async def open_workshop(
    url: str, read_model: str, *, on_failure: OnFailure = "stop", creates: bool = False
) -> AsyncGenerator[Workshop, None]:
    """Open a store and a read model, while the block runs.

    Args:
        url: the URL of the store.
        read_model: the path of the read model.
        on_failure: the policy for an event that can't be projected.
        creates: True to create the read model if it does not exist.

    Raises:
        IncompatibleStoreError: the store or the read model does not exist.
    """
    rows = open_sqlite_read_model(read_model) if creates else open_rows_to_read(read_model)
    async with open_to_read(url) as inventory, rows as model:
        yield Workshop(feed=feed_of(inventory.store), read_model=model, on_failure=on_failure)


class Projecting:
    """Projections that run until they are stopped. When another version of one becomes active, that version runs from then on.

    Args:
        workshop: the maker of runners.
        names: the names of the projections.
    """

    def __init__(self, workshop: Workshop, names: Sequence[str]) -> None:
        self._workshop = workshop
        self._followers = {name: workshop.follower(name) for name in names}
        self._seen: dict[str, Sequence[ProjectionStatus]] = {}

    async def run(self, *, to_end: bool) -> None:
        """Run all projections.

        Args:
            to_end: True to return at the end of the feed, False to follow it.
        """
        for name in self._followers:
            await self._workshop.active(name)
        async with anyio.create_task_group() as tasks:
            for follower in self._followers.values():
                tasks.start_soon(follower.catch_up if to_end else follower.run)

    def stop(self) -> None:
        """End :meth:`run` after the commits in flight. Idempotent."""
        for follower in self._followers.values():
            follower.stop()

    async def resume(self) -> None:
        """Resume the projections that an event has stopped."""
        for follower in self._followers.values():
            await follower.resume()

    async def look(self, *, to_end: bool = False) -> list[ProjectionStatus]:
        """Return the status of each projection, whichever process runs it.

        Args:
            to_end: True to stop projections that another process has brought to the end.

        Raises:
            IncompatibleStoreError: the active rows were written by a version of this package with other tables.
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
