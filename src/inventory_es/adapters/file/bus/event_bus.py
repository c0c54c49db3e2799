"""The file event bus for an event loop: a thin layer over :class:`~inventory_es.adapters.file.bus.file_bus.FileBus`."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Self
from uuid import UUID

import anyio
import attrs

from inventory_es.adapters.file.bus.file_bus import BusConsumer, FileBus, FileBusGroup, GroupLimits
from inventory_es.adapters.file.folder import opened
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, check_lock_timeout
from inventory_es.adapters.file.operating_system import OperatingSystem, new_creation_id
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError
from inventory_es.ports.event_bus import BusCapabilities, DeadLetter, EventBus, GroupLag
from inventory_es.ports.file_system import FileSystem
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.append_rules import check_page
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, run_in_thread, to_its_end
from inventory_es.ports.toolkit.delivery_rules import GroupFilter, check_events, check_group
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path
from inventory_es.ports.toolkit.waiting import Event, Exclusive, new_event, scope

_MAX_CALLS = 8
_SEGMENT_BYTES = 64 << 20
_LIMITS = GroupLimits(max_deliveries=5, max_dead_letters=10_000, window=1_000)
_NO_BOUND = (1 << 63) - 1


class _Changes:
    """Wakes the consumers that wait for a delivery. Take ``next`` before looking: it is set with the next change."""

    def __init__(self) -> None:
        self.next: Event = new_event()

    def notify(self) -> None:
        """Set ``next``, and put a new event in its place."""
        changed, self.next = self.next, new_event()
        changed.set()


class FileEventBus(EventBus, GroupLag):
    """An event bus in a folder, for Linux and macOS. Opened by :func:`open_file_event_bus`.

    Published events survive a power cut, in a journal that is kept. A new group gets everything from the beginning; a group that
    comes back continues after its last answer. So ``publish`` never waits for a slow group, whose backlog stands on the disk. A window
    bounds the events of each group in memory.

    Any number of processes on one machine may publish. Each group is consumed by one of them at a time; the others get
    ``EventBusUnavailableError``. An acknowledgement survives the process; a power cut may take the last of them back, and then the
    events are delivered again. An event whose consumers die with it is given up like one that they refuse.
    """

    serves_threads: bool = True

    def __init__(self, bus: FileBus, *, clock: Clock, capabilities: BusCapabilities, poll_interval: float) -> None:
        self._bus = bus
        self._clock = clock
        self._capabilities = capabilities
        self._poll_interval = poll_interval
        self._changes = _Changes()
        self._calls = BlockingCalls(anyio.CapacityLimiter(_MAX_CALLS), name=bus.name)
        self._publishing = Exclusive()
        self._kept_out = 0

    @property
    def capabilities(self) -> BusCapabilities:
        """The promises of this bus, constant for its lifetime."""
        return self._capabilities

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        """Write events to the journal, durably before returning. See :meth:`inventory_es.ports.EventBus.publish`.

        Raises:
            AppendTooLargeError: an event is over ``max_event_bytes``. Nothing was published.
            ValueError: an event's data or metadata is not one JSON object without line breaks. Nothing was published.
            EventBusUnavailableError: perhaps some were published. Publish all again.
        """
        given = tuple(events)
        check_events(given, max_event_bytes=self._capabilities.max_event_bytes)
        kept_out = self._kept_out
        async with self._publishing:
            if self._kept_out != kept_out:  # another call waited for the lock in vain meanwhile: once is enough
                raise EventBusUnavailableError(bus=self._bus.name, reason="another process kept its lock")
            try:
                await self._calls.run(self._bus.publish, given)
            except EventBusUnavailableError as problem:
                self._kept_out += isinstance(problem.__cause__, TimeoutError)
                raise
        self._changes.notify()

    @asynccontextmanager
    async def subscribe(
        self,
        group: str,
        /,
        *,
        types: Collection[str] | None = None,
        streams: Collection[StreamId] | None = None,
    ) -> AsyncGenerator["FileSubscription", None]:
        """Join ``group`` as one consumer. See :meth:`inventory_es.ports.EventBus.subscribe`.

        The filter is the group's: all its consumers name the same one. A group that has no consumer may come back with another; it
        holds for the events that were not delivered before.

        Raises:
            ValueError: a name that is none, or the group has consumers with another filter.
            EventBusUnavailableError: another process has the consumers of this group.
        """
        check_group(group)
        wanted, consumer = GroupFilter.of(types, streams), BusConsumer()
        try:
            joined, _ = await self._calls.run(self._bus.join, group, wanted, consumer)
        except Exception:
            raise
        except BaseException:  # asyncio's own cancellation, after which a thread may join still
            await self._leave(group, consumer)
            raise
        subscription = FileSubscription(self._bus.name, self._calls, self._changes, self._clock, self._poll_interval, joined, consumer)
        try:
            yield subscription
        finally:
            subscription.leave()
            await self._leave(group, consumer)
            self._changes.notify()

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the oldest ``limit`` dead letters of a group, 1 or more."""
        check_group(group)
        check_page(limit=limit)
        return await self._calls.run(self._bus.dead_letters, group, limit=limit)

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        """Deliver dead letters again, with fresh attempts; return how many there were. Any process may have the group's consumers."""
        check_group(group)
        count = await self._calls.run(self._bus.redeliver, group, frozenset(event_ids))
        self._changes.notify()
        return count

    async def lag(self, group: str, /, *, most: int = 10_000) -> int:
        """Return how far a group is behind, whichever process has its consumers. See :class:`~inventory_es.ports.event_bus.GroupLag`."""
        check_group(group)
        check_page(limit=most)
        return min(most, await self._calls.run(self._bus.lag, group))

    async def _leave(self, group: str, consumer: BusConsumer) -> None:
        async def leave() -> None:
            await self._calls.settle()  # what asyncio interrupted may still join, or leave
            await self._calls.run(self._bus.leave, group, consumer, self._clock.now())

        with scope(shield=True), suppress(StoreClosedError):  # closing the bus released everything
            await to_its_end(leave)

    async def aclose(self) -> None:
        """End every subscription, finish the calls in flight, release the folder. Idempotent."""
        self._calls.refuse()
        self._changes.notify()
        await self._calls.close(self._bus.close)


@attrs.define(eq=False)
class FileSubscription:
    """A :class:`~inventory_es.ports.BusSubscription`. Once the bus is closed, or the block has ended, it raises ``StoreClosedError``."""

    _bus: str
    _calls: BlockingCalls
    _changes: _Changes
    _clock: Clock
    _poll_interval: float
    _group: FileBusGroup
    _consumer: BusConsumer
    _has_left: bool = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "FileDelivery":
        self._consumer.is_cancelled = False
        try:
            while True:
                change = self._changes.next
                await self._run(partial(self._group.take, self._consumer, self._clock.now()))
                if self._consumer.ready:
                    number, queued = self._consumer.ready.popleft()
                    return FileDelivery(self, number, queued.event, queued.deliveries)
                with scope(self._poll_interval):
                    await change.wait()
        except BaseException:
            self._consumer.is_cancelled = True
            self._changes.notify()  # the deliveries taken for this consumer go to others
            raise

    async def answer(self, number: int, refused: str | None) -> None:
        """Settle a delivery of this consumer, or refuse it for a reason."""
        if refused is None:
            await self._run(partial(self._group.settle, self._consumer, number))
        else:
            await self._run(partial(self._group.fail, self._consumer, number, refused, self._clock.now()))
        self._changes.notify()

    def leave(self) -> None:
        """Deliver nothing any more."""
        self._has_left = True
        self._changes.notify()

    async def _run(self, function: Callable[[], None]) -> None:
        if self._has_left:
            raise StoreClosedError(store=self._bus, reason="this consumer has left its group, which gets again what it did not answer")
        await self._calls.run(function)


@attrs.frozen(eq=False)
class FileDelivery:
    """A :class:`~inventory_es.ports.Delivery`.

    Attributes:
        event: the published event.
        attempt: the number of this delivery of the event to this group, starting at 1.
    """

    _subscription: FileSubscription
    _number: int
    event: RecordedEvent
    attempt: int

    async def ack(self) -> None:
        """Acknowledge the delivery. Idempotent: the first answer counts.

        Raises:
            StoreClosedError: the bus was closed, or the consumer has left; the event is delivered again.
            EventBusUnavailableError: the file system refused; after a crash the event is perhaps delivered again.
        """
        await self._subscription.answer(self._number, None)

    async def nack(self, reason: str, /) -> None:
        """Refuse the delivery: the event is delivered again, or becomes a dead letter.

        Raises:
            StoreClosedError: the bus was closed, or the consumer has left; the event is delivered again.
            EventBusUnavailableError: the file system refused; answer again, or leave the group.
        """
        await self._subscription.answer(self._number, reason)


def open_file_event_bus(
    path: AnyPath,
    *,
    clock: Clock,
    max_deliveries: int = 5,
    max_dead_letters: int = 10_000,
    window: int = 1_000,
    max_event_bytes: int = 1 << 20,
    poll_interval: float = 0.05,
    file_system: FileSystem | None = None,
    segment_bytes: int = _SEGMENT_BYTES,
    lock_timeout: float = LOCK_TIMEOUT,
) -> AbstractAsyncContextManager[FileEventBus]:
    """Open the bus in a folder, or make one in an empty or missing folder; it closes with the block.

    Args:
        path: of the folder; its parent exists. A relative path is resolved by this call.
        clock: the time at which an event becomes a dead letter.
        max_deliveries: after so many an event is a dead letter, 1 or more.
        max_dead_letters: while a group has so many, no further event of it is given up: it is delivered until it is handled.
        window: how many unanswered events of a group are in memory, 1 or more, and the events of one ``publish`` more. A stream that
            has as many waiting behind one event that is out holds the group back.
        max_event_bytes: the largest event that it takes, in bytes.
        poll_interval: the longest delay until events of another process are seen, in seconds, above 0.
        file_system: the operating system's, unless given.
        segment_bytes: a new segment of the journal is begun when the current one has reached this size.
        lock_timeout: the longest wait for a lock that another process holds, in seconds, 0 or more.

    Raises:
        ValueError: a bound out of range.
        IncompatibleStoreError: the folder holds something else. Nothing was changed.
        EventBusUnavailableError: the file system refused something, or another process kept a lock.
        CorruptStoreError: the stored data contradicts itself.
    """
    if min(max_deliveries, max_dead_letters, window, max_event_bytes) < 1 or not poll_interval > 0:
        msg = "every bound of a bus must be 1 or more, and poll_interval above 0"
        raise ValueError(msg)
    check_lock_timeout(lock_timeout)
    limits = GroupLimits(max_deliveries, max_dead_letters, window)
    return opened(*_opening(path, clock, limits, max_event_bytes, poll_interval, file_system, segment_bytes, lock_timeout))


async def open_bus(place: str, clock: Clock, /) -> FileEventBus:
    """Open the bus that the URL ``file:PLACE`` names, with the bounds of :func:`open_file_event_bus`. The caller closes it."""
    open_core, make = _opening(place, clock)
    return make(await run_in_thread(open_core))


def _opening(
    path: AnyPath,
    clock: Clock,
    limits: GroupLimits = _LIMITS,
    max_event_bytes: int = 1 << 20,
    poll_interval: float = 0.05,
    file_system: FileSystem | None = None,
    segment_bytes: int = _SEGMENT_BYTES,
    lock_timeout: float = LOCK_TIMEOUT,
) -> tuple[Callable[[], FileBus], Callable[[FileBus], FileEventBus]]:
    """Return what opens the synchronous core, and what makes the bus of it."""
    capabilities = BusCapabilities(
        durable=True,
        late_subscribers="replay",
        max_deliveries=limits.max_deliveries,
        max_pending=_NO_BOUND,
        max_in_memory=limits.window,
        max_event_bytes=max_event_bytes,
        survives_fork=True,
    )
    open_core = partial(
        FileBus,
        absolute_path(path),
        file_system=OperatingSystem() if file_system is None else file_system,
        creation_id=new_creation_id(),
        limits=limits,
        segment_bytes=segment_bytes,
        lock_timeout=lock_timeout,
    )
    return open_core, partial(FileEventBus, clock=clock, capabilities=capabilities, poll_interval=poll_interval)
