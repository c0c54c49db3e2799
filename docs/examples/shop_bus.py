"""An event bus in a SQLite file, for the consumers of one process. Published events survive a restart."""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Self, TypeVar
from uuid import UUID

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.errors import EventBusUnavailableError, StoreClosedError
from inventory_es.ports import BusCapabilities, Clock, DeadLetter, RecordedEvent
from inventory_es.ports.toolkit.append_rules import check_page
from inventory_es.ports.toolkit.blocking_calls import BlockingCalls, to_its_end
from inventory_es.ports.toolkit.delivery_rules import (
    DeliveryQueue,
    GroupFilter,
    QueuedEvent,
    check_events,
    check_group,
)

Answer = TypeVar("Answer")
EVENT = "stream, version, position, event_id, event_type, schema_version, recorded_at, data, metadata"
# A commit survives the end of the process. With FULL it survives a power cut, for one sync of the disk each.
PRAGMAS = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"
PLACE = "number INTEGER PRIMARY KEY, deliveries INTEGER, name TEXT"
TABLES = f"""
CREATE TABLE IF NOT EXISTS groups (name TEXT PRIMARY KEY, types TEXT, streams TEXT);
CREATE TABLE IF NOT EXISTS unanswered ({PLACE}, {EVENT});
CREATE TABLE IF NOT EXISTS dead ({PLACE}, {EVENT}, reason TEXT, since TEXT);
"""


class Group:
    """The unanswered events of a group. The queue is in memory; its events are also in the file."""

    def __init__(self, name: str, wanted: GroupFilter) -> None:
        self.name = name
        self.wanted = wanted
        self.queue = DeliveryQueue()


class ShopBus:
    """An EventBus."""

    def __init__(self, path: Path, *, clock: Clock, max_deliveries: int = 5, max_pending: int = 10_000) -> None:
        self.capabilities = BusCapabilities(
            durable=True, max_deliveries=max_deliveries, max_pending=max_pending
        )
        self.clock = clock
        self.groups: dict[str, Group] = {}
        self._calls = BlockingCalls(None, name="ShopBus")
        self._publishing = anyio.Lock()
        self._change = anyio.Event()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(f"{PRAGMAS}; {TABLES}")
        for name, types, streams in self._db.execute("SELECT * FROM groups"):
            self.groups[name] = Group(name, filter_of(types, streams))
        for number, deliveries, name, *event in self._db.execute("SELECT * FROM unanswered ORDER BY number"):
            self.groups[name].queue.offer(QueuedEvent(event_of(*event), deliveries, number))

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        self.check_open()
        check_events(events, max_event_bytes=self.capabilities.max_event_bytes)
        async with self._publishing:
            left = list(events)
            while left:
                taken = await self._publish(left)
                del left[:taken]
                self.notify()

    @asynccontextmanager
    async def subscribe(
        self,
        group: str,
        /,
        *,
        types: Collection[str] | None = None,
        streams: Collection[StreamId] | None = None,
    ) -> AsyncIterator["Consumer"]:
        check_group(group)
        wanted = GroupFilter.of(types, streams)
        self.check_open()
        if group not in self.groups:
            await self.transact(lambda: self._add_group(group, wanted))
            self.groups.setdefault(group, Group(group, wanted))
        if self.groups[group].wanted != wanted:
            msg = f"group {group!r} has another filter: name another group"
            raise ValueError(msg)
        consumer = Consumer(self, self.groups[group])
        try:
            yield consumer
        finally:
            with anyio.CancelScope(shield=True):
                await to_its_end(consumer.leave)

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        check_group(group)
        check_page(limit=limit)
        return await self.transact(lambda: self._letters(group)[:limit])

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        check_group(group)
        again = await self.transact(lambda: self._revive(group, {str(event_id) for event_id in event_ids}))
        for queued in again:
            self.groups[group].queue.offer_again(queued)
        self.notify()
        return len(again)

    async def aclose(self) -> None:
        self._calls.refuse()
        self.notify()
        await self._calls.close(self._db.close)

    def check_open(self) -> None:
        if not self._calls.is_open:
            raise StoreClosedError(store="ShopBus")

    def notify(self) -> None:
        """Wake every caller that waits for room or for an event."""
        self._change.set()
        self._change = anyio.Event()

    async def wait(self) -> None:
        self.check_open()
        await self._change.wait()
        self.check_open()

    async def transact(self, work: Callable[[], Answer]) -> Answer:
        def run() -> Answer:
            with self._db:  # commits at the end, rolls back after an error
                self._db.execute("BEGIN IMMEDIATE")
                return work()

        try:
            return await self._calls.run(run)
        except sqlite3.Error as error:
            raise EventBusUnavailableError(bus="ShopBus", reason=type(error).__name__) from error

    async def count(self, queued: QueuedEvent) -> None:
        update = "UPDATE unanswered SET deliveries = ? WHERE number = ?"
        await self.transact(lambda: self._db.execute(update, (queued.deliveries, queued.number)).close())

    async def _publish(self, events: Sequence[RecordedEvent]) -> int:
        """Publish the first events, as many as every interested group has room for."""
        while (room := self._room(events[0])) < 1:
            await self.wait()
        groups, first = list(self.groups.values()), events[:room]
        added = await self.transact(
            lambda: [self._insert(group, e) for e in first for group in groups if group.wanted.takes(e)]
        )
        for group, queued in added:
            group.queue.offer(queued)
        return len(first)

    def _room(self, event: RecordedEvent) -> int:
        most = self.capabilities.max_pending
        full = any(len(group.queue) >= most and group.wanted.takes(event) for group in self.groups.values())
        return (
            0 if full else max(1, most - max((len(group.queue) for group in self.groups.values()), default=0))
        )

    def _insert(self, group: Group, event: RecordedEvent) -> tuple[Group, QueuedEvent]:
        row = (group.name, *row_of(event))
        insert = "INSERT INTO unanswered VALUES (NULL, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        return group, QueuedEvent(event, number=self._db.execute(insert, row).lastrowid or 0)

    def _add_group(self, name: str, wanted: GroupFilter) -> None:
        types = None if wanted.types is None else json.dumps(sorted(wanted.types))
        streams = None if wanted.streams is None else json.dumps(sorted(map(str, wanted.streams)))
        self._db.execute("INSERT OR IGNORE INTO groups VALUES (?, ?, ?)", (name, types, streams))

    def _letters(self, name: str) -> list[DeadLetter]:
        rows = self._db.execute("SELECT * FROM dead WHERE name = ? ORDER BY number", (name,))
        return [
            DeadLetter(event_of(*event), reason, deliveries, datetime.fromisoformat(since))
            for _, deliveries, _, *event, reason, since in rows
        ]

    def _revive(self, name: str, event_ids: Collection[str]) -> list[QueuedEvent]:
        """Put dead letters before the waiting events, the newest first, so that the oldest comes out first."""
        rows = self._db.execute("SELECT * FROM dead WHERE name = ? ORDER BY number DESC", (name,)).fetchall()
        revived = []
        for number, _, _, *event, _, _ in rows:
            if event[3] in event_ids:
                first = "(SELECT coalesce(min(number), 0) - 1 FROM unanswered)"
                insert = f"INSERT INTO unanswered VALUES ({first}, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                place = self._db.execute(insert, (name, *event)).lastrowid or 0
                self._db.execute("DELETE FROM dead WHERE number = ?", (number,))
                revived.append(QueuedEvent(event_of(*event), number=place))
        return revived

    def remove(self, number: int, reason: str | None) -> None:
        """Forget an event that was acknowledged; with a reason, make it a dead letter."""
        if reason is not None:
            row = f"NULL, deliveries, name, {EVENT}, ?, ?"
            values = (reason, self.clock.now().isoformat(), number)
            self._db.execute(f"INSERT INTO dead SELECT {row} FROM unanswered WHERE number = ?", values)
        self._db.execute("DELETE FROM unanswered WHERE number = ?", (number,))


class Consumer:
    """A BusSubscription."""

    def __init__(self, bus: ShopBus, group: Group) -> None:
        self.bus = bus
        self.group = group
        self.out: set[ShopDelivery] = set()
        self.has_left = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "ShopDelivery":
        await checkpoint()
        while True:
            self.check()
            if (queued := self.group.queue.take()) is None:
                await self.bus.wait()
                continue
            delivery = ShopDelivery(self, queued)
            try:
                # counted before the delivery, so that an event that kills its consumer has an end
                await self.bus.count(queued)
            except BaseException:
                queued.deliveries -= 1
                self.group.queue.put_back(queued)
                self.bus.notify()
                raise
            self.out.add(delivery)
            return delivery

    def check(self) -> None:
        self.bus.check_open()
        if self.has_left:
            raise StoreClosedError(store="ShopBus", reason="this consumer has left its group")

    async def leave(self) -> None:
        """Return an unanswered delivery to the queue. It counts as delivered."""
        self.has_left = True
        for delivery in list(self.out):
            try:
                await delivery.answer("its consumer left without an answer")
            except (StoreClosedError, EventBusUnavailableError):
                self.group.queue.put_back(delivery.queued)
        self.bus.notify()


class ShopDelivery:
    """A Delivery. The first answer counts."""

    def __init__(self, consumer: Consumer, queued: QueuedEvent) -> None:
        self.event = queued.event
        self.attempt = queued.deliveries
        self.queued = queued
        self._consumer = consumer

    async def ack(self) -> None:
        self._consumer.check()
        await self.answer(None)

    async def nack(self, reason: str, /) -> None:
        self._consumer.check()
        await self.answer(reason)

    async def answer(self, reason: str | None) -> None:
        await checkpoint()
        bus, queue, number = self._consumer.bus, self._consumer.group.queue, self.queued.number
        if self not in self._consumer.out:
            return
        self._consumer.out.remove(self)
        is_over = reason is None or self.attempt >= bus.capabilities.max_deliveries
        try:
            if is_over:
                await bus.transact(lambda: bus.remove(number, reason))
        except BaseException:
            self._consumer.out.add(self)
            raise
        (queue.settle if is_over else queue.put_behind)(self.queued)
        bus.notify()


def filter_of(types: str | None, streams: str | None) -> GroupFilter:
    names = None if streams is None else [StreamId.parse(name) for name in json.loads(streams)]
    return GroupFilter.of(None if types is None else json.loads(types), names)


def row_of(event: RecordedEvent) -> tuple[object, ...]:
    place = (str(event.stream), event.version, event.position, str(event.event_id))
    kind = (event.event_type, event.schema_version, event.recorded_at.isoformat())
    return (*place, *kind, event.data, event.metadata)


def event_of(
    stream: str, version: int, position: int, uid: str, kind: str, schema: int, when: str, *payload: bytes
) -> RecordedEvent:
    place = (StreamId.parse(stream), version, position, UUID(uid))
    return RecordedEvent(*place, kind, schema, datetime.fromisoformat(when), *payload)
