"""Mutants of code that runs on import, in forks of a process that has not imported the package. The import system gets the wrong module."""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType

import pytest
from hypothesis import Phase, settings

from tests.mutation.mutants import Mutant

QUIETLY = (
    "-x",
    "-q",
    "--tb=native",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:cov",
    "-p",
    "no:xdist",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)


class _Changed(SourceFileLoader):
    def __init__(self, mutant: Mutant) -> None:
        super().__init__(mutant.module, str(mutant.path))
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._mutant.tree(), self.get_filename(fullname), "exec")


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        del path, target
        return importlib.util.spec_from_loader(fullname, _Changed(self._mutant)) if fullname == self._mutant.module else None


class _Only:
    """A pytest plugin that runs the named tests, in the given order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._order = {test: place for place, test in enumerate(tests)}

    def pytest_sessionstart(self) -> None:
        take_any_example()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((item for item in items if item.nodeid in self._order), key=lambda item: self._order[item.nodeid])


def take_any_example() -> None:
    """Let hypothesis not shrink, because any failing example is enough."""
    unshrunk = settings(settings.get_profile("repeatable"), phases=(Phase.explicit, Phase.generate, Phase.target))
    settings.register_profile("unshrunk", unshrunk)
    settings.load_profile("unshrunk")


def pass_with(mutant: Mutant, tests: Sequence[str]) -> bool:
    """Return True if the tests pass in this process, in the given order, with the mutant imported in its module's place."""
    sys.meta_path.insert(0, _Finder(mutant))
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    return pytest.main([*QUIETLY, *files], plugins=[_Only(tests)]) == 0
