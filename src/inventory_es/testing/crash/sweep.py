"""The error sweep: the n-th file operation of a program fails, for n = 1, 2, 3 and so on, until a run ends without a failure.

While operations fail, the store may refuse and may not know; it may not lie, nor break. When they work again, the same open
store goes on, no restart needed; then all processes are killed, or the power is cut, and the oracle looks at what is left.
"""

from collections.abc import Sequence

import attrs

from inventory_es.testing.crash.faults import FailNth, Failure
from inventory_es.testing.crash.program import OPERATIONS, Program
from inventory_es.testing.crash.simfs import SimFS
from inventory_es.testing.crash.subject import Subject, disagreement, read_log
from inventory_es.testing.crash.violation import CrashViolationError
from inventory_es.testing.crash.world import GaveUpError, World, WrongAnswerError

FAILURES: Sequence[Failure] = ("EIO", "ENOSPC", "short write", "dropped", "half dropped")


def sweep(subject: Subject, program: Program, failure: Failure, *, is_persistent: bool) -> int:
    """Run a program with each of its file operations failing in turn.

    Args:
        subject: the store under test.
        program: what to run.
        failure: how they fail.
        is_persistent: whether all later operations fail too, until the program is at its end.

    Returns:
        How many operations failed in turn: the next run had no failure.

    Raises:
        CrashViolationError: a promise is broken.
    """
    number, faults = 1, FailNth(1, failure, is_persistent=is_persistent)
    _Pass(subject, program, faults).go()
    while faults.hits:
        number += 1
        faults = FailNth(number, failure, is_persistent=is_persistent)
        _Pass(subject, program, faults).go()
    return number - 1


@attrs.define(eq=False)
class _Pass:
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
            told = str(problem) if isinstance(problem, WrongAnswerError) else f"{type(problem).__name__}: {problem}"
            lasting = "and all later ones" if self.faults.is_persistent else "once"
            raise CrashViolationError(
                model=f"file operation {self.faults.number} fails {lasting} ({self.faults.failure})",
                program=" ".join(self.program) or "(creation)",
                point=self._at,
                problem=told,
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
