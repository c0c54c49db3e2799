"""A promise of a port: its id and its sentence, bound to the case that checks it."""

from collections.abc import Awaitable, Callable
from typing import Any
from unittest import SkipTest

import attrs

CaseBody = Callable[[Any, Any], Awaitable[None]]


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
