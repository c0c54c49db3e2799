"""One run: every contender takes its turn, round after round, so that all meet the same conditions."""

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs

from benchmarks.contender_line import ContenderLine, TaskFailedError
from benchmarks.contenders import OURS, TASKS, Contender
from benchmarks.environments import EnvironmentMissingError, versions_of
from benchmarks.machine import machine
from benchmarks.measure import Measure, Measures
from benchmarks.processes.study import study
from benchmarks.sizes import FULL, Sizes
from benchmarks.startup import startup

Say = Callable[[str], None]

GROUPS = {
    "W1": "commands",
    "W1C": "commands",
    "W2": "log",
    "W3": "hot",
    "W4": "log",
    "W5": "startup",
    "W6": "growth",
    "SNAPSHOTS": "snapshots",
    "QUERIES": "queries",
    "PROCESSES": "processes",
    "CODEC": "codec",
    "PROFILE": "profile",
}
"""The groups that a run can be limited to, and the task of each."""

PATH = re.compile(r"/\S*/")
"""Facts of this machine that a reader does not need."""

GROWING = ("file, asyncio", "SQLite, asyncio", "memory, asyncio")


@attrs.define
class Results:
    """The results of a run.

    Attributes:
        about: sizes, rounds, machine, versions, seconds.
        rounds: one measure per round, by contender and case.
        alone: measures that only the engine has, by contender and case.
        failures: measurements that failed, in words.
    """

    about: dict[str, Any]
    rounds: dict[str, dict[str, list[Measure]]] = attrs.field(factory=dict)
    alone: dict[str, Measures] = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)


def run(contenders: Sequence[Contender], sizes: Sizes, *, rounds: int, tasks: Sequence[str], say: Say) -> Results:
    """Run every task of every contender."""
    started = time.monotonic()
    results = Results({"sizes": sizes, "is_small": sizes != FULL, "rounds": rounds, "machine": machine(), "versions": {}})
    with ExitStack() as stack, tempfile.TemporaryDirectory() as temporary:
        places = _Places(Path(temporary))
        lines: list[ContenderLine] = []
        for contender in contenders:
            try:
                lines.append(stack.enter_context(ContenderLine(contender)))
            except EnvironmentMissingError as problem:
                results.failures.append(f"{contender.name}: not measured: {problem}")
                continue
            results.about["versions"].setdefault(contender.environment or "inventory_es", versions_of(lines[-1].python))
        for task in [one for one in TASKS if one in tasks]:
            _take_turns(task, lines, places, results, sizes, rounds, say)
        if "startup" in tasks:
            say("import and memory, each in a new process")
            results.alone["inventory_es"] = startup(sizes, rounds)
        if "processes" in tasks:
            results.alone |= study(places.new(), sizes, say)
        _alone(tasks, lines, places, results, sizes, say)
    results.about["seconds"] = round(time.monotonic() - started)
    return results


def _take_turns(
    task: str, lines: Sequence[ContenderLine], places: "_Places", results: Results, sizes: Sizes, rounds: int, say: Say
) -> None:
    running = [line for line in lines if task in line.contender.tasks]
    kept = {line.contender.name: places.new() for line in running}
    if task == "log":
        say("log: writing what is read")
        running = [line for line in running if _do(line, "prepare_log", kept[line.contender.name], sizes, results) is not None]
    for number in range(rounds):
        say(f"{task}: round {number + 1} of {rounds}")
        for line in list(running[number % len(running) :] + running[: number % len(running)] if running else ()):
            measures = _do(line, task, kept[line.contender.name] if task == "log" else places.new(), sizes, results)
            if measures is None:
                running.remove(line)
                continue
            cases = results.rounds.setdefault(line.contender.name, {})
            for case, measure in measures.items():
                cases.setdefault(case, []).append(measure)


def _alone(tasks: Sequence[str], lines: Sequence[ContenderLine], places: "_Places", results: Results, sizes: Sizes, say: Say) -> None:
    wanted = {"growth": GROWING, "snapshots": GROWING[:2], "queries": (OURS[0].name,), "codec": (OURS[0].name,), "profile": (OURS[0].name,)}
    for task, names in wanted.items():
        for line in lines:
            if task in tasks and line.contender.name in names:
                say(f"{task}: {line.contender.name}")
                results.alone.setdefault(line.contender.name, {}).update(_do(line, task, places.new(), sizes, results) or {})


def _do(line: ContenderLine, task: str, folder: Path, sizes: Sizes, results: Results) -> Measures | None:
    try:
        return line.do(task, folder, sizes)
    except TaskFailedError as problem:
        reason = PATH.sub("…/", str(problem).strip().splitlines()[-1])
        results.failures.append(f"{line.contender.name}, {task}: {reason}")
        return None


class _Places:
    """A source of fresh folders."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._number = 0

    def new(self) -> Path:
        self._number += 1
        place = self._root / str(self._number)
        place.mkdir()
        return place
