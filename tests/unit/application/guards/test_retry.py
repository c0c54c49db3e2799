"""Retry: what is made again, when, how often, and what the caller is told in the end."""

from functools import partial
from typing import Any

import anyio
import pytest

from inventory_es.application.guards import CircuitBreaker, Retry
from inventory_es.application.observers import CallRetried
from inventory_es.domain.errors import InvalidTtlError, InventoryError
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    CorruptStoreError,
    StoreClosedError,
    StoreUnavailableError,
)
from tests.unit.application.guards.scripted import AWAY, CONFLICT, PORT, UNKNOWN, Scripted, Time, Told


def run(backend: str, outcomes: list[Any], *, repeatable: bool = True, **settings: Any) -> tuple[Any, int, list[float]]:
    """What came out, how many calls were made, which waits there were."""
    time, call = Time(), Scripted(outcomes)

    async def body() -> Any:
        try:
            return await Retry(sleep=time.sleep, **settings).run(call, PORT, "append", is_repeatable=repeatable)
        except (InventoryError, ValueError) as problem:
            return problem

    return anyio.run(body, backend=backend), call.calls, time.slept


def test_three_attempts_at_0_1_and_2_seconds(backend: str) -> None:
    assert run(backend, ["done"]) == ("done", 1, [])
    assert run(backend, [AWAY, "done"]) == ("done", 2, [1.0])
    assert run(backend, [AWAY, UNKNOWN, "done"]) == ("done", 3, [1.0, 2.0])
    assert run(backend, [AWAY, AWAY, AWAY]) == (AWAY, 3, [1.0, 2.0])


def test_attempts_are_as_many_as_waits(backend: str) -> None:
    assert run(backend, [AWAY], waits=[0.5]) == (AWAY, 1, [0.5])
    assert run(backend, [AWAY] * 5, waits=[0, 0, 0, 0, 3]) == (AWAY, 5, [3])


@pytest.mark.parametrize("waits", [(), (0, -1), (float("nan"),)])
def test_waits_out_of_range_are_refused(waits: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="waits has one number"):
        Retry(waits=waits)


@pytest.mark.parametrize(
    "answer",
    [
        CONFLICT,
        InvalidTtlError(problem="is wrong"),
        StoreClosedError(store="Store"),
        CorruptStoreError(store="Store", place="here", problem="is torn"),
        ValueError("misuse"),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_what_another_attempt_would_not_mend_is_told_at_once(backend: str, answer: Exception) -> None:
    assert run(backend, [answer]) == (answer, 1, [])


def test_jitter_cuts_up_to_a_half(backend: str) -> None:
    chances = iter([0.5, 0.0, 0.999])
    assert run(backend, [AWAY] * 3, waits=[4, 4, 4], chance=lambda: next(chances)) == (AWAY, 3, [3.0, 2.0, pytest.approx(3.998)])


def test_an_unknown_outcome_stays_unknown_until_the_store_answers(backend: str) -> None:
    problem, calls, _ = run(backend, [UNKNOWN, AWAY, AWAY])
    assert (problem, calls) == (UNKNOWN, 3)
    assert problem.__cause__ == AWAY
    assert run(backend, [AWAY, AWAY, UNKNOWN])[0] == UNKNOWN
    assert run(backend, [UNKNOWN, CONFLICT])[:2] == (CONFLICT, 2)


def test_an_attempt_that_would_come_too_early_is_not_made(backend: str) -> None:
    later = StoreUnavailableError(store="Store", reason="down", retry_after=1.5)
    assert run(backend, [later]) == (later, 1, [])
    assert run(backend, [AWAY, later, "done"]) == ("done", 3, [1.0, 2.0])
    assert run(backend, [UNKNOWN, StoreUnavailableError(store="Store", reason="down", retry_after=9)])[0] == UNKNOWN


def test_what_must_not_be_repeated_is_made_once(backend: str) -> None:
    assert run(backend, [AWAY], repeatable=False) == (AWAY, 1, [])


def test_observers_are_told_of_each_new_attempt(backend: str) -> None:
    told = Told()
    run(backend, [AWAY, UNKNOWN, AWAY], observers=[told])
    assert told.records == [
        CallRetried(port="Store", operation="append", attempt=1, error="store_unavailable", wait=1.0),
        CallRetried(port="Store", operation="append", attempt=2, error="append_outcome_unknown", wait=2.0),
    ]


def test_a_caller_cancelled_while_it_waits_makes_no_further_call(backend: str) -> None:
    call = Scripted([AWAY, "never"])

    async def body() -> None:
        with anyio.move_on_after(0.01) as scope:
            await Retry(waits=(0, 3600)).run(call, PORT, "append")
        assert scope.cancelled_caught

    anyio.run(body, backend=backend)
    assert call.calls == 1


def test_over_a_breaker_every_attempt_counts_and_an_open_one_is_told_at_once(backend: str) -> None:
    time, call = Time(), Scripted([AWAY, UNKNOWN, AWAY])

    async def body() -> None:
        breaker = CircuitBreaker("backend", threshold=2, pause=30, monotonic=time)
        through_breaker = partial(breaker.run, call, PORT, "append")
        retry = Retry(sleep=time.sleep)
        with pytest.raises(AppendOutcomeUnknownError) as unknown:
            await retry.run(through_breaker, PORT, "append")
        assert unknown.value == UNKNOWN
        assert (call.calls, time.slept, breaker.state.phase) == (2, [1.0, 2.0], "open")
        with pytest.raises(StoreUnavailableError) as refused:
            await retry.run(through_breaker, PORT, "append")
        assert (call.calls, time.slept, refused.value.retry_after) == (2, [1.0, 2.0], 28.0)

    anyio.run(body, backend=backend)
