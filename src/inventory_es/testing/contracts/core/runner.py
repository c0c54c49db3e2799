"""The runner of the cases of a contract, for use without a test runner."""

import inspect
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal

import attrs

from inventory_es.testing.contracts.core.contract import Contract
from inventory_es.testing.promise import (
    BrokenPromiseError,
    KnownFailureError,
    NoHookError,
    NotDeclaredError,
    NotTriedError,
    Promise,
    promise_of,
)

Verdict = Literal["kept", "broken", "not declared", "not tried", "known failure"]


@attrs.frozen
class Result:
    """The result of one case.

    Attributes:
        promise: the promise that the case checks.
        verdict: kept, broken, not declared, not tried, or a known failure.
        detail: the report of a broken promise, the missing declaration or requirement, or the reason of a known failure.
        seconds: the time that the case took.
        needs_hook: True if the case was not tried because the contract lacks an optional hook.
    """

    promise: Promise
    verdict: Verdict
    detail: str
    seconds: float
    needs_hook: bool = attrs.field(default=False, kw_only=True)


def cases_of(kind: type[Contract], only: Collection[str] = ()) -> list[tuple[Promise, str]]:
    """Return the promises of a contract with the names of the methods that check them, ordered by promise.

    Args:
        kind: the contract.
        only: promise ids; empty for all.
    """
    members = [(promise_of(member), name) for name, member in inspect.getmembers(kind)]
    found = [(promise, name) for promise, name in members if promise is not None and (not only or promise.id in only)]
    return sorted(found, key=lambda case: (case[0].id, case[1]))


def run(contract: Contract, only: Collection[str] = ()) -> Iterator[Result]:
    """Run the cases within the contract's lifespan, and yield each result as it comes."""
    type(contract).setup_class()
    try:
        for promise, name in cases_of(type(contract), only):
            yield run_case(promise, getattr(contract, name))
    finally:
        type(contract).teardown_class()


def run_case(promise: Promise, case: Callable[[], Any]) -> Result:
    """Run one case, and return its result. An error that is no verdict of the kit's is raised."""
    start = time.perf_counter()
    verdict: Verdict = "kept"
    detail, needs_hook = "", False
    try:
        case()
    except BrokenPromiseError as broken:
        verdict, detail = "broken", broken.report
    except NotDeclaredError as missing:
        verdict, detail = "not declared", str(missing).partition(" not declared: ")[2]
    except NotTriedError as missing:
        verdict, detail = "not tried", str(missing).partition(" not tried: ")[2]
        needs_hook = isinstance(missing, NoHookError)
    except KnownFailureError as known:
        verdict, detail = "known failure", str(known).partition(" known failure: ")[2]
    return Result(promise, verdict, detail, time.perf_counter() - start, needs_hook=needs_hook)
