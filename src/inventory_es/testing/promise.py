"""A promise of a port: its id and its sentence, the case that checks it, and the report when it is broken."""

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
    """What an adapter promises.

    Attributes:
        id: short and stable (``ES-10``).
        sentence: what is promised, in one sentence.
        seeds: how many seeded schedules its case runs under, beside the plain one.
    """

    id: str
    sentence: str
    seeds: int


class NotDeclaredError(SkipTest):
    """The adapter does not declare what the case needs. Test runners show it with its reason, never as passed."""


class NotTriedError(SkipTest):
    """What the case needs is not installed, or not there on this platform. Test runners show it with its reason, never as passed."""


class NoHookError(NotTriedError):
    """The case needs an optional hook that the contract does not have. What is tried without it stands for itself."""


class KnownFailureError(SkipTest):
    """The case fails, and ``known_failures`` says so. Test runners show it with its reason, never as passed."""


def promise(promise_id: str, sentence: str, /, *, seeds: int = 2) -> Callable[[CaseBody], Callable[[Any], None]]:
    """Make a synchronous test method of an asynchronous case.

    Args:
        promise_id: which promise the case checks; several cases may check one.
        sentence: the promise, in one sentence.
        seeds: how many seeded schedules to run beside the plain one.
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
    """The promise that a test method checks; ``None`` for any other object."""
    found = getattr(case, "promise", None)
    return found if isinstance(found, Promise) else None


@attrs.define(eq=False, slots=False, kw_only=True)
class MismatchError(Exception):
    """Inside a case: what was expected, what came, what it means. The contract makes a :class:`BrokenPromiseError` of it.

    Attributes:
        expected: what the promise asks for.
        got: what the adapter did.
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
    """An adapter does not keep a promise. The text is the whole report.

    Attributes:
        promise: which one.
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
    """The text of a broken promise.

    Args:
        promise: what was promised.
        mismatch: what came instead.
        kind: what the adapter is: ``store``, ``cache``, ``bus``.
        adapter: its name and what it declares.
        circumstances: event loop and schedule.
        history: the operations of the run.
        repeat: a command line that runs this again.
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
