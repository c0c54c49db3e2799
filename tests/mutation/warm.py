"""Mutants of functions, in forks of a process that has collected the tests. The wrong function's code replaces that of the right one.

Nothing is imported or collected again, so a mutant costs little more than the tests that run its line.
"""

import gc
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mutation.cold import take_any_example
from tests.mutation.coverage_map import CoverageMap
from tests.mutation.mutants import Function, Mutant
from tests.mutation.trial import NotThisWayError, wait_at_most


class WarmTests:
    """A pytest plugin that collects the tests once.

    Args:
        paths: the modules that are to be changed.
        work: called instead of running the tests one after the other.
    """

    def __init__(self, paths: Iterable[Path], work: Callable[["WarmTests"], None]) -> None:
        self._paths = {str(path) for path in paths}
        self._work = work
        self._tracer = coverage.Coverage(data_file=None, config_file=False, include=sorted(self._paths))
        self._tracer.start()
        self._session: pytest.Session | None = None
        self._functions: dict[tuple[str, Function], list[FunctionType]] = {}

    def pytest_sessionstart(self) -> None:
        """Shorten the reports of failures."""
        take_any_example()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Do the work instead of running the tests."""
        self._session = session
        self._work(self)
        return True

    def observe(self, as_a_whole: Sequence[str]) -> CoverageMap:
        """Run every test once, in a process that ends afterwards.

        Raises:
            ValueError: a test fails.
        """
        session, seconds = self._collected(), dict[str, float]()
        for item, following in _with_next(session.items):
            self._tracer.switch_context(item.nodeid)
            started = _spent()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            seconds[item.nodeid] = _spent() - started
            if session.testsfailed:
                msg = f"{item.nodeid} fails without any change"
                raise ValueError(msg)
        self._tracer.stop()
        data = self._tracer.get_data()
        return CoverageMap({path: data.contexts_by_lineno(path) for path in data.measured_files()}, seconds, as_a_whole)

    def settle(self) -> None:
        """Prepare for :meth:`failing_with`, and stop tracing."""
        self._tracer.stop()
        _draw_once()
        for one in gc.get_objects():
            if isinstance(one, FunctionType) and one.__code__.co_filename in self._paths:
                self._functions.setdefault(_key(one.__code__), []).append(one)
        gc.freeze()

    def failing_with(self, mutant: Mutant | None, tests: Mapping[str, float]) -> str | None:
        """Return the first test that fails in this process with the mutant, in the given order.

        Args:
            mutant: the mutant; ``None`` for the right code.
            tests: the tests with their processor times.

        Raises:
            NotThisWayError: the mutant's code does not fit into the existing function.
        """
        session = self._collected()
        if mutant is not None:
            self._put(mutant)
        by_name = {item.nodeid: item for item in session.items}
        for item, following in _with_next([by_name[test] for test in tests]):
            wait_at_most(tests[item.nodeid])
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.testsfailed:
                return item.nodeid
        return None

    def _collected(self) -> pytest.Session:
        if self._session is None:
            msg = "the tests were not collected"
            raise RuntimeError(msg)
        return self._session

    def _put(self, mutant: Mutant) -> None:
        wanted = (str(mutant.path), mutant.function)
        codes = [code for code in _codes(compile(mutant.tree(), str(mutant.path), "exec")) if _key(code) == wanted]
        functions = [] if mutant.function is None else self._functions.get((str(mutant.path), mutant.function), [])
        if not codes or not functions:
            raise NotThisWayError
        for function in functions:
            try:
                function.__code__ = codes[0]
            except ValueError as error:  # the code has other free variables
                raise NotThisWayError from error


def _spent() -> float:
    """Return the seconds of processor time of this process and of the processes that it waited for."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system


def _with_next(items: Sequence[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True) if items else iter(())


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _key(code: CodeType) -> tuple[str, Function]:
    return code.co_filename, Function(code.co_qualname, code.co_firstlineno)


def _draw_once() -> None:
    """Draw once, because hypothesis scans all modules for constants on its first draw, and one scan is enough."""

    @given(st.integers(), st.text())
    def draw(number: int, text: str) -> None:
        del number, text

    draw()
