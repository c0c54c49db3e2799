"""An application node: an engine with a memory and a clock of its own, which a restart takes away."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar
from uuid import UUID

import attrs

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.application.assembly import Engine
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, Clock, EventFeed, FeedPage, RecordedEvent, StoreCapabilities, StreamPage, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.testing.simulation.scheduler import Scheduler, StoppedError

T = TypeVar("T")


class WorldClock:
    """The true time: it starts at an instant, goes on with the virtual seconds, and leaps when a program says that days pass.

    Args:
        start: the instant.
        scheduler: where the virtual seconds come from.
    """

    def __init__(self, start: datetime, scheduler: Scheduler) -> None:
        self._start = start
        self._scheduler = scheduler

    def now(self) -> datetime:
        """The true time."""
        return self._start + timedelta(microseconds=round(self._scheduler.now * 1e6))

    def reach(self, at: datetime) -> None:
        """Leap to an instant, if it is still to come."""
        self._start += max(at - self.now(), timedelta(0))


@attrs.define(eq=False)
class NodeClock:
    """A node's own clock: it goes with the true one, and jumps.

    Attributes:
        skew: how far it is ahead.
        readings: everything that it ever said.
    """

    _world: Clock
    skew: timedelta = timedelta(0)
    readings: list[datetime] = attrs.field(factory=list[datetime])

    def now(self) -> datetime:
        """What it says."""
        self.readings.append(self._world.now() + self.skew)
        return self.readings[-1]


@attrs.define(eq=False)
class Incarnation:
    """A node from one start to its end.

    Attributes:
        number: which one, over all nodes.
        is_stopped: whether it has ended.
        in_flight: appends that it sent and that are still to arrive, although it has ended.
    """

    number: int
    is_stopped: bool = False
    in_flight: int = 0
    _minted: int = 0

    def new_id(self) -> str:
        """An id that nobody else mints."""
        self._minted += 1
        return f"minted-{self.number}-{self._minted}"


@attrs.define(eq=False)
class Node:
    """A node of the application.

    Attributes:
        name: in the trace.
        clock: its clock.
        life: its present incarnation.
        engine: of this incarnation.
        feed: the same store, as its consumers see it.
    """

    name: str
    clock: NodeClock
    life: Incarnation
    engine: Engine
    feed: EventFeed

    def __str__(self) -> str:
        return f"{self.name}.{self.life.number}"


class Network(Protocol):
    """What is told about a node's appends."""

    def met_conflict(self) -> None:
        """One met another version than it expected."""
        ...

    def send_late(self, life: Incarnation, call: Callable[[], Awaitable[object]]) -> None:
        """The node ended while one was under way."""
        ...


class NodeStore:
    """A node's handle on the store. An append that was sent when the node ended may still arrive.

    Args:
        store: the handle.
        life: whose.
        network: told about appends.
    """

    def __init__(self, store: MemoryEventStore, life: Incarnation, network: Network) -> None:
        self._store = store
        self._life = life
        self._network = network

    @property
    def capabilities(self) -> StoreCapabilities:
        """Those of the store."""
        return self._store.capabilities

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """Append."""
        return await self._carry(lambda: self._store.append(writes))

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        """Append a group."""
        outcomes = await self._carry(lambda: self._store.append_group(groups))
        for outcome in outcomes:
            if isinstance(outcome, ConcurrencyError):
                self._network.met_conflict()
        return outcomes

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        """Read a stream."""
        return await self._store.read_stream(stream, after=after, limit=limit)

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        """Read a stream from its end."""
        return await self._store.read_stream_backwards(stream, before=before, limit=limit)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        """Find events."""
        return await self._store.find_events(stream, event_ids)

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        """Read the feed."""
        return await self._store.read_all(after=after, limit=limit)

    async def head(self) -> int:
        """The end of the feed."""
        return await self._store.head()

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        """Wait for the end of the feed."""
        return await self._store.wait_for_position(position, timeout=timeout)

    def glance_version(self, stream: StreamId, /) -> int | None:
        """Glance at a version."""
        return self._store.glance_version(stream)

    async def aclose(self) -> None:
        """Close the handle."""
        await self._store.aclose()

    async def _carry(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        except StoppedError:
            self._network.send_late(self._life, call)
            raise
        except ConcurrencyError:
            self._network.met_conflict()
            raise
