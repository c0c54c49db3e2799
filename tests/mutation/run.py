"""How good the tests are: makes one small wrong change after the other, and counts those that no test notices.

    python -m tests.mutation.run inventory_es.domain tests/unit/domain tests/property

Each mutant runs in a process of its own, against the given tests in the given order, up to the first failure. Nothing is
written: the changed module is given to the import system. Takes a second or so for each mutant that is noticed.
"""

import argparse
import ast
import importlib.util
import os
import random
import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType

import pytest

from tests.mutation.mutants import Mutant, mutants_of

PACKAGES_LOADED_ONCE = ("anyio", "attrs", "cattrs", "hypothesis.stateful", "msgspec", "trio")
QUIETLY = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:cov", "-W", "ignore::pytest.PytestAssertRewriteWarning")


class _Changed(SourceFileLoader):
    tree: ast.Module

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.tree, self.get_filename(fullname), "exec")


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant, path: Path) -> None:
        self._mutant = mutant
        self._path = path

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        del path, target
        if fullname != self._mutant.module:
            return None
        loader = _Changed(fullname, str(self._path))
        loader.tree = self._mutant.tree()
        return importlib.util.spec_from_loader(fullname, loader)


def is_noticed(mutant: Mutant, path: Path, tests: Sequence[str], *, seconds: int) -> bool:
    """Whether the tests fail, or don't end in time."""
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
            sys.meta_path.insert(0, _Finder(mutant, path))
            code = 1
            try:
                code = pytest.main([*QUIETLY, *tests])
            finally:
                os._exit(0 if code == 0 else 1)
    _, status = os.waitpid(child, 0)
    return status != 0


def main() -> None:
    """Run the mutants of a package and list the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", help="dotted name: its modules are changed")
    parser.add_argument("tests", nargs="+", help="what pytest runs, the quick ones first")
    parser.add_argument("--only", default="", help="a regular expression: mutants whose description matches")
    parser.add_argument("--sample", type=int, default=0, help="this many of them, chosen by seed 0; all when left out")
    parser.add_argument("--part", default="1/1", help="k/n: every n-th mutant, from the k-th, to share the work")
    parser.add_argument("--seconds", type=int, default=240, help="when a mutant counts as hanging")
    options = parser.parse_args()

    for name in PACKAGES_LOADED_ONCE:
        importlib.import_module(name)
    top, *below = options.package.split(".")
    spec = importlib.util.find_spec(top)  # of the top alone: finding one below it would import what is to be changed
    if spec is None or spec.origin is None:
        parser.error(f"there is no package {options.package}")
    paths = sorted(Path(spec.origin).parent.joinpath(*below).glob("*.py"))
    if not paths:
        parser.error(f"there is no module in {options.package}")
    unchanged = Mutant(f"{options.package}.{paths[-1].stem}", paths[-1].read_text(encoding="utf-8"))
    if is_noticed(unchanged, paths[-1], options.tests, seconds=options.seconds):
        parser.error("the tests fail without any change")
    found = [
        (mutant, path)
        for path in paths
        if path.stem != "__init__"
        for mutant in mutants_of(f"{options.package}.{path.stem}", path.read_text(encoding="utf-8"))
        if re.search(options.only, str(mutant))
    ]
    if options.sample:
        found = random.Random(0).sample(found, min(options.sample, len(found)))
    part, parts = map(int, options.part.split("/"))
    found = found[part - 1 :: parts]
    started, survivors = time.monotonic(), 0
    for number, (mutant, path) in enumerate(found, start=1):
        if not is_noticed(mutant, path, options.tests, seconds=options.seconds):
            survivors += 1
            print(f"SURVIVED  {mutant}", flush=True)
        elif number % 50 == 0:
            print(f"{number} of {len(found)}, {survivors} survived, {time.monotonic() - started:.0f} s", flush=True)
    print(f"{len(found) - survivors} of {len(found)} noticed ({(len(found) - survivors) / max(len(found), 1):.1%})")


if __name__ == "__main__":
    main()
