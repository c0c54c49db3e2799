"""The coverage map: the tests that run each line, and the time of each test. Only those tests can notice a mutant of the line."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import attrs

from tests.mutation.mutants import Mutant

ON_IMPORT = ""
MOST_SECONDS = 8
"""The most seconds of tests that one mutant is tried against. Omitting slow tests can only lower the score."""


@attrs.frozen
class CoverageMap:
    """The findings of one run of the right code.

    Attributes:
        lines: by file and line, the tests that run the line. :data:`ON_IMPORT` is among them if importing runs the line.
        seconds: by test, its processor time, in the order in which the tests ran.
        as_a_whole: files whose tests depend on each other. Such tests run last, all of them, in their order.
    """

    lines: Mapping[str, Mapping[int, Sequence[str]]]
    seconds: Mapping[str, float]
    as_a_whole: Sequence[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the text of :meth:`dump`."""
        told = json.loads(text)
        lines = {path: {int(line): tests for line, tests in lines.items()} for path, lines in told["lines"].items()}
        return cls(lines, told["seconds"], told["as_a_whole"])

    def dump(self) -> str:
        """Return the map as text for another process."""
        return json.dumps(attrs.asdict(self))

    def tests_of(self, mutant: Mutant) -> Mapping[str, float]:
        """Return the tests that run the changed line with their processor times, quick ones first.

        For a line that runs on import, return all tests of each file with a test that runs any line of the module.
        """
        lines = self.lines.get(str(mutant.path), {})
        first, last = mutant.lines
        if mutant.function is not None:
            return self._quick_first(lines.get(line, ()) for line in range(first, last + 1))
        files = {_file(test) for tests in lines.values() for test in tests}
        return self._quick_first([[test for test in self.seconds if _file(test) in files]]) or self._quick_first([self.seconds])

    def all_tests(self) -> Mapping[str, float]:
        """Return every test, quick ones first."""
        return self._quick_first([self.seconds], most_seconds=float("inf"))

    def runs_on_import(self, mutant: Mutant) -> bool:
        """Return True if the changed line ran before any test."""
        lines = self.lines.get(str(mutant.path), {})
        return any(ON_IMPORT in lines.get(line, ()) for line in range(mutant.lines[0], mutant.lines[1] + 1))

    def _quick_first(self, found: Iterable[Iterable[str]], most_seconds: float = MOST_SECONDS) -> Mapping[str, float]:
        tests = {test for some in found for test in some if test != ON_IMPORT}
        spent, quick = 0.0, list[str]()
        for test in sorted(tests, key=lambda test: (self.seconds[test], test)):
            spent += self.seconds[test]
            if _file(test) not in self.as_a_whole and spent <= most_seconds:
                quick.append(test)
        wanted = {_file(test) for test in tests}.intersection(self.as_a_whole)
        last = [test for test in self.seconds if _file(test) in wanted]
        return {test: self.seconds[test] for test in (*quick, *last)}

    def is_on_its_own(self, test: str) -> bool:
        """Return True if the test may run alone."""
        return _file(test) not in self.as_a_whole


def _file(test: str) -> str:
    return test.partition("::")[0]
