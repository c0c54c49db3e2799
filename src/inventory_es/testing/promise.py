"""A promise of a port: its id and sentence, the case that checks it, and the report when it is broken."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import starmap
from typing import Any
from unittest import SkipTest

import attrs

CaseBody = Callable[[Any, Any], Awaitable[None]]
_INDENT = 12
_WIDTH = 118


@attrs.frozen
class Promise:
    """A promise of an adapter.

    Attributes:
        id: short and stable (``ES-10``).
        sentence: the promise in one sentence.
        seeds: the number of seeded schedules under which its case runs, besides the plain one.
    """

    id: str
    sentence: str
    seeds: int


class NotDeclaredError(SkipTest):
    """The adapter does not declare what the case needs. Test runners show the case as skipped, with the reason."""


class NotTriedError(SkipTest):
    """A requirement of the case is not installed, or not available on this platform. Test runners show the case as skipped."""


class NoHookError(NotTriedError):
    """The case needs an optional hook that the contract does not have. Promises without that hook are not affected."""


class KnownFailureError(SkipTest):
    """The case fails, and ``known_failures`` says so. Test runners show the case as skipped, with the reason."""


def promise(promise_id: str, sentence: str, /, *, seeds: int = 2) -> Callable[[CaseBody], Callable[[Any], None]]:
    """Make a synchronous test method of an asynchronous case.

    Args:
        promise_id: the promise that the case checks; several cases may check one promise.
        sentence: the promise in one sentence.
        seeds: the number of seeded schedules to run besides the plain one.
    """
    bound = Promise(promise_id, sentence, seeds)

    def decorate(body: CaseBody) -> Callable[[Any], None]:
        def case(self: Any) -> None:
            self.run_case(bound, body)

        case.__name__ = getattr(body, "__name__", promise_id)
        case.__qualname__ = getattr(body, "__qualname__", promise_id)
        case.__module__ = body.__module__
        case.__doc__ = f"{promise_id}  {sentence}"
        case.promise = bound  # type: ignore[attr-defined]  # read back by promise_of
        return case

    return decorate


def promise_of(case: object) -> Promise | None:
    """Return the promise that a test method checks; ``None`` for any other object."""
    found = getattr(case, "promise", None)
    return found if isinstance(found, Promise) else None


@attrs.define(eq=False, slots=False, kw_only=True)
class MismatchError(Exception):
    """A mismatch inside a case. The contract turns it into a :class:`BrokenPromiseError`.

    Attributes:
        expected: the behaviour that the promise asks for.
        got: the behaviour of the adapter.
        meaning: why that breaks the promise, in words of the adapter's author.
        differs: the first field that differs, where both are records.
    """

    expected: str
    got: str
    meaning: str
    differs: str | None = None

    def __str__(self) -> str:
        return f"expected {self.expected}; got {self.got}: {self.meaning}"


class BrokenPromiseError(AssertionError):
    """An adapter breaks a promise. The text of the error is the whole report.

    Attributes:
        promise: the promise that is broken.
        report: the text.
    """

    def __init__(self, promise: Promise, report: str) -> None:
        super().__init__(report)
        self.promise = promise
        self.report = report

    def __str__(self) -> str:
        return self.report


def report(
    promise: Promise,
    mismatch: MismatchError,
    *,
    kind: str,
    adapter: str,
    circumstances: str,
    history: str,
    repeat: str,
    raised: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the text of a broken promise.

    Args:
        promise: the promise.
        mismatch: the behaviour that breaks it.
        kind: the port of the adapter: ``store``, ``cache``, ``bus``.
        adapter: its name and its declarations.
        circumstances: the event loop and the schedule.
        history: the operations of the run.
        repeat: a command line that repeats the run.
        raised: the adapter's own lines that raised an error, each with its name.
    """
    return "\n".join((
        f"{promise.id}  {promise.sentence}",
        *_pair(kind, adapter, "", circumstances),
        *_pair("expected", mismatch.expected, "got", mismatch.got),
        *([_line("differs", mismatch.differs)] if mismatch.differs else []),
        *starmap(_line, raised),
        _line("history", history or "nothing was asked"),
        _line("meaning", mismatch.meaning),
        _line("repeat", repeat),
    ))  # fmt: skip


def _line(name: str, text: str) -> str:
    return f"  {name:<{_INDENT - 3}} {text}"


def _pair(name: str, text: str, other_name: str, other_text: str) -> list[str]:
    other = f"{other_name}  {other_text}".strip()
    if len(text) + len(other) + _INDENT + 6 <= _WIDTH:
        return [_line(name, f"{text}      {other}")]
    return [_line(name, text), _line(other_name, other_text)]
