"""Stores that make an append after a caller looked for it in vain, or after its stream had moved: ES-81, ES-82, ES-83."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import anyio
import anyio.to_thread
import attrs
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, EventStore, RecordedEvent, StreamWrite
from inventory_es.testing import EventStoreContract, Site
from tests.contract.mutants.mutant import breaks
from tests.contract.stores.plain_store import PlainStore, Shelf, shelf_of
from tests.contract.stores.remote_store import RemoteStore, RemoteStores


class BackgroundStores(EventStoreContract):
    """The contract of stores with background tasks."""

    adapter: "type[GoesOnInTheBackground]"

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        async with anyio.create_task_group() as tasks:
            with shelf_of(site.name) as shelf:
                yield self.adapter(shelf, tasks)

    def spawn(self, *_: object) -> None:
        """Return nothing, because the data lives in this process."""


@breaks("ES-81", "Appends in a task of its own, which goes on when the caller is cancelled.", contract=BackgroundStores, patience=10)
class GoesOnInTheBackground(PlainStore):
    steps = 3

    def __init__(self, shelf: Shelf, tasks: TaskGroup) -> None:
        super().__init__(shelf)
        self._tasks = tasks

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        done = anyio.Event()
        outcomes: list[AppendResult | Exception] = []

        async def work() -> None:
            for _ in range(self.steps):
                await checkpoint()
            try:
                outcomes.append(await super(GoesOnInTheBackground, self).append(writes))
            except Exception as error:  # noqa: BLE001  # the caller's
                outcomes.append(error)
            done.set()

        self._tasks.start_soon(work)
        await done.wait()
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]
        return outcomes[0]


@breaks("ES-81", "The same, and slower: longer than a few turns of the event loop.", contract=BackgroundStores, patience=10)
class GoesOnForLong(GoesOnInTheBackground):
    steps = 20


@breaks("ES-81", "Commits in a thread that asyncio's own cancellation leaves behind, and reads beside it.")
class LeavesItsThreadBehind(PlainStore):
    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await anyio.to_thread.run_sync(self._commit, new)

    def _commit(self, new: list[RecordedEvent]) -> None:
        time.sleep(0.005)
        self.shelf.feed += new


@breaks("ES-81", "Finds ids in an index that is brought up to date by the next append.")
class IndexesLater(PlainStore):
    indexed = 0

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        result = await super().append(writes)
        self.indexed = len(self.shelf.feed)
        return result

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        self.check_open()
        await checkpoint()
        known = self.shelf.feed[: self.indexed]
        return [event for event in known if event.stream == stream and event.event_id in set(event_ids)]

    async def make_visible(self, new: list[RecordedEvent]) -> None:
        await super().make_visible(new)
        await checkpoint()


class LateStores(RemoteStores):
    """The contract of stores with late appends."""


@breaks("ES-82", "Declares a bound, and its server carries out whatever arrives whenever.", contract=LateStores)
class HasNoDeadline(RemoteStore):
    def request(self, writes: Sequence[StreamWrite]) -> Callable[[], Awaitable[AppendResult]]:
        return partial(self.arrive, writes, give_up_at=1e9)


@breaks("ES-82", "Counts its deadline from the arrival, not from the sending.", contract=LateStores)
class CountsFromTheArrival(RemoteStore):
    async def arrive(self, writes: Sequence[StreamWrite], *, give_up_at: float) -> AppendResult:
        return await super().arrive(writes, give_up_at=self.network.now + give_up_at)


@breaks("ES-82", "Gives the server more time than its callers are told.", contract=LateStores)
class GivesTheServerLonger(RemoteStore):
    def request(self, writes: Sequence[StreamWrite]) -> Callable[[], Awaitable[AppendResult]]:
        return partial(self.arrive, writes, give_up_at=self.network.now + 6.0)


@breaks("ES-82", "Declares that an append is settled when its call ends, and sends it over a network.", contract=LateStores)
class DeclaresThatNothingIsLate(RemoteStore):
    capabilities = attrs.evolve(RemoteStore.capabilities, settles_within=0.0)

    def request(self, writes: Sequence[StreamWrite]) -> Callable[[], Awaitable[AppendResult]]:
        return partial(self.arrive, writes, give_up_at=1e9)


@breaks("ES-82", "Calls an append that got no answer in time refused.", contract=LateStores)
class CallsSilenceARefusal(RemoteStore):
    def no_answer(self, writes: Sequence[StreamWrite]) -> AppendResult:
        self.check_version(attrs.evolve(writes[0], expected_version=-1))
        raise AssertionError


class _ChecksBeforeItSends(RemoteStore):
    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.check_open()
        self.check_misuse(writes)
        if (replay := self.find_replay(writes)) is not None:
            self.network.take()
            return replay
        self.check_versions(writes)
        return await super().append(writes)


@breaks("ES-83", "Checks versions before it sends, and appends whatever arrives.", contract=LateStores)
class ChecksBeforeItSends(_ChecksBeforeItSends):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        new = self.prepare(writes)
        await self.make_visible(new)
        return AppendResult(new[-1].position, {write.stream: self.version(write.stream) for write in writes})


@breaks("ES-83", "Puts what arrives where it was expected, over what is there by now.", contract=LateStores)
class WritesOverWhatIsThere(_ChecksBeforeItSends):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        for write in writes:
            self.shelf.feed[:] = [one for one in self.shelf.feed if one.stream != write.stream or one.version <= write.expected_version]
        new = self.prepare(writes)
        await self.make_visible(new)
        return AppendResult(new[-1].position, {write.stream: self.version(write.stream) for write in writes})


@breaks("ES-83", "Looks for the ids of what arrives before it sends: what was sent again meanwhile is stored twice.", contract=LateStores)
class LooksBeforeItSends(_ChecksBeforeItSends):
    async def append_locked(self, writes: Sequence[StreamWrite]) -> AppendResult:
        there = {write.stream: self.version(write.stream) for write in writes}
        return await super().append_locked([attrs.evolve(write, expected_version=there[write.stream]) for write in writes])

    def find_replay(self, writes: Sequence[StreamWrite]) -> AppendResult | None:
        return super().find_replay(writes) if self.network.next is not None or self.network.held is None else None


@breaks("ES-82", "Gives the appends of a group no deadline.", contract=LateStores)
class GivesAGroupNoDeadline(RemoteStore):
    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        outcomes = await super().append_group(groups)
        if self.network.held is not None:
            self.network.held = partial(self.arrive, groups[0], give_up_at=1e9)
        return outcomes


@breaks("ES-83", "Checks the versions of a group when it is sent.", contract=LateStores)
class ChecksAGroupBeforeItSends(RemoteStore):
    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        outcomes = await super().append_group(groups)
        if self.network.held is not None:
            self.network.held = partial(self._write, groups[0])
        return outcomes

    async def _write(self, writes: Sequence[StreamWrite]) -> None:
        await self.make_visible(self.prepare(writes))


@breaks("ES-83", "Writes those streams of a late append that have not moved.", contract=LateStores)
class WritesWhatStillFits(RemoteStore):
    async def arrive(self, writes: Sequence[StreamWrite], *, give_up_at: float) -> AppendResult:
        fitting = [write for write in writes if len(writes) < 2 or self.version(write.stream) == write.expected_version]
        return await super().arrive(fitting or writes, give_up_at=give_up_at)
