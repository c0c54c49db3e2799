"""The recovery of a store from the disk that a crash left: opened, read, opened again, and crashed again while it recovers.

Equal disks are recovered once. The logs that they led to are kept, and only the oracle judges again.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from random import Random
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports.records import AppendResult, NewEvent, StreamWrite
from inventory_es.testing.crash.disk import Disk, Write
from inventory_es.testing.crash.power import MODELS, Model, power_cuts
from inventory_es.testing.crash.simfs import Primitive, SimFS
from inventory_es.testing.crash.subject import Log, SteppedStore, Subject, disagreement, read_log

_LAST_STREAM = StreamId("s", "afterwards")
_LAST_EVENT = NewEvent(UUID(int=(1 << 128) - 1), "Happened", 1, datetime(2026, 1, 6, tzinfo=UTC), b"{}")


class NotRecoveredError(Exception):
    """A store that could not recover from a crash."""


@attrs.define
class Counts:
    """Counts of what was tried.

    Attributes:
        points: crash points.
        states: states of a disk that a crash may leave, each judged by the oracle.
        recoveries: different states among them, each recovered by the store.
        histories: programs that ran.
    """

    points: int = 0
    states: int = 0
    recoveries: int = 0
    histories: int = 0

    def add(self, other: "Counts") -> None:
        """Add the counts of another run."""
        self.points += other.points
        self.states += other.states
        self.recoveries += other.recoveries
        self.histories += other.histories

    def __str__(self) -> str:
        return (
            f"{self.histories:,} programs, {self.points:,} crash points, {self.states:,} crash states, "
            f"{self.recoveries:,} different disks recovered"
        )


@attrs.define(eq=False)
class Aftermath:
    """Recovery of disks that a crash left.

    Attributes:
        subject: the store under test.
        most: states after a power cut that are tried per crash point and model; a quarter of that for a crash of recovery.
        counts: counts of states and recoveries.
        deep_share: one in so many disks that a power cut left is crashed again at each operation of its recovery. Of the disks that a
            kill left, every one is.
    """

    subject: Subject
    most: int = attrs.field(default=400, kw_only=True)
    counts: Counts = attrs.field(factory=Counts, kw_only=True)
    deep_share: int = attrs.field(default=16, kw_only=True)
    _known: dict[tuple[bytes, int], frozenset[Log]] = attrs.field(factory=dict, init=False)
    _settled: set[bytes] = attrs.field(factory=set, init=False)

    def logs(self, disk: Disk, *, depth: int) -> frozenset[Log]:
        """Return the logs that readers may find after all recoveries of a disk. The disk is used up.

        Args:
            disk: the disk that the crash left.
            depth: how many times the recovery itself may be crashed.

        Raises:
            NotRecoveredError: the store refused the disk, contradicts itself, or lost what it had shown after recovery.
        """
        self.counts.states += 1
        fingerprint = disk.fingerprint()
        known = self._known.get((fingerprint, depth))
        if known is None:
            self.counts.recoveries += 1
            known = self._known[fingerprint, depth] = frozenset(self._recover(disk, depth, Random(fingerprint)))
        return known

    def power_cuts(self, disk: Disk, model: Model, chance: Random, *, depth: int) -> Iterator[Log]:
        """Yield every log that may be left after a power cut."""
        for state in power_cuts(disk, model, chance, most=self.most if depth else max(4, self.most // 4)):
            yield from self.logs(state, depth=self._depth_of(state, depth))

    def kills(self, disk: Disk, last: Primitive, *, depth: int) -> Iterator[Log]:
        """Yield every log that may be left after all processes were killed, also in the middle of the last write."""
        yield from self.logs(disk.killed(), depth=depth)
        if last.write is not None:
            for size in sorted({1, len(last.write.data) // 2, len(last.write.data) - 1} - {0}):
                shorter = _interrupted(disk, last.write, size)
                if shorter is not None:
                    yield from self.logs(shorter, depth=0)

    def _depth_of(self, disk: Disk, depth: int) -> int:
        return depth if depth and disk.fingerprint()[0] % self.deep_share == 0 else 0

    def _recover(self, disk: Disk, depth: int, chance: Random) -> Iterator[Log]:
        points: list[tuple[Primitive, Disk]] = []
        file_system = SimFS(disk, observer=(lambda primitive: points.append((primitive, disk.killed()))) if depth else None)
        try:
            store = self.subject.open(file_system)
            log = read_log(store)
        except Exception as problem:
            msg = f"after the crash the store can't be opened and read: {type(problem).__name__}: {problem}"
            raise NotRecoveredError(msg) from problem
        file_system.observer = None
        yield log
        self._settle(disk, store, log)
        for primitive, point in points:
            yield from self.kills(point, primitive, depth=depth - 1)
            for model in MODELS:
                yield from self.power_cuts(point, model, chance, depth=depth - 1)

    def _settle(self, disk: Disk, store: SteppedStore, log: Log) -> None:
        """Check that a recovered store keeps what it showed, once per disk that recovery ends in."""
        mark = disk.fingerprint(but=self.subject.set_aside, cache_only=True)
        if mark in self._settled:
            return
        self._settled.add(mark)
        self._expect(disk.killed(), log, "another opening")
        self._expect(disk.cut({}, {}), log, "a power cut right after recovery, which had shown its log")
        contradiction = disagreement(store, log)
        if contradiction is not None:
            raise NotRecoveredError(contradiction)
        result = _answer(store.commit([[StreamWrite(_LAST_STREAM, 0, [_LAST_EVENT])]]))
        longer = read_log(store)
        if longer[:-1] != log or longer[-1].position != result.position or longer[-1].event_id != _LAST_EVENT.event_id:
            msg = f"the append after recovery left {len(longer)} events where {len(log)} were"
            raise NotRecoveredError(msg)
        for left, crash in ((disk.killed(), "a kill"), (disk.cut({}, {}), "a power cut")):
            self._expect(left, longer, f"one more append and {crash}")
        store.close()
        self._inspect(disk)

    def _expect(self, disk: Disk, log: Log, after: str) -> None:
        self.counts.states += 1
        self.counts.recoveries += 1
        store = self.subject.open(SimFS(disk))
        found = read_log(store)
        if found != log:
            msg = f"after {after} there are {len(found)} events where {len(log)} were"
            raise NotRecoveredError(msg)
        contradiction = disagreement(store, log)
        if contradiction is not None:
            msg = f"after {after}: {contradiction}"
            raise NotRecoveredError(msg)
        store.close()
        self._inspect(disk)

    def _inspect(self, disk: Disk) -> None:
        problems = list(self.subject.inspect(SimFS(disk), disk.lost_power))
        if problems:
            msg = f"after a clean stop: {'; '.join(problems)}"
            raise NotRecoveredError(msg)


def _answer(outcomes: Sequence[AppendResult | Exception]) -> AppendResult:
    outcome = outcomes[0]
    if isinstance(outcome, Exception):
        msg = f"the append after recovery is answered {outcome!r}"
        raise NotRecoveredError(msg)
    return outcome


def _interrupted(disk: Disk, write: Write, size: int) -> Disk | None:
    """Return the disk after a kill in the middle of the last write, which is the last pending change of some file."""
    for number, file in disk.files.items():
        if file.pending and file.pending[-1] is write:
            result = disk.killed()
            result.files[number] = file.with_last_write_cut(size)
            return result
    return None
