"""The followers of the feed in this process: projections, the relay to a bus, and the invalidation of cached answers."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from inventory_es.application.following.follower import ProjectionFollower
from inventory_es.application.following.projection import OnFailure, Projection, ProjectionStatus, check_on_failure
from inventory_es.application.following.relay import Relay, rewind_relay
from inventory_es.application.following.runner import ProjectionRunner
from inventory_es.application.following.subscription import feed_of
from inventory_es.application.queries.cached_answers import AnswerInvalidation, CachedAnswers
from inventory_es.ports import Clock, EventBus, EventCodec, EventStore, IdGenerator, ReadModel
from inventory_es.ports.toolkit.waiting import Event, new_event, scope, together

RELAY = "relay"
"""Name of the relay's checkpoint."""

_PATIENCE_AT_THE_END = 5.0


class _Follower(Protocol):
    def stop(self) -> None: ...


class Followers:
    """Followers of the feed, which keep up whatever is derived from it. Part of a service as ``inventory.followers``.

    They run only while the host calls :meth:`run`, in a task of its own, or :meth:`catch_up`. Any number of processes may do so at once:
    each projection has one runner that works, and the others stand by. After a rebuild, also by another process, they follow the version
    that readers ask: see :class:`~inventory_es.application.following.follower.ProjectionFollower`.

    Args:
        store: the event store; it has a feed.
        read_model: has the rows and the checkpoints.
        projections: the projections to keep up.
        codec: decodes events.
        clock: for leases and lag.
        ids: names the runners of this process.
        answers: answers that are cached here; ``None`` for no cache.
        bus: receives the events; ``None`` for no bus.
        observers: are notified of steps of projections and of the relay.
    """

    def __init__(
        self,
        store: EventStore,
        read_model: ReadModel,
        projections: Iterable[Projection],
        *,
        codec: EventCodec,
        clock: Clock,
        ids: IdGenerator,
        answers: CachedAnswers | None,
        bus: EventBus | None,
        observers: Sequence[object] = (),
    ) -> None:
        self._store = store
        self._read_model = read_model
        self._projections = tuple(projections)
        self._codec = codec
        self._clock = clock
        self._ids = ids
        self._answers = answers
        self._bus = bus
        self._observers = observers
        self._runs: dict[Event, Sequence[_Follower]] = {}  # by the event that ends the run
        self._is_stopped = False

    async def run(self, *, on_failure: OnFailure) -> None:
        """Follow the feed until :meth:`stop`, until the service is closed, or until failing events have stopped every projection.

        Args:
            on_failure: policy for an event that can't be projected: see
                :data:`~inventory_es.application.following.projection.OnFailure`.

        Raises:
            UnsupportedCapabilityError: the store has no feed.
            FeedRewoundError: the store was replaced, and has other events than those that were read. Every follower is stopped then.
            IncompatibleStoreError, CorruptStoreError, StoreClosedError: of the stores. Every follower is stopped then.
            AppendTooLargeError: the bus can't take an event.
            ReadModelUnavailableError: at the start; later followers wait for backends that are away.
        """
        check_on_failure(on_failure)
        feed = feed_of(self._store)
        followers: list[ProjectionFollower | Relay | AnswerInvalidation] = list(self._projection_followers(on_failure))
        if self._bus is not None:
            followers.append(self._relay(self._bus))
        if self._answers is not None:
            followers.append(AnswerInvalidation(feed, self._answers))
        if not self._is_stopped:
            await self._follow(followers, [follower.run for follower in followers])

    async def catch_up(self, *, on_failure: OnFailure) -> None:
        """Bring every projection to the end of the feed once; stand by where another process works on one.

        Args:
            on_failure: as for :meth:`run`. A projection that is stopped, here or before, is not at the end: :meth:`status` tells.

        Raises:
            UnsupportedCapabilityError, FeedRewoundError, IncompatibleStoreError, CorruptStoreError, StoreClosedError,
                ReadModelUnavailableError: as :meth:`run`.
        """
        check_on_failure(on_failure)
        followers = self._projection_followers(on_failure)
        await self._follow(followers, [follower.catch_up for follower in followers])
        if self._answers is not None:
            self._answers.forget(await feed_of(self._store).head())

    async def status(self) -> tuple[ProjectionStatus, ...]:
        """Return the state of each projection, and of the relay if there is a bus, whichever process runs it.

        The lag is that of the version that readers ask. The status of a version that is built here beside it comes next; other versions
        that nobody follows are ``unfollowed``. The relay comes last, with its checkpoint as projection id.
        """
        statuses = [status for follower in self._projection_followers("stop") for status in await follower.status()]
        return (*statuses, *([] if self._bus is None else [await self._relay(self._bus).status()]))

    async def resume(self) -> None:
        """Resume the projections that are stopped; the next run tries the failing event again."""
        for follower in self._projection_followers("stop"):
            await follower.resume()

    async def rewind_relay(self, *, to: int) -> None:
        """Set the checkpoint of the relay back, so that the events after a position are published again.

        See :func:`~inventory_es.application.following.relay.rewind_relay`. The relay may run meanwhile, here or in another process.

        Args:
            to: the position of the last event that is not published again; 0 for all events.

        Raises:
            ValueError: ``to`` is below 0, or above the checkpoint.
            UnsupportedCapabilityError: the store has no feed.
            FeedRewoundError: the feed ends before ``to``.
        """
        await rewind_relay(RELAY, feed=feed_of(self._store), read_model=self._read_model, to=to)

    def stop(self) -> None:
        """End every :meth:`run`, also one that begins later, after the commits in flight. Idempotent."""
        self._is_stopped = True
        for followers in tuple(self._runs.values()):
            for follower in followers:
                follower.stop()

    async def aclose(self) -> None:
        """Stop, and wait until every run has ended. Idempotent."""
        self.stop()
        with scope(_PATIENCE_AT_THE_END):
            for ended in tuple(self._runs):
                await ended.wait()

    def _relay(self, bus: EventBus) -> Relay:
        feed, model, owner, observers = feed_of(self._store), self._read_model, self._ids.new_id(), self._observers
        return Relay(RELAY, feed=feed, bus=bus, read_model=model, clock=self._clock, owner=owner, observers=observers)

    def _projection_followers(self, on_failure: OnFailure) -> list[ProjectionFollower]:
        feed, model, clock, observers = feed_of(self._store), self._read_model, self._clock, self._observers
        make = partial(ProjectionRunner, feed=feed, read_model=model, codec=self._codec, clock=clock, observers=observers)

        def runner(projection: Projection) -> ProjectionRunner:
            return make(projection, owner=self._ids.new_id(), on_failure=on_failure)

        return [ProjectionFollower(projection, runner, feed=feed, read_model=model, clock=clock) for projection in self._projections]

    async def _follow(self, followers: Sequence[_Follower], works: Sequence[Callable[[], Awaitable[None]]]) -> None:
        ended = new_event()
        problems: list[Exception] = []

        async def work_on(work: Callable[[], Awaitable[None]]) -> None:
            try:
                await work()
            except Exception as problem:  # noqa: BLE001  # raised below, when the others have ended in order
                problems.append(problem)
                for follower in followers:
                    follower.stop()

        self._runs[ended] = followers
        try:
            async with together() as tasks:
                for work in works:
                    tasks.start_soon(work_on, work)
        finally:
            del self._runs[ended]
            ended.set()
        if problems:
            raise problems[0]
