"""One group of a file bus, in the process that has its consumers: what was loaded, who has what, and what is remembered on disk.

Events are loaded from the journal in their order, until a window of unanswered ones is full. With every delivery and every answer the
cursor is written. Whoever takes the group over after a crash loads the same events again, but for those that were answered.
"""

from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import count, takewhile
from threading import Lock
from uuid import UUID

import attrs

from inventory_es.adapters.file.bus.cursor import BusCursor, CursorState
from inventory_es.adapters.file.bus.dead_letters import BusDeadLetters
from inventory_es.adapters.file.bus.line import decode_line
from inventory_es.adapters.file.journal.journal import Journal, UncertainWriteError
from inventory_es.adapters.file.journal.stored_form import JournalTail, Line
from inventory_es.adapters.file.locks import LockWait
from inventory_es.adapters.file.stored_event import StoredEvent
from inventory_es.ports.event_bus import DeadLetter
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.delivery_rules import DeliveryQueue, GroupFilter, QueuedEvent

_UNSAVED_EVENTS = 1_000
_NO_ANSWER = "its consumer left without an answer"


@attrs.frozen
class GroupLimits:
    """Bounds of every group of a bus.

    Attributes:
        max_deliveries: after so many, an event is given up.
        max_dead_letters: while there are so many, no event is given up.
        window: how many unanswered events are in memory, about.
    """

    max_deliveries: int
    max_dead_letters: int
    window: int


@attrs.define(eq=False)
class BusConsumer:
    """What is out with one consumer, by ticket; and what was taken for it while it was cancelled.

    Attributes:
        is_cancelled: whether its last receive was cancelled. What is ready for it goes to whoever asks next.
    """

    out: dict[int, QueuedEvent] = attrs.field(factory=dict[int, QueuedEvent])
    ready: deque[tuple[int, QueuedEvent]] = attrs.field(factory=deque[tuple[int, QueuedEvent]])
    is_cancelled: bool = False


class FileBusGroup:
    """The consuming side of a group. Any number of threads may call at once.

    Args:
        journal: of published events.
        cursor: where the group stands.
        letters: its dead letters.
        wanted: what it takes.
        limits: its bounds.
        wait: for the lock of the letters, which a caller may have to wait for.
    """

    def __init__(
        self, journal: Journal, cursor: BusCursor, letters: BusDeadLetters, wanted: GroupFilter, limits: GroupLimits, wait: LockWait
    ) -> None:
        self.filter = wanted
        self._journal = journal
        self._cursor = cursor
        self._letters = letters
        self._limits = limits
        self._wait = wait
        self._mutex = Lock()
        self._queue = DeliveryQueue()
        self._tickets = count()
        self._consumers: set[BusConsumer] = set()
        state = cursor.state if cursor.state is not None else CursorState(journal.start, 0, {})
        self._known = state
        self._saved = state
        self._through = state.through
        self._scanned = state.place
        self._lines: deque[JournalTail] = deque([state.place])
        self._unanswered: dict[int, QueuedEvent] = {}
        self._revived: dict[int, QueuedEvent] = {}
        self._deliveries_before = dict(state.revived)

    def join(self) -> BusConsumer:
        """One consumer more."""
        consumer = BusConsumer()
        with self._mutex:
            self._consumers.add(consumer)
        return consumer

    @property
    def has_consumers(self) -> bool:
        """Whether anybody is in it."""
        return bool(self._consumers)

    def take(self, consumer: BusConsumer, now: datetime) -> None:
        """Put the next event into ``consumer.ready``, if there is one and none stands there."""
        with self._wait.in_turn(self._mutex):
            if consumer.ready:
                return
            self._take_back()
            self._revive()
            self._load(now)
            queued = self._queue.take()
            if queued is None:
                return
            try:
                self._through = max(self._through, queued.number)
                self._save()
            except OSError:
                queued.deliveries -= 1
                self._queue.put_back(queued)
                raise
            ticket = next(self._tickets)
            consumer.out[ticket] = queued
            consumer.ready.append((ticket, queued))

    def settle(self, consumer: BusConsumer, ticket: int) -> None:
        """It was acknowledged; a second answer changes nothing."""
        with self._wait.in_turn(self._mutex):
            queued = consumer.out.get(ticket)
            if queued is not None:
                if self._letters.knows(queued.number):
                    self._letters.done(queued.number)
                del consumer.out[ticket]
                self._forget(queued)
                self._save()

    def fail(self, consumer: BusConsumer, ticket: int, reason: str, now: datetime) -> None:
        """It was refused: again later, or given up."""
        with self._wait.in_turn(self._mutex):
            queued = consumer.out.get(ticket)
            if queued is not None:
                if self._is_spent(queued):
                    self._give_up(queued, reason, now)
                else:
                    self._queue.put_behind(queued)
                del consumer.out[ticket]
                self._save()

    def leave(self, consumer: BusConsumer, now: datetime) -> None:
        """Give back what is out with a consumer, or give it up; what can't be given up now is delivered once more."""
        with self._mutex:
            self._consumers.discard(consumer)
            problem: Exception | None = None
            self._put_back_ready(consumer)
            while consumer.out:
                _, queued = consumer.out.popitem()
                if self._is_spent(queued):
                    try:
                        self._give_up(queued, _NO_ANSWER, now)
                    except (OSError, UncertainWriteError) as refused:
                        problem = refused
                    else:
                        continue
                self._queue.put_back(queued)
            self._save()
            if problem is not None:
                raise problem

    def dead_letters(self) -> list[DeadLetter]:
        """Its dead letters, the oldest first."""
        with self._wait.in_turn(self._mutex):
            self._letters.follow()
            return list(self._letters.letters.values())

    def redeliver(self, event_ids: Collection[UUID]) -> int:
        """Dead letters with these event ids are delivered again; how many there were."""
        with self._wait.in_turn(self._mutex):
            return self._letters.redeliver(event_ids)

    def close(self) -> None:
        """Make the cursor durable and release it. What is out is delivered again by whoever takes the group over."""
        with self._mutex:
            try:
                self._cursor.settle()
            finally:
                self._cursor.close()
                self._letters.close()

    def _is_spent(self, queued: QueuedEvent) -> bool:
        return queued.deliveries >= self._limits.max_deliveries and len(self._letters.letters) < self._limits.max_dead_letters

    def _give_up(self, queued: QueuedEvent, reason: str, now: datetime) -> None:
        said = reason.encode("utf-8", "backslashreplace").decode()  # a lone surrogate has no UTF-8
        self._letters.bury(queued.number, DeadLetter(queued.event, said, queued.deliveries, now))
        self._forget(queued)

    def _forget(self, queued: QueuedEvent) -> None:
        self._queue.settle(queued)
        self._unanswered.pop(queued.number, None)
        self._revived.pop(queued.number, None)

    def _take_back(self) -> None:
        """Queue again what is ready for consumers whose receive was cancelled."""
        for consumer in self._consumers:
            if consumer.is_cancelled:
                self._put_back_ready(consumer)

    def _put_back_ready(self, consumer: BusConsumer) -> None:
        while consumer.ready:
            ticket, queued = consumer.ready.popleft()
            del consumer.out[ticket]
            queued.deliveries -= 1  # nobody saw this one
            self._queue.put_back(queued)

    def _revive(self) -> None:
        """Queue dead letters that somebody asked for again."""
        self._letters.follow()
        for number in sorted(self._letters.revived.keys() - self._revived.keys(), reverse=True):
            queued = QueuedEvent(self._letters.revived[number], self._deliveries_before.pop(number, 0), number)
            self._revived[number] = queued
            self._queue.offer_again(queued)

    def _load(self, now: datetime) -> None:
        """Load lines until the window is full or nothing is left."""
        if len(self._queue) > self._limits.window // 2:
            return
        for segment, line in self._journal.lines(self._scanned, self._journal.tail()):
            events = self._events(segment, line)
            self._enter(events, now)
            self._scanned = JournalTail(segment, line.end, line.checksum, events[-1][0])
            self._lines.append(self._scanned)
            if len(self._queue) >= self._limits.window:
                break
        if self._place().position >= self._saved.place.position + _UNSAVED_EVENTS:
            self._save()

    def _events(self, segment: int, line: Line) -> list[tuple[int, StoredEvent]]:
        try:
            events = decode_line(line.data)
        except ValueError:
            self._journal.refuse(segment, line.offset, "a line has a good checksum and no published events")
        if events[0][0] != self._scanned.position + 1:
            self._journal.refuse(segment, line.offset, f"event {events[0][0]} stands where {self._scanned.position + 1} belongs")
        return events

    def _enter(self, events: Sequence[tuple[int, RecordedEvent]], now: datetime) -> None:
        """Queue what is open of a line. What its consumers left unanswered too often, perhaps because it kills them, is given up."""
        queued = [
            QueuedEvent(event, self._known.open.get(number, 0), number)
            for number, event in events
            if (number > self._known.through or number in self._known.open) and self.filter.takes(event)
        ]
        for each in filter(self._is_spent, queued):
            if not self._letters.knows(each.number):
                self._letters.bury(each.number, DeadLetter(each.event, _NO_ANSWER, each.deliveries, now))
        for each in queued:
            if not self._letters.knows(each.number):
                self._unanswered[each.number] = each
                self._queue.offer(each)

    def _place(self) -> JournalTail:
        """After the last line that has no unanswered event before it."""
        oldest = next(iter(self._unanswered), self._scanned.position + 1)
        while len(self._lines) > 1 and self._lines[1].position < oldest:
            self._lines.popleft()
        return self._lines[0]

    def _save(self) -> None:
        place = self._place()
        through = max(self._through, place.position)
        loaded = takewhile(lambda number: number <= through, self._unanswered)
        still_open = {number: self._unanswered[number].deliveries for number in loaded}
        not_loaded = {number: deliveries for number, deliveries in self._known.open.items() if number > self._scanned.position}
        revived = {number: queued.deliveries for number, queued in self._revived.items() if queued.deliveries}
        self._saved = CursorState(place, through, still_open | not_loaded, self._deliveries_before | revived)
        self._cursor.save(self._saved)
