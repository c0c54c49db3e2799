"""Stores that cases of the command side look into, hold up, and make poorer; and what opens services over them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import anyio
import attrs

from inventory_es.adapters.memory import MemoryEventLog, MemoryEventStore
from inventory_es.application.commands.handler_settings import HandlerSettings
from inventory_es.application.service import InventoryService
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId, ReservationRef
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, EventStore, NewEvent, RecordedEvent, StoreCapabilities, StreamPage, StreamWrite
from inventory_es.ports.toolkit.append_rules import check_append, check_versions
from inventory_es.ports.toolkit.waiting import STATE_LOCK, give_way
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.domain.history import check_history
from inventory_es.wiring import open_inventory

P, S = "espresso", "berlin"
SHELF = InventoryId(P, S)
OTHER = InventoryId("filter", "berlin")
Hook = Callable[[str], Awaitable[object]]


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def ref(reservation_id: str) -> ReservationRef:
    return ReservationRef(P, S, reservation_id)


def quick(**bounds: Any) -> HandlerSettings:
    """Settings that never wait between attempts."""
    return HandlerSettings(**{"first_wait": 0.0, "longest_wait": 0.0, **bounds})


async def nothing(_operation: str) -> None: ...


class WatchedStore:
    """A store whose calls are listed, and meet a hook before and after.

    Args:
        store: what is watched.
        capabilities: what is declared differently.
    """

    def __init__(self, store: EventStore, **capabilities: Any) -> None:
        self.store = store
        self.capabilities: StoreCapabilities = attrs.evolve(store.capabilities, **{"group_commit": False, **capabilities})
        self.calls: list[tuple[str, Any]] = []
        self.before: Hook = nothing
        self.after: Hook = nothing

    def count(self, operation: str) -> int:
        return sum(name == operation for name, _ in self.calls)

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        check_append(writes, self.capabilities, store="WatchedStore")
        return cast(AppendResult, await self._call("append", writes, lambda: self.store.append(writes)))

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        store: Any = self.store
        return cast(list[AppendResult | Exception], await self._call("append_group", groups, lambda: store.append_group(groups)))

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        return cast(StreamPage, await self._call("read_stream", after, lambda: self.store.read_stream(stream, after=after, limit=limit)))

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        return await self.store.read_stream_backwards(stream, before=before, limit=limit)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        found = await self._call("find_events", event_ids, lambda: self.store.find_events(stream, event_ids))
        return cast(list[RecordedEvent], found)

    async def aclose(self) -> None:
        await self.store.aclose()

    async def _call(self, operation: str, about: Any, call: Callable[[], Awaitable[Any]]) -> Any:
        self.calls.append((operation, about))
        await self.before(operation)
        answer = await call()
        await self.after(operation)
        return answer


class PlainStore:
    """A host's own store of the poorest kind: no feed, no group commit, event ids known only at the versions that an append expects.

    Args:
        streams: the data, shared with other instances.
        multi_stream: whether one append may write to several streams.
    """

    def __init__(self, streams: dict[StreamId, list[RecordedEvent]] | None = None, *, multi_stream: bool = False) -> None:
        self.streams: dict[StreamId, list[RecordedEvent]] = {} if streams is None else streams
        self.capabilities = StoreCapabilities(multi_stream=multi_stream, settles_within=0.0)

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        await give_way()
        check_append(writes, self.capabilities, store="PlainStore")
        with STATE_LOCK:
            return self._append(writes)

    def _append(self, writes: Sequence[StreamWrite]) -> AppendResult:
        head = sum(map(len, self.streams.values()))
        earlier = [self.streams.get(one.stream, [])[one.expected_version :][: len(one.events)] for one in writes]
        if all([had.event_id for had in there] == [new.event_id for new in one.events] for one, there in zip(writes, earlier, strict=True)):
            return AppendResult(head, {one.stream: one.expected_version + len(one.events) for one in writes}, replayed=True)
        check_versions(writes, lambda stream: len(self.streams.get(stream, ())))
        for one in writes:
            there = self.streams.setdefault(one.stream, [])
            for new in one.events:
                head += 1
                there.append(_recorded(one.stream, len(there) + 1, head, new))
        return AppendResult(head, {one.stream: len(self.streams[one.stream]) for one in writes})

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        await give_way()
        events = self.streams.get(stream, [])
        page = events[after : after + limit]
        return StreamPage(page, len(events), is_end=after + len(page) >= len(events))

    async def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        await give_way()
        events = self.streams.get(stream, [])[: None if before is None else before - 1]
        return StreamPage(events[::-1][:limit], len(self.streams.get(stream, [])), is_end=len(events) <= limit)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        await give_way()
        return [one for one in self.streams.get(stream, []) if one.event_id in event_ids]

    async def aclose(self) -> None: ...


def _recorded(stream: StreamId, version: int, position: int, new: NewEvent) -> RecordedEvent:
    return RecordedEvent(
        stream, version, position, new.event_id, new.event_type, new.schema_version, new.recorded_at, new.data, new.metadata
    )


class Gate:
    """A hook that holds the first call of an operation until it is opened, so that callers meet behind it.

    Args:
        operation: which calls to hold.
        number: which one of them, counted from 1.
    """

    def __init__(self, operation: str = "append", number: int = 1) -> None:
        self._operation = operation
        self._left = number
        self.reached = anyio.Event()
        self.opened = anyio.Event()

    async def __call__(self, operation: str) -> None:
        if operation != self._operation:
            return
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            await self.opened.wait()


@attrs.define
class Heap:
    """What several services share, and how each is opened.

    Attributes:
        log: the data.
        clock: the time of all of them.
    """

    log: MemoryEventLog = attrs.field(factory=MemoryEventLog)
    clock: ManualClock = attrs.field(factory=ManualClock)

    def store(self, **capabilities: Any) -> WatchedStore:
        return WatchedStore(MemoryEventStore(self.log), **capabilities)

    def open(self, store: Any = None, **parts: Any) -> Any:
        """A service over ``store``, or over one of its own; not typed, since cases look into whatever it answers."""
        given = self.store() if store is None else store
        return open_inventory(given, clock=self.clock, **{"settings": quick(), **parts})


@asynccontextmanager
async def opened(*services: InventoryService) -> AsyncIterator[None]:
    """All of them, and no lane of any is left in the end."""
    for service in services:
        await service.__aenter__()
    yield
    for service in services:
        assert open_lanes(service) == 0
        await service.aclose()


def open_lanes(service: InventoryService) -> int:
    return len(service._opening.engine.handler._lanes)


async def history(service: InventoryService, inventory: InventoryId = SHELF) -> list[Recorded]:
    """The checked history of one inventory."""
    entries = [
        Recorded(entry.event, entry.version, entry.recorded_at) async for entry in service.history(inventory.product_id, inventory.store_id)
    ]
    check_history(entries)
    return entries


async def figures(service: InventoryService, inventory: InventoryId = SHELF) -> tuple[int, int, int]:
    """On hand, reserved, version."""
    level = await service.stock(inventory.product_id, inventory.store_id)
    return level.on_hand, level.reserved, level.version


async def outcome_of(call: Awaitable[Any]) -> Any:
    """What it returns, or the error that it raises."""
    try:
        return await call
    except Exception as error:  # noqa: BLE001  # the case looks at it
        return error


async def together(*calls: Awaitable[Any]) -> list[Any]:
    """The outcomes of all, sent in this order, at once."""
    outcomes: list[Any] = [None] * len(calls)

    async def one(number: int, call: Awaitable[Any]) -> None:
        outcomes[number] = await outcome_of(call)

    async with anyio.create_task_group() as tasks:
        for number, call in enumerate(calls):
            tasks.start_soon(one, number, call)
            await turns(1)
    return outcomes


async def behind(gate: Gate, first: Awaitable[Any], *others: Awaitable[Any]) -> list[Any]:
    """The outcomes of all, where the others come while ``first`` is held: they are decided together."""
    outcomes: list[Any] = []

    async def fill() -> None:
        outcomes.extend(await together(first, *others))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(fill)
        await gate.reached.wait()
        await turns(2 * len(others) + 5)
        gate.opened.set()
    return outcomes


async def turns(number: int) -> None:
    """Let the others run."""
    for _ in range(number):
        await give_way()
