"""The world that a program happens in, and the operations that programs are made of.

A world is a disk, the processes that have a store open on it, and the ledger of what they did.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from types import MappingProxyType
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError
from inventory_es.ports.records import AppendResult, NewEvent, StreamWrite
from inventory_es.testing.crash.disk import Disk
from inventory_es.testing.crash.ledger import Attempt, Ledger
from inventory_es.testing.crash.simfs import FaultPlan, Observer, SimFS, StarvedError
from inventory_es.testing.crash.subject import Log, SteppedStore, Subject, read_log

_TIME = datetime(2026, 1, 5, 9, tzinfo=UTC)
_TRIES = 3


class WrongAnswerError(Exception):
    """A wrong answer of a store, outside any crash."""


class GaveUpError(Exception):
    """A persistent failure, after which the program can't go on."""


@attrs.define(eq=False)
class World:
    """The world of one program: a process at work, and a second one that reads along.

    Attributes:
        subject: the store under test.
        observer: called after each change of the disk by the process at work.
        faults: decides which file operations of that process fail.
        disk: the disk of both processes.
        ledger: the appends, their answers, and what readers were shown.
        store: the handle of the process at work; ``None`` while there is none.
    """

    subject: Subject
    observer: Observer | None = attrs.field(default=None, kw_only=True)
    faults: FaultPlan | None = attrs.field(default=None, kw_only=True)
    disk: Disk = attrs.field(factory=Disk, kw_only=True)
    ledger: Ledger = attrs.field(factory=Ledger, kw_only=True)
    store: SteppedStore | None = attrs.field(default=None, init=False)
    _reader: SteppedStore | None = attrs.field(default=None, init=False)
    _versions: dict[str, int] = attrs.field(factory=dict[str, int], init=False)
    _numbers: "itertools.count[int]" = attrs.field(factory=lambda: itertools.count(1), init=False)

    def open(self) -> None:
        """Start the process at work, which opens the store and reads everything."""
        for _ in range(_TRIES):
            try:
                self.store = self.subject.open(SimFS(self.disk, faults=self.faults, observer=self.observer))
                break
            except StoreUnavailableError:
                self._require_faults("opening is refused")
        else:
            msg = "the store can't be opened"
            raise GaveUpError(msg)
        self.read()

    def open_reader(self) -> None:
        """Start the second process, which opens the store to read along."""
        self._reader = self.subject.open(SimFS(self.disk))

    def read_along(self) -> None:
        """Let the second process read, and note what it is shown: nothing while it waits for a lock."""
        if self._reader is not None:
            try:
                log = read_log(self._reader)
            except StarvedError:
                return
            except StoreUnavailableError as problem:
                msg = f"a reader in another process is refused: {problem}"
                raise WrongAnswerError(msg) from problem
            self._show(log)

    def read(self) -> None:
        """Let the process at work read everything."""
        for _ in range(_TRIES):
            try:
                log = read_log(self._store())
            except StoreUnavailableError:
                self._require_faults("reading is refused")
            else:
                self._show(log)
                return

    def die(self) -> None:
        """Kill all processes. The disk becomes another object, so that a dying process has no effect on it."""
        self.store = self._reader = None
        self.disk = self.disk.killed()

    def lose_power(self) -> None:
        """Cut the power: everything that is not durable is lost."""
        self.store = self._reader = None
        self.disk = self.disk.cut({}, {})

    def new_write(self, name: str, count: int = 1, *, size: int = 0) -> StreamWrite:
        """Return new events for a stream, with the version that the appends before them left."""
        events = [self._new_event(size) for _ in range(count)]
        expected = self._versions.get(name, 0)
        return StreamWrite(StreamId("s", name), expected, events)

    def append(self, *groups: Sequence[StreamWrite]) -> None:
        """Commit appends that must succeed, together. After an unknown outcome, send the same again."""
        attempts = [Attempt(writes) for writes in groups]
        self.ledger.attempts += attempts
        for attempt in attempts:
            self._versions.update({write.stream.parts[0]: write.expected_version + len(write.events) for write in attempt.writes})
        self._commit(attempts)
        self.read()

    def conflict(self, writes: Sequence[StreamWrite], *, together_with: Sequence[StreamWrite]) -> None:
        """Commit an append that must be refused, together with one that must succeed."""
        doomed = Attempt([attrs.evolve(write, expected_version=write.expected_version + 5) for write in writes], "refused")
        fine = Attempt(together_with)
        self._versions.update({write.stream.parts[0]: write.expected_version + len(write.events) for write in together_with})
        self.ledger.attempts += [doomed, fine]
        self._commit([doomed, fine])
        self.read()

    def append_from_elsewhere(self, *groups: Sequence[StreamWrite]) -> None:
        """Append from another process, which opens the store for that and dies."""
        mine, self.store = self.store, None
        self.open()
        self.append(*groups)
        self.store = mine

    def tidy(self) -> None:
        """Let the store do its maintenance."""
        try:
            self._store().tidy()
        except StoreUnavailableError:
            self._require_faults("tidying is refused")

    def close(self) -> None:
        """Close the store of the process at work."""
        store, self.store = self._store(), None
        store.close()

    def _commit(self, attempts: Sequence[Attempt]) -> None:
        is_known = True
        for _ in range(_TRIES):
            try:
                outcomes = self._store().commit([attempt.writes for attempt in attempts])
            except AppendOutcomeUnknownError as problem:
                self._require_faults(str(problem))
                is_known = False
                continue
            except StoreUnavailableError as problem:
                self._require_faults(str(problem))
                if is_known:
                    self._check_absent(attempts)
                continue
            for attempt, outcome in zip(attempts, outcomes, strict=True):
                self._note(attempt, outcome)
            return
        if is_known:
            for attempt in attempts:
                attempt.refuse()
        msg = "the store does not take the append"
        raise GaveUpError(msg)

    def _check_absent(self, attempts: Sequence[Attempt]) -> None:
        """Check that a reader sees nothing of appends that were not written, by the store's own answer."""
        answers = [attempt.answer for attempt in attempts]
        for attempt in attempts:
            attempt.refuse()
        self.read()
        for attempt, answer in zip(attempts, answers, strict=True):
            attempt.answer = answer

    def _note(self, attempt: Attempt, outcome: AppendResult | Exception) -> None:
        if attempt.answer == "refused":
            if not isinstance(outcome, ConcurrencyError):
                msg = f"{attempt} must conflict, and was answered {outcome!r}"
                raise WrongAnswerError(msg)
        elif isinstance(outcome, AppendResult):
            attempt.acknowledge(outcome)
        else:
            msg = f"{attempt} must succeed, and was answered {outcome!r}"
            raise WrongAnswerError(msg)

    def _show(self, log: Log) -> None:
        problem = self.ledger.show(log)
        if problem is not None:
            raise WrongAnswerError(problem)

    def _store(self) -> SteppedStore:
        if self.store is None:
            self.open()
        if self.store is None:
            msg = "the program has no open store"
            raise GaveUpError(msg)
        return self.store

    def _require_faults(self, what: str) -> None:
        if self.faults is None:
            msg = f"{what}, although no file operation failed"
            raise WrongAnswerError(msg)

    def _new_event(self, size: int) -> NewEvent:
        number = next(self._numbers)
        data = b'{"n":%d,"fill":"%b"}' % (number, b"-" * size)
        return NewEvent(UUID(int=number << 64 | number), "Happened", 1, _TIME, data)


Program = tuple[str, ...]
"""Names of operations, in order. Before the first one, a process creates the store."""

LARGE = 700
SEGMENT_BYTES = 600
"""Length for the segments of a journal, so that one large append or a few small ones fill a segment."""


def _rotate(world: World) -> None:
    world.append([world.new_write("x", size=LARGE)])
    world.append([world.new_write("y")])


def _stop(world: World) -> None:
    world.close()
    world.open()


def _kill(world: World) -> None:
    world.die()
    world.open()


def _power(world: World) -> None:
    world.lose_power()
    world.open()


def _turns(world: World) -> None:
    world.append_from_elsewhere([world.new_write("x")])
    world.append([world.new_write("x")])


OPERATIONS: Mapping[str, Callable[[World], None]] = MappingProxyType({
    "append": lambda world: world.append([world.new_write("x")]),
    "streams": lambda world: world.append([world.new_write("y", 2), world.new_write("x")]),
    "group": lambda world: world.append([world.new_write("x")], [world.new_write("z", 2)], [world.new_write("y")]),
    "conflict": lambda world: world.conflict([world.new_write("x")], together_with=[world.new_write("z")]),
    "rotate": _rotate,
    "tidy": World.tidy,
    "stop": _stop,
    "kill": _kill,
    "power": _power,
    "turns": _turns,
})  # fmt: skip
"""The operations by name, in the order of the table.

One event; one append to two streams; three appends in one commit; a refused append together with a good one. Appends that end a segment
and begin the next; maintenance; a clean stop and a start; a kill and a start, with recovery. A power cut that takes all it may, and a
start; an append of another process, then one of this process.
"""


def programs(length: int) -> Iterator[Program]:
    """Return every program of so many operations."""
    return itertools.product(OPERATIONS, repeat=length)


def random_program(chance: Random, *, shortest: int = 4, longest: int = 9) -> Program:
    """Draw a program of 4 to 9 operations by default."""
    return tuple(chance.choices(tuple(OPERATIONS), k=chance.randint(shortest, longest)))
