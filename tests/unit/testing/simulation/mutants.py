"""Applications with one mistake each, of the kind that hosts make."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import attrs

from inventory_es.adapters.memory import MemoryCache, MemoryEventStore
from inventory_es.application.commands.group_commit import Append
from inventory_es.application.engine import Engine, EngineParts, assemble
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, EventFeed, EventStore, RecordedEvent, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.testing.simulation import Consumer, Subject
from inventory_es.testing.simulation.subject import Row


def ignores_conflicts(store: EventStore, parts: EngineParts) -> Engine:
    """Send the decided events again, to any present version."""
    engine = assemble(store, parts)
    committer = engine.handler._repository.committer
    send = committer.append

    async def stubborn(append: Append) -> None:
        await send(append)
        while isinstance(conflict := append.outcome, ConcurrencyError):
            moved = {conflict.stream: conflict.actual}
            append.writes = [attrs.evolve(one, expected_version=moved.get(one.stream, one.expected_version)) for one in append.writes]
            append.outcome = None
            append.is_taken = False
            await send(append)

    committer.append = stubborn  # type: ignore[method-assign]  # this is the mutation
    return engine


def answers_from_memory(store: EventStore, parts: EngineParts) -> Engine:
    """Trust every second time that the kept state is still the newest."""
    engine = assemble(store, parts)
    reader = engine.handler._repository.reader
    refresh, asked = reader.refresh, [0]

    async def forgetful(state: Any) -> bool:
        asked[0] += 1
        return False if asked[0] % 2 and state.inventory.version else await refresh(state)

    reader.refresh = forgetful  # type: ignore[method-assign]  # this is the mutation
    return engine


def never_looks_back(store: EventStore, parts: EngineParts) -> Engine:
    """Refuse a command without a check that it was accepted before."""
    engine = assemble(store, parts)

    async def nothing(state: object, requests: object, *, now: datetime) -> dict[Any, Any]:
        return {}

    engine.handler._repository.idempotency.find = nothing  # type: ignore[method-assign]  # this is the mutation
    return engine


class LosesAppends(MemoryEventStore):
    """A store that acknowledges every fifth append without writing it."""

    appends = 0

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        self.appends += 1
        if self.appends % 5 == 0 and len(writes) == 1:
            version = writes[0].expected_version + len(writes[0].events)
            return AppendResult(self._log.head + 1, {writes[0].stream: version})
        return await super().append(writes)


class TearsOrders(MemoryEventStore):
    """A store that writes several streams one after the other."""

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        *others, last = writes
        for write in others:
            await super().append([write])
        return await super().append([last])


class ForgetsIds(MemoryEventStore):
    """A store that takes an event id any number of times."""

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        await self.head()
        for write in writes:
            actual = self._log.version_of(write.stream)
            if actual != write.expected_version:
                raise ConcurrencyError(stream=write.stream, expected=write.expected_version, actual=actual)
        versions = {write.stream: self._log._extend(write.stream, write.events) for write in writes}
        return AppendResult(self._log.head, versions)

    async def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return []


class Skips(Consumer):
    """A consumer that trusts the bus, and misses events that were not delivered."""

    def take(self, recorded: RecordedEvent) -> bool:
        row = self.rows.setdefault(recorded.stream, Row())
        if recorded.version > row.version:
            event = self._codec.decode(recorded)
            self.rows[recorded.stream] = Row(recorded.version, event.on_hand, event.reserved)
            self.taken += 1
        return True


class CountsTwice(Consumer):
    """A consumer that takes a delivery twice."""

    def take(self, recorded: RecordedEvent) -> bool:
        row = self.rows.get(recorded.stream, Row())
        self.taken += recorded.version <= row.version
        return super().take(recorded)


class StopsShort(Consumer):
    """A consumer that reads only the first page on catching up."""

    async def catch_up(self, feed: EventFeed) -> None:
        head = await feed.head()
        page = await feed.read_all(after=self.checkpoint, limit=2)
        for recorded in page.events:
            self.take(recorded)
        self.checkpoint = max(self.checkpoint, head)


class KeepsTooLong(MemoryCache):
    """A cache that never drops an entry."""

    async def set(self, key: str, value: bytes, /, *, version: int, ttl: timedelta) -> None:
        await super().set(key, value, version=version, ttl=1_000 * ttl)


MUTANTS = {
    "a handler that ignores conflicts": (Subject(assemble=ignores_conflicts), {"P6", "P7", "P29", "SIM-1", "SIM-2"}),
    "a handler that answers from stale state": (Subject(assemble=answers_from_memory), {"SIM-2", "P21"}),
    "a handler that never looks back": (Subject(assemble=never_looks_back), {"P21", "SIM-2"}),
    "a store that loses what it acknowledged": (Subject(open_store=LosesAppends), {"SIM-1", "P21"}),
    "a store that tears orders": (Subject(open_store=TearsOrders), {"P30"}),
    "a store that forgets event ids": (Subject(open_store=ForgetsIds), {"P21", "SIM-1", "SIM-2"}),
    "a consumer that skips": (Subject(consumer=Skips), {"SIM-3"}),
    "a consumer that counts twice": (Subject(consumer=CountsTwice), {"SIM-3"}),
    "a consumer that stops short": (Subject(consumer=StopsShort), {"SIM-3", "P33"}),
    "a cache that outlives its time": (Subject(open_cache=lambda clock: KeepsTooLong(clock=clock)), {"SIM-4"}),
}
"""The mutants by name, each with the promises of which one must reject it."""
