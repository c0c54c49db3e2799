"""Which tests run which line, and what each takes: only those can notice a mutant there, the quick ones soonest."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import attrs

from tests.mutation.mutants import Mutant

ON_IMPORT = ""
MOST_SECONDS = 8
"""Of the tests that one mutant is tried against: what is left out, of the slow ones, can only make the score worse."""


@attrs.frozen
class CoverageMap:
    """What one run of the right code showed.

    Attributes:
        lines: file → line → tests that run it; :data:`ON_IMPORT` among them: it runs when modules are imported.
        seconds: test → processor time that it took, in the order in which they ran.
        as_a_whole: files whose tests depend on each other: they run last, all of them, in their order.
    """

    lines: Mapping[str, Mapping[int, Sequence[str]]]
    seconds: Mapping[str, float]
    as_a_whole: Sequence[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read back what :meth:`dump` wrote."""
        told = json.loads(text)
        lines = {path: {int(line): tests for line, tests in lines.items()} for path, lines in told["lines"].items()}
        return cls(lines, told["seconds"], told["as_a_whole"])

    def dump(self) -> str:
        """As text, to go from process to process."""
        return json.dumps(attrs.asdict(self))

    def tests_of(self, mutant: Mutant) -> Mapping[str, float]:
        """The tests that run the changed line, the quick ones first; of what runs on import, all beside one that runs any of its module.

        With the processor time that each takes.
        """
        lines = self.lines.get(str(mutant.path), {})
        first, last = mutant.lines
        if mutant.function is not None:
            return self._quick_first(lines.get(line, ()) for line in range(first, last + 1))
        files = {_file(test) for tests in lines.values() for test in tests}
        return self._quick_first([[test for test in self.seconds if _file(test) in files]]) or self._quick_first([self.seconds])

    def all_tests(self) -> Mapping[str, float]:
        """Every test, the quick ones first."""
        return self._quick_first([self.seconds], most_seconds=float("inf"))

    def runs_on_import(self, mutant: Mutant) -> bool:
        """Whether the changed line was run before any test."""
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
        """Whether it may run alone."""
        return _file(test) not in self.as_a_whole


def _file(test: str) -> str:
    return test.partition("::")[0]
