"""The file bus without threads and without an event loop.

The folder holds:

- ``journal/``: published events, in the same journal as that of the file store
- ``groups/<hash>/``: one group, with ``cursor.a`` and ``cursor.b``, its dead letters in ``dead/``, and the lock file ``owner``

A group is consumed by one process at a time: the one that holds the lock on ``owner``. Everything else any process may do at any time.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from hashlib import blake2b
from itertools import count, takewhile
from uuid import UUID
from zlib import crc32

import attrs

from inventory_es.adapters.file.bus.stored_form import (
    BusCursor,
    BusDeadLetters,
    CursorState,
    decode_line,
    encode_lines,
    encode_published,
    last_number,
    read_cursor,
)
from inventory_es.adapters.file.folder import FolderFormat
from inventory_es.adapters.file.journal.journal import Journal, UncertainWriteError
from inventory_es.adapters.file.journal.stored_form import JournalTail, Line
from inventory_es.adapters.file.locks import LOCK_TIMEOUT, LockWait
from inventory_es.adapters.file.stored_event import StoredEvent
from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError
from inventory_es.ports.event_bus import DeadLetter
from inventory_es.ports.file_system import FileSystem, LockFile
from inventory_es.ports.records import RecordedEvent
from inventory_es.ports.toolkit.delivery_rules import DeliveryQueue, GroupFilter, QueuedEvent
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path
from inventory_es.ports.toolkit.remedy import reason_of, remedy_of

FORMAT = FolderFormat("inventory_es.file_event_bus", 1, "file event bus", ("journal", "groups"))
_UNSAVED_EVENTS = 1_000
_NO_ANSWER = "its consumer left without an answer"


@attrs.frozen
class GroupLimits:
    """Bounds of every group of a bus.

    Attributes:
        max_deliveries: after so many, an event becomes a dead letter.
        max_dead_letters: while there are so many, no event becomes one.
        window: how many unanswered events are in memory, about.
    """

    max_deliveries: int
    max_dead_letters: int
    window: int


@attrs.define(eq=False)
class BusConsumer:
    """One consumer of a group.

    Attributes:
        out: its unanswered deliveries, by a number of their own.
        ready: the deliveries that were taken for it and not received yet.
        is_cancelled: True if its last receive was cancelled. Its ``ready`` deliveries go to the next consumer that asks.
    """

    out: dict[int, QueuedEvent] = attrs.field(factory=dict[int, QueuedEvent])
    ready: deque[tuple[int, QueuedEvent]] = attrs.field(factory=deque[tuple[int, QueuedEvent]])
    is_cancelled: bool = False


class FileBus:
    """One open handle on a bus folder. Any number of threads may call at once, except for :meth:`close`.

    Opens the bus, or makes one in an empty or missing folder; recovers first where it is due. Every method but :meth:`close` may raise
    ``EventBusUnavailableError``, ``StoreClosedError`` and ``CorruptStoreError``.

    Raises:
        IncompatibleStoreError: the folder holds something else. Nothing was changed.
        EventBusUnavailableError: the file system refused something, or another process kept a lock.
        CorruptStoreError: the stored data contradicts itself.
    """

    def __init__(
        self,
        folder: AnyPath,
        *,
        file_system: FileSystem,
        creation_id: str,
        limits: GroupLimits,
        segment_bytes: int,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        path = absolute_path(folder)
        self.name: str = f"file event bus {path}"
        self._fs = file_system
        self._limits = limits
        self._lock_timeout = lock_timeout
        self._process = os.getpid()
        self._mutexes: dict[str, threading.RLock] = {}
        self._groups: dict[str, FileBusGroup] = {}
        with _unavailable(self.name):
            place = file_system.resolve(path)
            self._directory = f"{place}/groups"
            self._creation_id = FORMAT.open(file_system, place, creation_id=creation_id, lock_timeout=lock_timeout)
            self._journal = Journal(
                file_system,
                f"{place}/journal",
                f"{path}/.lock",
                seed=crc32(self._creation_id.encode()),
                segment_bytes=segment_bytes,
                last_position=last_number,
                name=self.name,
                lock_timeout=lock_timeout,
            )
            with self._journal.exclusive(check_all=True):
                pass
        self._serving: Callable[[], AbstractContextManager[None]] = partial(_serving, self._journal, self.name, self._process)

    def publish(self, events: Sequence[RecordedEvent]) -> None:
        """Write events to the journal, durably."""
        stored = [encode_published(event) for event in events]
        with self._serving():
            try:
                with self._journal.exclusive() as tail:
                    for body, last in encode_lines(stored, first=tail.position + 1):
                        tail = self._journal.append(tail, body, position=last)  # noqa: PLW2901 - each line begins where the one before ended
            except BaseException:  # of a signal too
                self._journal.let_go()
                raise

    def join(self, name: str, wanted: GroupFilter, consumer: BusConsumer | None = None) -> tuple["FileBusGroup", BusConsumer]:
        """Add a consumer, a new one unless given, to a group, which this process takes over if it has no consumer of it yet.

        Raises:
            ValueError: the group has consumers with another filter.
        """
        with self._serving(), self._wait(name).in_turn(self._mutex(name)):
            group = self._groups.get(name)
            if group is None:
                group = self._groups[name] = self._take_over(name, wanted)
            elif group.filter != wanted:
                msg = f"group {name!r} has consumers with another filter: a group has one filter, name another group"
                raise ValueError(msg)
            consumer = consumer or BusConsumer()
            group.consumers.add(consumer)
            return group, consumer

    def leave(self, name: str, consumer: BusConsumer, now: datetime) -> None:
        """Remove a consumer. After the last one, another process may take the group over."""
        with self._serving(), self._mutex(name):
            group = self._groups.get(name)
            if group is not None:
                try:
                    group.leave(consumer, now)
                finally:
                    if not group.consumers:
                        self._groups.pop(name).close()

    def dead_letters(self, name: str, *, limit: int) -> list[DeadLetter]:
        """Return the oldest dead letters of a group."""
        with self._letters(name) as letters:
            return [] if letters is None else list(letters.letters.values())[:limit]

    def redeliver(self, name: str, event_ids: Collection[UUID]) -> int:
        """Have dead letters delivered again, by the process that has the group's consumers; return how many there were."""
        with self._letters(name) as letters:
            return 0 if letters is None else letters.redeliver(event_ids)

    def lag(self, name: str) -> int:
        """Return the number of events that a group has not acknowledged, whichever process has its consumers."""
        with self._serving():
            state = read_cursor(self._fs, self._path(name))
            published = self._journal.tail().position
        return published if state is None else max(0, published - state.through) + len(state.open)

    def close(self) -> None:
        """Release every group and every handle. After a fork they belong to the parent, and nothing is done."""
        if os.getpid() == self._process:
            with _unavailable(self.name), ExitStack() as left:
                left.callback(self._journal.close)
                while self._groups:
                    left.callback(self._groups.popitem()[1].close)

    def _mutex(self, name: str) -> threading.RLock:
        """Return the mutex of a group. Its holder may wait for the group's lock: no other group waits with it."""
        return self._mutexes.setdefault(name, threading.RLock())

    def _wait(self, name: str) -> LockWait:
        return LockWait(f"{self._path(name)}/dead/.lock", self._lock_timeout)

    def _path(self, name: str) -> str:
        return f"{self._directory}/{blake2b(name.encode(), digest_size=16).hexdigest()}"

    def _take_over(self, name: str, wanted: GroupFilter) -> "FileBusGroup":
        path = self._path(name)
        for parent, directory in ((self._directory, path), (path, f"{path}/dead")):
            if not self._fs.exists(directory):
                with suppress(FileExistsError):  # another process is making it too
                    self._fs.make_directory(directory)
            self._fs.sync_directory(parent)
        with ExitStack() as opened:
            owner = self._fs.open_lock(f"{path}/owner")
            opened.callback(owner.close)
            if not owner.acquire(timeout=0):
                reason = f"another process has the consumers of group {name!r}, or another handle of this one"
                raise EventBusUnavailableError(bus=self.name, reason=reason)
            letters = self._open_letters(name)
            opened.callback(letters.close)
            locked = partial(self._wait(name).in_turn, self._mutex(name))
            cursor = BusCursor(self._fs, path)
            group = FileBusGroup(self._journal, cursor, letters, owner, wanted, self._limits, self._serving, locked)
            opened.pop_all()
        return group

    def _open_letters(self, name: str) -> BusDeadLetters:
        seed = crc32(f"{self._creation_id} {name}".encode())
        letters = f"{self.name}, dead letters of group {name!r}"
        return BusDeadLetters(self._fs, f"{self._path(name)}/dead", seed=seed, name=letters, lock_timeout=self._lock_timeout)

    @contextmanager
    def _letters(self, name: str) -> Generator[BusDeadLetters | None, None, None]:
        """Hold the dead letters of a group, read to their end; ``None`` if there is no such group."""
        with self._serving(), self._wait(name).in_turn(self._mutex(name)):
            group = self._groups.get(name)
            if group is not None:
                group.letters.follow()
                yield group.letters
            elif self._fs.exists(f"{self._path(name)}/dead"):
                letters = self._open_letters(name)
                try:
                    yield letters
                finally:
                    letters.close()
            else:
                yield None


class FileBusGroup:
    """One group, in the process that has its consumers. Any number of threads may take, settle and fail at once.

    Events are loaded from the journal in their order, until a window of unanswered ones is full. Every delivery and every answer is
    written to the cursor. A process that takes the group over after a crash loads the same events again, except the answered ones.

    Args:
        journal: of published events.
        cursor: the stored state of the group.
        letters: its dead letters.
        owner: the lock that makes it this process's.
        wanted: its filter.
        limits: its bounds.
        serving: a block with the errors of the port.
        locked: a block that holds the group's mutex, which every other method needs too.
    """

    def __init__(
        self,
        journal: Journal,
        cursor: BusCursor,
        letters: BusDeadLetters,
        owner: LockFile,
        wanted: GroupFilter,
        limits: GroupLimits,
        serving: Callable[[], AbstractContextManager[None]],
        locked: Callable[[], AbstractContextManager[float]],
    ) -> None:
        self.filter = wanted
        self.letters = letters
        self.owner = owner
        self.consumers: set[BusConsumer] = set()
        self._journal = journal
        self._cursor = cursor
        self._limits = limits
        self._serving = serving
        self._locked = locked
        self._numbers = count()
        self._is_torn = False
        self._resume()

    def _resume(self) -> None:
        """Begin where the cursor says. What consumers have stays with them; every other unanswered event is loaded again."""
        state = self._cursor.state if self._cursor.state is not None else CursorState(self._journal.start, 0, {})
        self._known = state
        self._saved = state
        self._through = state.through
        self._scanned = state.place
        self._lines: deque[JournalTail] = deque([state.place])
        self._unanswered: dict[int, QueuedEvent] = {}
        self._revived: dict[int, QueuedEvent] = {}
        self._deliveries_before = dict(state.revived)
        for consumer in self.consumers:
            consumer.out.update(list(consumer.ready))
        self._queue = DeliveryQueue()
        self._kept = {queued.number: queued for consumer in self.consumers for queued in consumer.out.values()}
        for queued in self._kept.values():
            self._queue.add_taken(queued)

    def take(self, consumer: BusConsumer, now: datetime) -> None:
        """Put the next event into ``consumer.ready``, if there is one and none stands there."""
        with self._changing():
            if consumer.ready:
                return
            for other in self.consumers:
                if other.is_cancelled:
                    self._put_back_ready(other)
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
            number = next(self._numbers)
            consumer.ready.append((number, queued))
            consumer.out[number] = queued

    def settle(self, consumer: BusConsumer, number: int) -> None:
        """Acknowledge a delivery. A second answer changes nothing."""
        with self._changing():
            queued = consumer.out.get(number)
            if queued is not None:
                if self.letters.knows(queued.number):
                    self.letters.done(queued.number)
                self._forget(queued)
                try:
                    self._save()
                except Exception:
                    del consumer.out[number]
                    raise
                del consumer.out[number]  # comes last: after a signal before it, the answer can be repeated

    def fail(self, consumer: BusConsumer, number: int, reason: str, now: datetime) -> None:
        """Refuse a delivery: the event is delivered again later, or becomes a dead letter."""
        with self._changing():
            queued = consumer.out.get(number)
            if queued is not None:
                if self._is_spent(queued):
                    self._give_up(queued, reason, now)
                else:
                    self._queue.put_behind(queued)
                del consumer.out[number]
                self._save()

    def leave(self, consumer: BusConsumer, now: datetime) -> None:
        """Put a consumer's deliveries back, or give them up. An event that can't be given up now is delivered once more."""
        with self._changing():
            if consumer not in self.consumers:  # a signal ended an earlier call, and its deliveries are loaded again
                return
            self.consumers.remove(consumer)
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

    def close(self) -> None:
        """Make the cursor durable and release the group. The next process that takes it over gets the unanswered events."""
        try:
            self._cursor.settle()
        finally:
            self._cursor.close()
            self.letters.close()
            self.owner.close()

    @contextmanager
    def _changing(self) -> Generator[None, None, None]:
        """Hold the group. What a signal stopped half-way is made good by the next call: no answer is lost, and no event withheld."""
        with self._serving(), self._locked():
            if self._is_torn:
                self._resume()
            self._is_torn = True
            try:
                yield
            except Exception:
                self._is_torn = False
                raise
            self._is_torn = False

    def _is_spent(self, queued: QueuedEvent) -> bool:
        return queued.deliveries >= self._limits.max_deliveries and len(self.letters.letters) < self._limits.max_dead_letters

    def _give_up(self, queued: QueuedEvent, reason: str, now: datetime) -> None:
        said = reason.encode("utf-8", "backslashreplace").decode()  # a lone surrogate has no UTF-8
        self.letters.bury(queued.number, DeadLetter(queued.event, said, queued.deliveries, now))
        self._forget(queued)

    def _forget(self, queued: QueuedEvent) -> None:
        self._queue.settle(queued)
        for events in (self._unanswered, self._revived, self._kept):
            events.pop(queued.number, None)
        self._known.open.pop(queued.number, None)  # its line may come again

    def _put_back_ready(self, consumer: BusConsumer) -> None:
        while consumer.ready:
            number, queued = consumer.ready[0]
            del consumer.out[number]
            consumer.ready.popleft()
            queued.deliveries -= 1  # no consumer saw this one
            self._queue.put_back(queued)

    def _revive(self) -> None:
        """Queue the dead letters that are to be delivered again."""
        self.letters.follow()
        for number in sorted(self.letters.revived.keys() - self._revived.keys(), reverse=True):
            before = self._deliveries_before.pop(number, 0)
            queued = self._revived[number] = self._kept.get(number) or QueuedEvent(self.letters.revived[number], before, number)
            if number not in self._kept:
                self._queue.offer_again(queued)

    def _load(self, now: datetime) -> None:
        """Load lines until the window is full or no line is left."""
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
        """Queue the unanswered events of a line. An event that too many consumers left unanswered, perhaps killed by it, is given up."""
        queued = [
            self._kept.get(number) or QueuedEvent(event, self._known.open.get(number, 0), number)
            for number, event in events
            if (number > self._known.through or number in self._known.open) and self.filter.takes(event)
        ]
        for each in filter(self._is_spent, queued):
            if each.number not in self._kept and not self.letters.knows(each.number):
                self.letters.bury(each.number, DeadLetter(each.event, _NO_ANSWER, each.deliveries, now))
        for each in queued:
            if not self.letters.knows(each.number):
                self._unanswered[each.number] = each
                if each.number not in self._kept:
                    self._queue.offer(each)

    def _place(self) -> JournalTail:
        """Return the end of the last line that has no unanswered event before it."""
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


@contextmanager
def _serving(journal: Journal, bus: str, process: int) -> Generator[None, None, None]:
    """Refuse a handle that a fork inherited or whose folder has gone, and raise the errors of the port in the block."""
    if os.getpid() != process:
        raise StoreClosedError(store=bus, reason="it was inherited by fork")
    with _unavailable(bus):
        journal.check_place()
        yield


@contextmanager
def _unavailable(bus: str) -> Generator[None, None, None]:
    try:
        yield
    except OSError as problem:
        raise EventBusUnavailableError(bus=bus, reason=reason_of(problem), remedy=remedy_of(problem)) from problem
    except UncertainWriteError as problem:
        reason = "the file system refused, perhaps after it had written"
        raise EventBusUnavailableError(bus=bus, reason=reason, remedy=remedy_of(problem.__cause__)) from problem
