"""The base of every contract: it runs each case on each event loop, under the plain and the seeded schedules, and reports."""

import os
import sys
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import anyio
import attrs

from inventory_es.ports.toolkit.adapter_name import adapter_name, unwrapped
from inventory_es.testing.contracts.core.history import History
from inventory_es.testing.contracts.core.own_lines import own_lines
from inventory_es.testing.contracts.core.schedule import PLAIN, Schedule
from inventory_es.testing.optional import INSTALL, not_installed
from inventory_es.testing.promise import (
    BrokenPromiseError,
    CaseBody,
    KnownFailureError,
    MismatchError,
    NoHookError,
    NotDeclaredError,
    NotTriedError,
    Promise,
    report,
)
from inventory_es.testing.site import Site

_site_numbers = count(1)


@attrs.define(eq=False)
class Run:
    """One run of one case: its site, event loop and schedule, and what happened.

    Attributes:
        adapter: the name of the adapter, and its declarations beyond the defaults, for the report.
        declared: all declarations of the adapter, by name.
        opened: the class of the adapter, without its wrappers; ``None`` before it was opened. The adapter itself is not kept: test runners
            keep each case until all have ended, and with it threads and connections.
    """

    contract: "Contract"
    promise: Promise
    backend: str
    seed: int
    site: Site
    history: History
    schedule: Schedule
    adapter: str = "not opened"
    declared: Mapping[str, object] = {}
    opened: type | None = None

    def note_opened(self, adapter: object, declared: Mapping[str, object], beyond: str) -> None:
        """Note for the report which adapter was opened, without its wrappers.

        Args:
            adapter: the adapter that the contract's hook opened.
            declared: all its declarations, by name.
            beyond: its declarations beyond the defaults, as a text.
        """
        self.opened = type(unwrapped(adapter))
        self.adapter = f"{adapter_name(adapter)} (declared: {beyond})"
        self.declared = declared

    def not_declared(self, what: str) -> NoReturn:
        """End the case, because the adapter does not declare ``what``."""
        msg = f"{self.promise.id} not declared: {what}"
        raise NotDeclaredError(msg)

    def not_tried(self, what: str) -> NoReturn:
        """End the case, because ``what`` is not available to try it with."""
        msg = f"{self.promise.id} not tried: {what}"
        raise NotTriedError(msg)

    def no_hook(self, what: str) -> NoReturn:
        """End the case, because it needs an optional hook of the contract, or an answer that the hook does not give."""
        msg = f"{self.promise.id} not tried: {what}"
        raise NoHookError(msg)


class Contract:
    """Base of the contracts. A subclass in a host's tests opens the adapter; every inherited ``test_…`` method is one case.

    Cases are synchronous and run their own event loop, so any test runner can call them. Importing a contract collects no tests.
    A subclass may set every attribute below.

    Attributes:
        backends: event loops to run on; shorten it where a driver supports only one. An event loop that is not installed is not tried, and
            ``test_every_event_loop_is_tried`` says so once.
        known_failures: reasons of failures, by promise id. Strict: a listed case that passes is reported as broken.
        patience: seconds that one run of a case may take before it counts as hanging.
        seeds: schedules to run instead of each case's own choice; 0 is the plain one.
        last_run: the last run, for reports.
    """

    kind: ClassVar[str] = "adapter"
    _lifespan: ClassVar[AbstractContextManager[None]]
    backends: Sequence[str] = ("asyncio", "trio")
    known_failures: Mapping[str, str] = {}
    patience: float = 30.0
    seeds: Sequence[int] | None = None
    last_run: Run | None = None

    @classmethod
    def lifespan(cls) -> AbstractContextManager[None]:
        """Return the context of all cases of this class, such as a server. Hook; entered before the first case."""
        return _no_lifespan()

    async def drop(self, site: Site) -> None:
        """Remove what the adapter keeps outside ``site.path``. Hook; called after each run, with the adapter closed."""

    async def settle(self) -> None:
        """Wait until written events can be read. Hook, for a backend that answers before it shows them."""

    @classmethod
    def setup_class(cls) -> None:
        """Enter the lifespan. Called by the test runner."""
        cls._lifespan = cls.lifespan()
        cls._lifespan.__enter__()

    @classmethod
    def teardown_class(cls) -> None:
        """Leave the lifespan. Called by the test runner."""
        cls._lifespan.__exit__(None, None, None)

    def run_case(self, promise: Promise, body: CaseBody) -> None:
        """Run one case on every event loop, under every schedule.

        Raises:
            BrokenPromiseError: the adapter breaks the promise, or keeps one that ``known_failures`` says it breaks.
            NotDeclaredError, KnownFailureError, NotTriedError: each is a ``unittest.SkipTest``, which test runners show as skipped, with
                the reason.
        """
        __tracebackhide__ = True
        if not self.tried:
            msg = f"{promise.id} not tried: {self._not_installed()}"
            raise NotTriedError(msg)
        reason = self.known_failures.get(promise.id)
        try:
            for backend in self.tried:
                for seed in self.seeds if self.seeds is not None else range(promise.seeds + 1):
                    self._run_once(promise, body, backend, seed)
        except BrokenPromiseError as broken:
            if reason is None:
                raise
            msg = f"{promise.id} known failure: {reason}"
            raise KnownFailureError(msg) from broken
        if reason is not None:
            raise BrokenPromiseError(promise, f"{promise.id}  passes, although known_failures says: {reason}. Take it off the list.")

    def test_every_event_loop_is_tried(self) -> None:
        """Skip, with the reason, where an event loop of :attr:`backends` is not installed.

        Raises:
            NotTriedError: an event loop is not installed.
        """
        __tracebackhide__ = True
        if len(self.tried) < len(self.backends):
            msg = f"not tried: {self._not_installed()}"
            raise NotTriedError(msg)

    @property
    def tried(self) -> tuple[str, ...]:
        """The event loops of :attr:`backends` that are installed."""
        missing = not_installed(self.backends)
        return tuple(backend for backend in self.backends if backend not in missing)

    def _not_installed(self) -> str:
        missing = not_installed(self.backends)
        return f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: {INSTALL}"

    @property
    def address(self) -> str:
        """The name of this contract on a command line.

        It is ``tests/test_store.py:TestStore`` below the current folder, else ``module:TestStore``.
        """
        kind = type(self)
        source = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if source is not None and Path(source).is_relative_to(Path.cwd()):
            return f"{Path(source).relative_to(Path.cwd())}:{kind.__qualname__}"
        return f"{kind.__module__}:{kind.__qualname__}"

    @property
    def module(self) -> str:
        """The module that opens the adapter."""
        return type(self).__module__

    def harness(self, run: Run) -> Any:
        """Return the harness that the cases of this contract get."""
        return run

    def _run_once(self, promise: Promise, body: CaseBody, backend: str, seed: int) -> None:
        __tracebackhide__ = True
        with tempfile.TemporaryDirectory(prefix="inventory-es-", ignore_cleanup_errors=True) as folder:
            name = f"{promise.id.lower().replace('-', '_')}_{os.getpid()}_{next(_site_numbers)}"
            site = Site(name, Path(folder))
            run = Run(self, promise, backend, seed, site, History(), Schedule(seed, promise.id))
            self.last_run = run
            try:
                anyio.run(self._play, body, run, backend=backend)
            except Exception as error:  # noqa: BLE001  # the report is about any error of the adapter
                leaf = _single_leaf(error)
                if isinstance(leaf, NotDeclaredError | NotTriedError):
                    raise leaf from None
                mismatch = leaf if isinstance(leaf, MismatchError) else _unexpected(leaf)
                raised = mismatch.__cause__ if mismatch is leaf else leaf
                raise BrokenPromiseError(promise, self._report(run, mismatch, raised)) from (None if mismatch is leaf else error)
            finally:
                run.history = History()  # its answers hold every event of the case

    async def _play(self, body: CaseBody, run: Run) -> None:
        with anyio.move_on_after(self.patience) as scope:
            try:
                await body(self, self.harness(run))
            finally:
                with anyio.CancelScope(shield=True):
                    await self.drop(run.site)
        if scope.cancelled_caught:
            raise MismatchError(
                expected="an end",
                got=f"none within {self.patience:g} s",
                meaning="something waits for ever: a lock that nobody frees, a reader that is never woken",
            )

    def _report(self, run: Run, mismatch: MismatchError, raised: BaseException | None) -> str:
        schedule = "plain schedule" if run.seed == PLAIN else f"seed {run.seed}"
        return report(
            run.promise,
            mismatch,
            kind=self.kind,
            adapter=run.adapter,
            circumstances=f"backend {run.backend}, {schedule}",
            raised=own_lines(raised, self._modules(run)) if raised is not None else (),
            history=str(run.history),
            repeat=(
                f"python -m inventory_es.testing check {self.address} --only {run.promise.id} --backend {run.backend} --seed {run.seed}"
            ),
        )

    def _modules(self, run: Run) -> set[str]:
        """Return the modules whose code is the adapter's, or that of the author who opens it."""
        return {self.module} if run.opened is None else {self.module, run.opened.__module__}


def _single_leaf(error: BaseException) -> BaseException:
    """Return the error that a group of errors is about: a verdict of the case, where there is one."""
    leaves = list(_leaves(error))
    return next((leaf for leaf in leaves if isinstance(leaf, (MismatchError, NotDeclaredError, NotTriedError))), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    parts: Sequence[BaseException] = getattr(error, "exceptions", ()) if _is_group(error) else ()
    if not parts:
        yield error
    for part in parts:
        yield from _leaves(part)


def _is_group(error: BaseException) -> bool:
    return isinstance(error, BaseExceptionGroup)


def _unexpected(error: BaseException) -> MismatchError:
    return MismatchError(
        expected="no error", got=f"{type(error).__name__}: {error}", meaning="the adapter raised what the case did not ask for"
    )


@contextmanager
def _no_lifespan() -> Generator[None, None, None]:
    yield
