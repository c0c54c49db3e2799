"""The file event bus for an event loop: a thin layer over :class:`~inventory_es.adapters.file.bus.file_bus.FileBus`."""

from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from uuid import UUID

import anyio

from inventory_es.adapters.file.bus.file_bus import FileBus
from inventory_es.adapters.file.bus.group import GroupLimits
from inventory_es.adapters.file.bus.subscription import BusChanges, FileSubscription
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, check_lock_timeout
from inventory_es.adapters.file.operating_system import OperatingSystem, new_creation_id
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError
from inventory_es.ports.event_bus import BusCapabilities, DeadLetter, EventBus
from inventory_es.ports.file_system import FileSystem
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.append_rules import check_page
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, run_in_thread
from inventory_es.ports.toolkit.delivery_rules import GroupFilter, check_events, check_group
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path

_MAX_CALLS = 8
_SEGMENT_BYTES = 64 << 20
_NO_BOUND = (1 << 63) - 1


class FileEventBus(EventBus):
    """An event bus in a folder, for Linux and macOS. Opened by :func:`open_file_event_bus`.

    What was published survives a power cut, in a journal that is kept: a new group gets everything from the beginning, and a group that
    comes back goes on where it answered last. So ``publish`` never waits for a slow group (its backlog stands on the disk); what is in
    memory of each group is bounded by a window.

    Any number of processes on one machine may publish; each group is consumed by one of them at a time, and the others are told so by
    ``EventBusUnavailableError``. An acknowledgement survives the process; a power cut may take the last of them back, and then the
    events are delivered again. An event whose consumers die with it is given up like one that they refuse.
    """

    def __init__(self, engine: FileBus, *, clock: Clock, capabilities: BusCapabilities, poll_interval: float) -> None:
        self._engine = engine
        self._clock = clock
        self._capabilities = capabilities
        self._poll_interval = poll_interval
        self._changes = BusChanges()
        self._calls = BlockingCalls(anyio.CapacityLimiter(_MAX_CALLS), name=engine.name)
        self._publishing = anyio.Lock()
        self._kept_out = 0

    @property
    def capabilities(self) -> BusCapabilities:
        """What this bus promises, constant for its lifetime."""
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
            if self._kept_out != kept_out:  # the lock was waited for in vain meanwhile: once is enough
                raise EventBusUnavailableError(bus=self._engine.name, reason="another process kept its lock")
            try:
                await self._calls.run(self._engine.publish, given)
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
    ) -> AsyncGenerator[FileSubscription, None]:
        """Join ``group`` as one consumer. See :meth:`inventory_es.ports.EventBus.subscribe`.

        The filter is the group's: all its consumers name the same one. A group that has no consumer may come back with another; it
        holds for what was not delivered before.

        Raises:
            ValueError: a name that is none, or the group has consumers with another filter.
            EventBusUnavailableError: another process has the consumers of this group.
        """
        check_group(group)
        joined, consumer = await self._calls.run(self._engine.join, group, GroupFilter.of(types, streams))
        subscription = FileSubscription(self._engine, self._calls, self._changes, self._clock, self._poll_interval, joined, consumer)
        try:
            yield subscription
        finally:
            subscription.leave()
            with anyio.CancelScope(shield=True), suppress(StoreClosedError):  # a bus that was closed let go of everything
                await self._calls.run(self._engine.leave, group, consumer, self._clock.now())
            self._changes.notify()

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        """The oldest ``limit`` dead letters of a group, 1 or more."""
        check_group(group)
        check_page(limit=limit)
        return await self._calls.run(self._engine.dead_letters, group, limit=limit)

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        """Deliver dead letters again, with fresh attempts; how many there were. Whatever process has the group's consumers."""
        check_group(group)
        count = await self._calls.run(self._engine.redeliver, group, frozenset(event_ids))
        self._changes.notify()
        return count

    async def aclose(self) -> None:
        """End every subscription, finish what is in flight, release the folder. Closing twice is fine."""
        self._calls.refuse()
        self._changes.notify()
        await self._calls.close(self._engine.close)


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
        clock: when a dead letter became one.
        max_deliveries: after so many an event is a dead letter, 1 or more.
        max_dead_letters: while a group has so many, no further event of it is given up: it is delivered until it is handled.
        window: how many unanswered events of a group are in memory, 1 or more, and the events of one ``publish`` more. A stream that
            has as many waiting behind one event that is out holds the group back.
        max_event_bytes: the largest event that it takes, in bytes.
        poll_interval: how soon what another process published is seen, in seconds, above 0.
        file_system: the operating system's, unless given.
        segment_bytes: a new segment of the journal is begun when the current one has reached this size.
        lock_timeout: the longest wait for a lock that another process holds, in seconds, 0 or more.

    Raises:
        ValueError: a bound that can't be.
        IncompatibleStoreError: the folder holds something else. Nothing was changed.
        EventBusUnavailableError: the file system refused something, or another process kept a lock.
        CorruptStoreError: what is stored contradicts itself.
    """
    if min(max_deliveries, max_dead_letters, window, max_event_bytes) < 1 or not poll_interval > 0:
        msg = "every bound of a bus must be 1 or more, and poll_interval above 0"
        raise ValueError(msg)
    check_lock_timeout(lock_timeout)
    capabilities = BusCapabilities(
        durable=True,
        late_subscribers="replay",
        max_deliveries=max_deliveries,
        max_pending=_NO_BOUND,
        max_in_memory=window,
        max_event_bytes=max_event_bytes,
        survives_fork=True,
    )
    open_engine = partial(
        FileBus.open,
        absolute_path(path),
        file_system=OperatingSystem() if file_system is None else file_system,
        creation_id=new_creation_id(),
        limits=GroupLimits(max_deliveries, max_dead_letters, window),
        segment_bytes=segment_bytes,
        lock_timeout=lock_timeout,
    )
    return _opened(open_engine, partial(FileEventBus, clock=clock, capabilities=capabilities, poll_interval=poll_interval))


@asynccontextmanager
async def _opened(open_engine: Callable[[], FileBus], make: Callable[[FileBus], FileEventBus]) -> AsyncGenerator[FileEventBus, None]:
    bus = make(await run_in_thread(open_engine))
    try:
        yield bus
    finally:
        await bus.aclose()
