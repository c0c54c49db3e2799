"""A campaign: many programs, over several processes, until enough crash states were tried."""

import logging
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from random import Random

import attrs

from inventory_es.testing.crash.aftermath import Aftermath, Counts
from inventory_es.testing.crash.explorer import FAILURES, Explorer, sweep
from inventory_es.testing.crash.subject import Subject
from inventory_es.testing.crash.world import Program, programs, random_program
from inventory_es.testing.loading import load

LONGEST_OF_ALL = 3
"""Length up to which every program is tried. Longer programs are drawn."""

_LONGEST_WITH_FAILED_SYNCS = 1
_LONGEST_SWEPT = 2


@attrs.frozen
class Task:
    """One program, the unit of work of a worker.

    Attributes:
        program: the operations.
        with_failed_syncs: True if the program also runs with each of its syncs failing.
        with_sweep: True if the program also runs with each of its file operations failing.
    """

    program: Program
    with_failed_syncs: bool
    with_sweep: bool


@attrs.define
class Progress:
    """The progress of a campaign.

    Attributes:
        counts: counts of crashes.
        failures: file operations that failed in turn, in error sweeps.
        tasks: programs that are done.
        complete: the length up to which all programs are done; -1 for none.
    """

    counts: Counts = attrs.field(factory=Counts)
    failures: int = 0
    tasks: int = 0
    complete: int = -1

    def __str__(self) -> str:
        extent = f"every program of up to {self.complete} operations" if self.complete >= 0 else "a part of the programs"
        return f"{extent}, {self.tasks:,} programs in all: {self.counts}; {self.failures:,} failed file operations"


def tasks(seed: int) -> Iterator[Task]:
    """Yield every short program, shuffled by the seed within each length, then longer ones without end."""
    chance = Random(seed)
    for length in range(LONGEST_OF_ALL + 1):
        of_length = list(programs(length))
        chance.shuffle(of_length)
        for program in of_length:
            yield Task(program, length <= _LONGEST_WITH_FAILED_SYNCS, length <= _LONGEST_SWEPT)
    while True:
        yield Task(random_program(chance), with_failed_syncs=True, with_sweep=True)


def run_task(address: str, task: Task, *, most: int, seed: int) -> tuple[Counts, int]:
    """Do a task. Return its counts, and how many file operations failed in turn.

    Args:
        address: names a :class:`Subject`, or a function that makes one, as on a command line.
        task: the task.
        most: states that are tried per crash point and model.
        seed: decides which states are drawn.

    Raises:
        CrashViolationError: a promise is broken.
    """
    subject = subject_at(address)
    aftermath = Aftermath(subject, most=most)
    explorer = Explorer(aftermath, seed=seed)
    explorer.explore(task.program)
    if task.with_failed_syncs:
        explorer.explore_failed_syncs(task.program)
    failures = 0
    if task.with_sweep:
        for failure in FAILURES:
            for is_persistent in (False, True):
                failures += sweep(subject, task.program, failure, is_persistent=is_persistent)
    return aftermath.counts, failures


def run_campaign(address: str, *, states: int, seed: int, workers: int, most: int, report: Callable[[Progress], None]) -> Progress:
    """Do tasks until enough crash states were tried.

    Args:
        address: as for :func:`run_task`.
        states: how many states are enough.
        seed: decides the order of the programs, and which states are drawn.
        workers: processes to use.
        most: as for :func:`run_task`.
        report: called with the progress after each task.

    Raises:
        CrashViolationError: a promise is broken.
    """
    progress, waiting = Progress(), tasks(seed)
    running: deque[tuple[Task, Future[tuple[Counts, int]]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=logging.disable) as pool:
        try:
            last: Task | None = None
            while progress.counts.states < states:
                while len(running) < 2 * workers:
                    task = next(waiting)
                    running.append((task, pool.submit(run_task, address, task, most=most, seed=seed)))
                task, future = running.popleft()
                counts, failures = future.result()
                if last is not None and len(task.program) > len(last.program):
                    progress.complete = min(len(task.program) - 1, LONGEST_OF_ALL)
                last = task
                progress.counts.add(counts)
                progress.failures += failures
                progress.tasks += 1
                report(progress)
        finally:
            pool.shutdown(cancel_futures=True)
    return progress


@cache
def subject_at(address: str) -> Subject:
    """Return the subject that a command line names.

    Raises:
        ValueError: the address names none.
    """
    found = load(address)
    subject = found if isinstance(found, Subject) or not callable(found) else found()
    if isinstance(subject, Subject):
        return subject
    msg = f"{address} is neither a Subject nor a function that makes one"
    raise ValueError(msg)
