"""Measure the tests: make one small wrong change after the other, and count those that no test notices.

    python -m tests.mutation.run domain
    python -m tests.mutation.run file --sample 600 --seed 1

First every test runs once on the right code, to record the lines that it runs. Then each mutant runs in a process of its own, against
the tests that run the changed line, quick ones first. A mutant's run ends at the first failure. Nothing is written. The output ends with
the survivors as diffs, and the score by file. Mutants that make no difference are listed in ``equivalent.toml``, with reasons, and are
not run.
"""

import argparse
import importlib
import importlib.util
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import attrs
import pytest

from tests.mutation import cold
from tests.mutation.coverage_map import CoverageMap
from tests.mutation.equivalent import reasons
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.trial import Outcome, attempt
from tests.mutation.warm import WarmTests

LOADED_ONCE = ("anyio", "attrs", "cattrs", "coverage", "hypothesis.stateful", "msgspec", "trio")


@attrs.frozen
class Target:
    """The code to change, and the tests that should notice: files, folders, options of pytest.

    Attributes:
        as_a_whole: test files whose tests depend on each other.
    """

    package: str
    tests: tuple[str, ...]
    as_a_whole: tuple[str, ...] = ()


TARGETS = {
    "domain": Target(
        "inventory_es.domain",
        (
            "tests/unit/domain",
            "tests/architecture/test_errors.py",
            "tests/property/test_history_properties.py",
            "tests/property/test_program_properties.py",
            "tests/property/test_machine.py",
            "tests/property/test_savepoints.py",
            "--deselect=tests/property/test_history_properties.py::test_the_generator_reaches_every_corner",
        ),
        as_a_whole=("tests/unit/domain/test_cost.py",),
    ),
    "file": Target(
        "inventory_es.adapters.file",
        (
            "tests/unit/adapters/file",
            "tests/contract/test_file_event_store.py",
            "tests/contract/test_file_cache.py",
            "tests/contract/test_file_event_bus.py",
            "tests/crash/test_file_store.py",
            "--deselect=tests/crash/test_file_store.py::test_programs_of_three_operations",
            "--deselect=tests/crash/test_file_store.py::test_every_program_of_two_operations",
            "--deselect=tests/crash/test_file_store.py::test_longer_programs",
        ),
    ),
}

OBSERVING = 900
"""Seconds for one run of all tests, traced."""
LOADING = 30
"""Seconds for importing and collecting, added to the time that a test may take."""
TIMES_AS_LONG = 4
FIRST_ASKED = 10
"""Tests that noticed mutants of a module lately, and will probably notice the next one."""


def modules_of(package: str) -> Mapping[str, Path]:
    """Return the modules of a package, without importing it."""
    top, *below = package.split(".")
    spec = importlib.util.find_spec(top)  # the top package alone, because finding one below it would import the code to be changed
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent
    paths = sorted(source.joinpath(*below).rglob("*.py"))
    return {".".join((top, *path.relative_to(source).with_suffix("").parts)): path for path in paths if path.stem != "__init__"}


def try_all(target: Target, paths: Sequence[Path], mutants: Sequence[Mutant]) -> Mapping[Mutant, Outcome]:
    """Return the outcome of each mutant, and print survivors when they are found.

    Mutants of functions run in a process that knows the tests, the others in one that has imported nothing.
    """
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        place = Path(folder)
        functions = [mutant for mutant in mutants if mutant.function is not None]
        warm = os.fork()
        if warm == 0:
            _warm_process(target, paths, functions, place)
        _, status = os.waitpid(warm, 0)
        if status:
            sys.exit("stopped")
        covered = CoverageMap.parse(place.joinpath("covered").read_text(encoding="utf-8"))
        told = [Outcome(line) for line in place.joinpath("outcomes").read_text(encoding="utf-8").split()]
    outcomes = dict(zip(functions, told, strict=True))
    left = [mutant for mutant in mutants if outcomes.get(mutant, Outcome.UNKNOWN) is Outcome.UNKNOWN]
    for number, mutant in enumerate(left, start=1):
        outcomes[mutant] = _cold_trial(mutant, covered)
        _show(mutant, outcomes[mutant], f"{number} of {len(left)} on import")
    return outcomes


def _warm_process(target: Target, paths: Sequence[Path], mutants: Sequence[Mutant], place: Path) -> None:
    def work(tests: WarmTests) -> None:
        def observe() -> bool:
            try:
                place.joinpath("covered").write_text(tests.observe(target.as_a_whole).dump(), encoding="utf-8")
            except ValueError as error:
                place.joinpath("told").write_text(str(error), encoding="utf-8")
                raise
            return True

        if attempt(observe, seconds=OBSERVING) is not Outcome.SURVIVED:
            sys.exit(place.joinpath("told").read_text(encoding="utf-8"))
        covered = CoverageMap.parse(place.joinpath("covered").read_text(encoding="utf-8"))
        tests.settle()
        if attempt(lambda: tests.failing_with(None, covered.all_tests()) is None, seconds=OBSERVING) is not Outcome.SURVIVED:
            sys.exit("the tests fail without any change, when the quick ones come first")
        with place.joinpath("outcomes").open("w", encoding="utf-8") as outcomes:
            for number, outcome in enumerate(_warm_trials(tests, covered, mutants, place.joinpath("told")), start=1):
                print(outcome.value, file=outcomes)
                _show(mutants[number - 1], outcome, f"{number} of {len(mutants)} in functions")

    status = pytest.main([*cold.QUIETLY, "-s", *target.tests], plugins=[WarmTests(paths, work)])
    os._exit(status)


def _warm_trials(tests: WarmTests, covered: CoverageMap, mutants: Sequence[Mutant], told: Path) -> Iterator[Outcome]:
    noticing: dict[Path, list[str]] = {}
    for mutant in mutants:
        known = noticing.setdefault(mutant.path, [])
        seconds = covered.tests_of(mutant)
        seconds = {test: seconds[test] for test in dict.fromkeys([*(test for test in known if test in seconds), *seconds])}

        def passes() -> bool:
            failing = tests.failing_with(mutant, seconds)  # noqa: B023
            if failing is not None:
                told.write_text(failing, encoding="utf-8")
            return failing is None

        outcome = attempt(passes, seconds=_limit(seconds)) if seconds else Outcome.SURVIVED
        if outcome is Outcome.SURVIVED and covered.runs_on_import(mutant):
            outcome = Outcome.UNKNOWN
        if outcome is Outcome.KILLED and told.exists():
            failing = told.read_text(encoding="utf-8")
            told.unlink()
            if covered.is_on_its_own(failing):
                known[:] = [failing, *(test for test in known if test != failing)][:FIRST_ASKED]
        yield outcome


def _cold_trial(mutant: Mutant, covered: CoverageMap) -> Outcome:
    seconds = covered.tests_of(mutant)
    return attempt(lambda: cold.pass_with(mutant, [*seconds]), seconds=_limit(seconds))


def _limit(seconds: Mapping[str, float]) -> float:
    return LOADING + TIMES_AS_LONG * sum(seconds.values())


def _show(mutant: Mutant, outcome: Outcome, progress: str) -> None:
    if outcome is Outcome.SURVIVED:
        print(f"\nSURVIVED {mutant}\n({progress})", flush=True)


def main() -> None:
    """Try the mutants of a package, list the survivors, and print the score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", choices=TARGETS, help="whose modules are changed")
    parser.add_argument("--only", default="", help="a regular expression: mutants whose name matches")
    parser.add_argument(
        "--sample",
        type=int,
        default=0,
        metavar="N",
        help="this many of them, drawn by the seed, nearly the same when code changes; all when left out",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample")
    options = parser.parse_args()
    target = TARGETS[options.package]

    for name in LOADED_ONCE:
        importlib.import_module(name)
    modules = modules_of(target.package)
    every = [mutant for module, path in modules.items() for mutant in mutants_of(module, path)]
    same = reasons()
    for name in sorted({name for name in same if name.startswith(target.package)} - {mutant.name for mutant in every}):
        print(f"listed as equivalent, and not there any more: {name}")
    chosen = [mutant for mutant in every if re.search(options.only, mutant.name)]
    if options.sample:
        drawn = sorted(chosen, key=lambda mutant: sha256(f"{options.seed} {mutant.name}".encode()).digest())[: options.sample]
        chosen = sorted(drawn, key=every.index)
    told = try_all(target, [*modules.values()], [mutant for mutant in chosen if mutant.name not in same])
    outcomes = Counter((mutant.module, outcome) for mutant, outcome in told.items())
    _tell(modules, outcomes, Counter(mutant.module for mutant in chosen if mutant.name in same))


def _tell(modules: Mapping[str, Path], outcomes: Mapping[tuple[str, Outcome], int], equivalent: Mapping[str, int]) -> None:
    columns = (Outcome.KILLED, Outcome.TIMEOUT, Outcome.SURVIVED)
    print(f"\n{'':56}{'killed':>9}{'timeout':>9}{'survived':>9}{'equivalent':>12}")
    for module in modules:
        figures = [outcomes.get((module, outcome), 0) for outcome in columns]
        if any(figures) or equivalent.get(module, 0):
            print(f"{module:56}{''.join(f'{figure:9}' for figure in figures)}{equivalent.get(module, 0):12}")
    killed, timeouts, survived = (sum(count for (_, outcome), count in outcomes.items() if outcome is column) for column in columns)
    tried = killed + timeouts + survived
    print(f"{'':56}{killed:9}{timeouts:9}{survived:9}{sum(equivalent.values()):12}")
    print(f"{killed + timeouts} of {tried} noticed: {(killed + timeouts) / max(tried, 1):.1%}")


if __name__ == "__main__":
    main()
