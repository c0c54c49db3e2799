"""The reference event bus, in memory."""

from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self
from uuid import UUID

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.adapters.memory.bus_group import MemoryBusGroup
from inventory_es.adapters.memory.bus_subscription import NAME, MemorySubscription
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.clock import Clock
from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError
from inventory_es.ports.event_bus import BusCapabilities, DeadLetter
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.append_rules import check_page
from inventory_es.ports.toolkit.delivery_rules import GroupFilter, check_events, check_group


class MemoryEventBus:
    """An :class:`~inventory_es.ports.EventBus` in memory: **the reference** of its port.

    A group exists from its first subscription until it is forgotten; what is published while it has no consumer waits for it.
    It sees what is published from then on. Nothing survives the process.

    Args:
        clock: when a dead letter became one.
        max_deliveries: after so many an event is a dead letter, 1 or more.
        max_pending: while a group has so many unanswered events, ``publish`` waits, 1 or more.
        max_dead_letters: while a group has so many, no further event of it is given up: it is delivered until it is handled.
        max_event_bytes: the largest event that it takes, in bytes.
        publish_timeout: the longest that ``publish`` waits for room, in seconds; then it is ``EventBusUnavailableError``.

    Raises:
        ValueError: a bound below 1.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        max_deliveries: int = 5,
        max_pending: int = 10_000,
        max_dead_letters: int = 10_000,
        max_event_bytes: int = 1 << 20,
        publish_timeout: float = 30.0,
    ) -> None:
        if min(max_deliveries, max_pending, max_dead_letters, max_event_bytes) < 1:
            msg = "every bound of a bus must be 1 or more"
            raise ValueError(msg)
        self._clock = clock
        self._capabilities = BusCapabilities(max_deliveries=max_deliveries, max_pending=max_pending, max_event_bytes=max_event_bytes)
        self._max_dead_letters = max_dead_letters
        self._publish_timeout = publish_timeout
        self._groups: dict[str, MemoryBusGroup] = {}
        self._publishing = anyio.Lock()
        self._is_closed = False

    @property
    def capabilities(self) -> BusCapabilities:
        """What this bus promises, constant for its lifetime."""
        return self._capabilities

    async def publish(self, events: Sequence[RecordedEvent], /) -> None:
        """Hand events to every group, one after the other. See :meth:`inventory_es.ports.EventBus.publish`.

        Cancelled or timed out while it waits for room, it has published the first of them: publish all again.

        Raises:
            EventBusUnavailableError: a group has had no room for longer than the timeout.
        """
        await self._begin()
        check_events(events, max_event_bytes=self._capabilities.max_event_bytes)
        waiting = tuple(events)
        with anyio.move_on_after(self._publish_timeout) as scope:
            async with self._publishing:
                for event in waiting:
                    await self._publish(event)
        if scope.cancelled_caught:
            raise EventBusUnavailableError(bus=NAME, reason=f"no room within {self._publish_timeout:g} s in the groups {self._full()}")

    @asynccontextmanager
    async def subscribe(
        self,
        group: str,
        /,
        *,
        types: Collection[str] | None = None,
        streams: Collection[StreamId] | None = None,
    ) -> AsyncGenerator[MemorySubscription, None]:
        """Join ``group`` as one consumer. See :meth:`inventory_es.ports.EventBus.subscribe`.

        The filter is the group's: all its consumers name the same one. The first consumer of a group that had none may bring
        another; what waits and does not pass it is dropped.

        Raises:
            ValueError: a name that is none, or the group has consumers with another filter.
        """
        check_group(group)
        wanted = GroupFilter.of(types, streams)
        await self._begin()
        joined = self._groups.get(group)
        if joined is None:
            joined = self._groups[group] = MemoryBusGroup(group, wanted, self._capabilities.max_deliveries, self._max_dead_letters)
        joined.join(wanted)
        subscription = MemorySubscription(joined, self._clock, self._check_open)
        try:
            yield subscription
        finally:
            subscription.leave()

    async def dead_letters(self, group: str, /, *, limit: int = 100) -> Sequence[DeadLetter]:
        """The oldest ``limit`` dead letters of a group, 1 or more."""
        check_group(group)
        check_page(limit=limit)
        await self._begin()
        known = self._groups.get(group)
        return [] if known is None else known.letters[:limit]

    async def redeliver(self, group: str, event_ids: Collection[UUID], /) -> int:
        """Deliver dead letters again, with fresh attempts; how many there were."""
        check_group(group)
        await self._begin()
        known = self._groups.get(group)
        return 0 if known is None else known.redeliver(frozenset(event_ids))

    async def forget_group(self, group: str, /) -> None:
        """Drop a group that nobody will join again, with all that waits for it. A missing one is fine.

        Raises:
            ValueError: it has consumers.
        """
        check_group(group)
        await self._begin()
        known = self._groups.get(group)
        if known is not None and known.consumers:
            msg = f"group {group!r} has consumers: end their subscriptions first"
            raise ValueError(msg)
        self._groups.pop(group, None)
        if known is not None:
            known.notify()

    async def aclose(self) -> None:
        """End every subscription and refuse every further call. Closing twice is fine."""
        self._is_closed = True
        for group in self._groups.values():
            group.notify()
        await checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def _publish(self, event: RecordedEvent) -> None:
        while True:
            self._check_open()
            full = next((each for each in self._groups.values() if each.filter.takes(event) and self._is_full(each)), None)
            if full is None:
                break
            await full.wait()
        for group in self._groups.values():
            group.offer(event)

    def _is_full(self, group: MemoryBusGroup) -> bool:
        return len(group) >= self._capabilities.max_pending

    def _full(self) -> str:
        return ", ".join(repr(group.name) for group in self._groups.values() if self._is_full(group)) or "that were full"

    async def _begin(self) -> None:
        self._check_open()
        await checkpoint()
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreClosedError(store=NAME)
