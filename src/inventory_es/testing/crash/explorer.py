"""The explorer of crashes, and the sweep of failing file operations.

The explorer crashes a program after every operation on its files, in every way that the models know. It crashes the last operation of
the program; the operations before it were crashed when the shorter programs ran. The opening that creates the store is the program of
no operations.

- ``kill``: all processes die, also in the middle of a write. Nothing that was written is lost.
- ``kill+power``: the next process opens the store, recovers and reads. The power is cut at each of its own operations.
- ``prefix``: the power is cut. Files and directories keep a prefix of what was not synced.
- ``blocks``: the power is cut. Sectors reach the disk in any order, and missing ones are zeros or garbage.
- ``failed sync``: the n-th sync reports an error and drops what it should have written. The cache still shows it. All of the above follow.

A second process has the store open, and reads after every operation on a file. Each crash must preserve what that process was shown.

The sweep lets the first file operation of a program fail, then the second, until a run has no failure. While operations fail,
the store may refuse, and may report an unknown outcome. It must neither give a wrong answer nor break. When the operations work again,
the same open store goes on without a restart. Then all processes are killed, or the power is cut, and the oracle judges what is left.
"""

from collections.abc import Callable, Collection, Sequence
from random import Random
from typing import Literal, get_args

import attrs

from inventory_es.testing.crash.aftermath import Aftermath
from inventory_es.testing.crash.power import MODELS
from inventory_es.testing.crash.simfs import FailNth, Failure, Primitive, SimFS
from inventory_es.testing.crash.subject import Log, Subject, disagreement, read_log
from inventory_es.testing.crash.world import OPERATIONS, GaveUpError, Program, World, WrongAnswerError


class CrashViolationError(AssertionError):
    """A promise of the store that a crash or a failed operation broke.

    Attributes:
        model: the crash model, or the failure.
        program: the operations.
        point: the place in the program.
        problem: the problem that was found.
    """

    def __init__(self, *, model: str, program: str, point: str, problem: str) -> None:
        super().__init__(model, program, point, problem)
        self.model = model
        self.program = program
        self.point = point
        self.problem = problem

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, self.args

    def __str__(self) -> str:
        return f"{self.problem}\n  program  {self.program}\n  crash    {self.model}, {self.point}"


def _rebuild(model: str, program: str, point: str, problem: str) -> CrashViolationError:
    return CrashViolationError(model=model, program=program, point=point, problem=problem)


CrashModel = Literal["kill", "kill+power", "prefix", "blocks", "failed sync"]
ALL_MODELS: Sequence[CrashModel] = get_args(CrashModel)
_FAILED_SYNCS: Sequence[Failure] = ("dropped", "half dropped")


@attrs.define(eq=False)
class Explorer:
    """An explorer of the crashes of one store.

    Attributes:
        aftermath: recovers the disks, and counts.
        models: the crashes to try.
        seed: decides which states are drawn where there are too many.
    """

    aftermath: Aftermath
    models: Collection[CrashModel] = attrs.field(default=ALL_MODELS, kw_only=True)
    seed: int = attrs.field(default=0, kw_only=True)

    def explore(self, program: Program) -> None:
        """Run a program and crash its last operation at every point.

        Raises:
            CrashViolationError: a promise is broken.
        """
        _CrashingRun(self, program, None).go()

    def explore_failed_syncs(self, program: Program) -> None:
        """Run a program with its first sync failing, then with its second, until none fails. Crash every point after the failure."""
        for failure in _FAILED_SYNCS if "failed sync" in self.models else ():
            _fail_each(failure, lambda faults: _CrashingRun(self, program, faults).go())


@attrs.define(eq=False)
class _CrashingRun:
    """One run of one program."""

    explorer: Explorer
    program: Program
    faults: FailNth | None
    _world: World = attrs.field(init=False)
    _chance: Random = attrs.field(init=False)
    _model: str = attrs.field(default="no crash", init=False)
    _operation: str = attrs.field(default="creation", init=False)
    _last: Primitive | None = attrs.field(default=None, init=False)
    _points: int = attrs.field(default=0, init=False)
    _is_crashed: bool = attrs.field(default=False, init=False)
    _has_failed: bool = attrs.field(default=False, init=False)

    def go(self) -> None:
        self._chance = Random(repr((self.explorer.seed, self.program, self.faults)))
        self._world = World(self.explorer.aftermath.subject, observer=self._observe, faults=self.faults)
        self.explorer.aftermath.counts.histories += 1
        self._is_crashed = not self.program
        try:
            self._operate()
        except GaveUpError:
            return
        except Exception as problem:  # noqa: BLE001  # any error of a store is reported with its program
            self._fail(problem)

    def _operate(self) -> None:
        self._world.open()
        self._world.open_reader()
        for number, name in enumerate(self.program, 1):
            self._operation = f"operation {number} ({name})"
            self._is_crashed = number == len(self.program)
            OPERATIONS[name](self._world)

    def _observe(self, primitive: Primitive) -> None:
        """Crash the disk right after ``primitive``. No-op while a violation propagates through the store."""
        if self._has_failed:
            return
        self._last = primitive
        self._points += 1
        self._has_failed = True
        self._world.read_along()
        if self._is_crashed or (self.faults is not None and self.faults.hits):
            self._crash(primitive)
        self._has_failed = False

    def _crash(self, primitive: Primitive) -> None:
        models, aftermath, disk = self.explorer.models, self.explorer.aftermath, self._world.disk
        aftermath.counts.points += 1
        self._model = "kill+power" if "kill+power" in models else "kill"
        if "kill" in models or "kill+power" in models:
            for log in aftermath.kills(disk, primitive, depth=int("kill+power" in models)):
                self._judge(log)
        for model in MODELS:
            if model in models:
                self._model = model
                for log in aftermath.power_cuts(disk, model, self._chance, depth=1):
                    self._judge(log)
        self._model = "no crash"

    def _judge(self, log: Log) -> None:
        problem = self._world.ledger.problem(log)
        if problem is not None:
            raise WrongAnswerError(problem)

    def _fail(self, problem: Exception) -> None:
        failure = "" if self.faults is None else f"failed sync {self.faults.number} ({self.faults.failure}), then "
        last = f"{self._last.kind} {self._last.path}" if self._last is not None else "none"
        raise CrashViolationError(
            model=failure + self._model,
            program=" ".join(self.program) or "(creation)",
            point=f"{self._operation}, after file operation {self._points} ({last})",
            problem=str(problem) if type(problem).__module__.startswith(__package__) else f"{type(problem).__name__}: {problem}",
        ) from problem


FAILURES: Sequence[Failure] = ("EIO", "ENOSPC", "short write", "dropped", "half dropped")


def sweep(subject: Subject, program: Program, failure: Failure, *, is_persistent: bool) -> int:
    """Run a program with each of its file operations failing in turn.

    Args:
        subject: the store under test.
        program: the program.
        failure: how an operation fails.
        is_persistent: True if all later operations fail too, until the program has ended.

    Returns:
        The number of operations that failed in turn. The run after that had no failure.

    Raises:
        CrashViolationError: a promise is broken.
    """
    return _fail_each(failure, lambda faults: _FailingRun(subject, program, faults).go(), is_persistent=is_persistent)


def _fail_each(failure: Failure, run: Callable[[FailNth], None], *, is_persistent: bool = False) -> int:
    """Run with the first operation failing, then with the second, until a run has no failure. Return how many failed in turn."""
    number = 0
    while True:
        faults = FailNth(number + 1, failure, is_persistent=is_persistent)
        run(faults)
        if not faults.hits:
            return number
        number += 1


@attrs.define(eq=False)
class _FailingRun:
    """One run with one failure."""

    subject: Subject
    program: Program
    faults: FailNth
    _world: World = attrs.field(init=False)
    _at: str = attrs.field(default="creation", init=False)

    def go(self) -> None:
        self._world = World(self.subject, faults=self.faults)
        try:
            self._operate()
            self._at = "after the failure"
            self._world.append([self._world.new_write("afterwards")])
            self._check()
        except Exception as problem:
            text = str(problem) if isinstance(problem, WrongAnswerError) else f"{type(problem).__name__}: {problem}"
            lasting = "and all later ones" if self.faults.is_persistent else "once"
            raise CrashViolationError(
                model=f"file operation {self.faults.number} fails {lasting} ({self.faults.failure})",
                program=" ".join(self.program) or "(creation)",
                point=self._at,
                problem=text,
            ) from problem

    def _operate(self) -> None:
        try:
            self._world.open()
            for number, name in enumerate(self.program, 1):
                self._at = f"operation {number} ({name})"
                OPERATIONS[name](self._world)
        except GaveUpError:
            return
        finally:
            self.faults.mend()

    def _check(self) -> None:
        ledger, disk = self._world.ledger, self._world.disk
        for left, crash in ((disk.killed(), "a kill"), (disk.cut({}, {}), "a power cut")):
            self._at = f"after the failure and {crash}"
            store = self.subject.open(SimFS(left))
            log = read_log(store)
            contradiction = disagreement(store, log)
            store.close()
            for problem in (ledger.problem(log), contradiction, *self.subject.inspect(SimFS(left), left.lost_power)):
                if problem is not None:
                    raise WrongAnswerError(problem)
        self._at = "after the failure, at the end"
        self._world.close()
