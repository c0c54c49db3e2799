"""One group of a memory event bus: what it has not answered, what it gave up, and who waits for either. Synchronous."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import anyio
import attrs

from inventory_es.ports.event_bus import DeadLetter
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.delivery_rules import DeliveryQueue, GroupFilter, QueuedEvent


@attrs.define(eq=False)
class MemoryBusGroup:
    """The state of a group, which outlives its consumers.

    Attributes:
        name: of the group.
        filter: what it takes.
        max_deliveries: after so many, an event is given up.
        max_dead_letters: while there are so many, no event is given up.
    """

    name: str
    filter: GroupFilter
    max_deliveries: int
    max_dead_letters: int
    consumers: int = 0
    letters: list[DeadLetter] = attrs.field(factory=list[DeadLetter])
    _queue: DeliveryQueue = attrs.field(factory=DeliveryQueue)
    _change: anyio.Event = attrs.field(factory=anyio.Event)

    def __len__(self) -> int:
        """Events that are unanswered, dead letters not among them."""
        return len(self._queue)

    def join(self, wanted: GroupFilter) -> None:
        """One consumer more. The first one of a group that had none may bring another filter.

        Raises:
            ValueError: the group has consumers with another filter.
        """
        if wanted != self.filter:
            if self.consumers:
                msg = f"group {self.name!r} has consumers with another filter: a group has one filter, name another group"
                raise ValueError(msg)
            self.filter = wanted
            self._queue.drop(lambda event: not wanted.takes(event))
        self.consumers += 1

    def offer(self, event: RecordedEvent) -> None:
        """Queue an event if the filter takes it."""
        if self.filter.takes(event):
            self._queue.offer(QueuedEvent(event))
            self.notify()

    def take(self) -> QueuedEvent | None:
        """The next event, if one is ready."""
        return self._queue.take()

    def settle(self, event: QueuedEvent) -> None:
        """It was acknowledged."""
        self._queue.settle(event)
        self.notify()

    def fail(self, event: QueuedEvent, reason: str, now: datetime) -> None:
        """It was refused: again later, or given up."""
        if not self._give_up(event, reason, now):
            self._queue.put_behind(event)
        self.notify()

    def put_back(self, event: QueuedEvent, now: datetime) -> None:
        """Its consumer left without an answer: again next, or given up."""
        if not self._give_up(event, "its consumer left without an answer", now):
            self._queue.put_back(event)
        self.notify()

    def redeliver(self, event_ids: Collection[UUID]) -> int:
        """Queue dead letters again; how many there were."""
        chosen = [letter for letter in self.letters if letter.event.event_id in event_ids]
        self.letters = [letter for letter in self.letters if letter.event.event_id not in event_ids]
        for letter in reversed(chosen):
            self._queue.offer_again(QueuedEvent(letter.event))
        self.notify()
        return len(chosen)

    async def wait(self) -> None:
        """Wait until something changes."""
        await self._change.wait()

    def notify(self) -> None:
        """Wake everybody who waits."""
        changed, self._change = self._change, anyio.Event()
        changed.set()

    def _give_up(self, event: QueuedEvent, reason: str, now: datetime) -> bool:
        if event.deliveries < self.max_deliveries or len(self.letters) >= self.max_dead_letters:
            return False
        self._queue.settle(event)
        self.letters.append(DeadLetter(event.event, reason, event.deliveries, now))
        return True
