"""The circuit breaker: its phases, its one trial, and what counts for what."""

from typing import Any

import anyio
import pytest

from inventory_es.application.guards import BreakerState, CircuitBreaker
from inventory_es.application.observers import BreakerChanged
from inventory_es.ports.errors import CorruptStoreError, StoreUnavailableError
from tests.unit.application.guards.scripted import AWAY, CONFLICT, PORT, UNKNOWN, Scripted, Time, Told

CALLERS = 100


async def outcomes(breaker: CircuitBreaker, *ends: Any) -> None:
    """Make one call after the other, ending so."""
    for end in ends:
        try:
            await breaker.run(Scripted([end]), PORT, "append")
        except BaseException as problem:  # noqa: BLE001  # the next line holds that it is the call's own
            assert problem is end  # noqa: PT017  # any error of the call must come through untouched


def opened(time: Time, **settings: Any) -> CircuitBreaker:
    return CircuitBreaker("backend", threshold=3, pause=30, monotonic=time, **settings)


def test_it_opens_after_the_threshold_and_says_when_to_come_back(backend: str) -> None:
    time = Time()

    async def body() -> None:
        breaker = opened(time)
        await outcomes(breaker, AWAY, UNKNOWN)
        assert breaker.state == BreakerState(phase="closed", failures=2, retry_after=0)
        await outcomes(breaker, AWAY)
        assert breaker.state == BreakerState(phase="open", failures=3, retry_after=30)
        time.now += 29
        with pytest.raises(StoreUnavailableError) as refused:
            await breaker.run(Scripted([]), PORT, "append")
        assert refused.value.retry_after == 1
        assert str(refused.value).endswith("the circuit breaker 'backend' is open; try again in 1 s")

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("end", ["done", CONFLICT], ids=["answer", "conflict"])
def test_an_answer_or_a_conflict_begins_the_count_anew(backend: str, end: Any) -> None:
    async def body() -> None:
        breaker = opened(Time())
        await outcomes(breaker, AWAY, AWAY, end, AWAY, AWAY)
        assert breaker.state == BreakerState(phase="closed", failures=2, retry_after=0)
        await outcomes(breaker, *[CONFLICT] * 20)
        assert breaker.state.failures == 0

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("end", [ValueError("misuse"), CorruptStoreError(store="Store", place="here", problem="is torn")])
def test_what_shows_nothing_changes_nothing(backend: str, end: Exception) -> None:
    time = Time()

    async def body() -> None:
        breaker = opened(time)
        await outcomes(breaker, AWAY, AWAY, end)
        assert breaker.state.failures == 2
        await outcomes(breaker, AWAY)
        time.now += 30
        await outcomes(breaker, end)
        assert breaker.state == BreakerState(phase="half_open", failures=3, retry_after=0)
        await outcomes(breaker, "done")
        assert breaker.state.phase == "closed"

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("end, phase", [("done", "closed"), (CONFLICT, "closed"), (AWAY, "open"), (UNKNOWN, "open")])
def test_of_a_hundred_callers_one_is_the_trial(backend: str, end: Any, phase: str) -> None:
    time = Time()
    refusals: list[float | None] = []
    trials: list[str] = []

    async def body() -> None:
        breaker = opened(time)
        await outcomes(breaker, *[AWAY] * 3)
        time.now += 30
        answer = anyio.Event()

        async def trial() -> Any:
            trials.append("began")
            await answer.wait()
            return await Scripted([end])()

        async def caller() -> None:
            try:
                await breaker.run(trial, PORT, "append")
            except StoreUnavailableError as problem:
                refusals.append(problem.retry_after)
            except Exception as problem:  # noqa: BLE001  # the trial's own end
                assert problem is end  # noqa: PT017  # whatever it was

        async with anyio.create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(caller)
            await anyio.wait_all_tasks_blocked()
            assert breaker.state == BreakerState(phase="half_open", failures=3, retry_after=30)
            answer.set()
        assert breaker.state.phase == phase

    anyio.run(body, backend=backend)
    assert trials == ["began"]
    assert [after for after in refusals if after is not None] == [30] * (CALLERS - 1)


def test_a_cancelled_trial_frees_its_place_for_exactly_one_other(backend: str) -> None:
    time = Time()
    began: list[str] = []

    async def body() -> None:
        breaker = opened(time)
        await outcomes(breaker, *[AWAY] * 3)
        time.now += 30

        async def hang() -> None:
            began.append("trial")
            await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaker.run, hang, PORT, "append")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert breaker.state == BreakerState(phase="half_open", failures=3, retry_after=0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaker.run, hang, PORT, "append")
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(StoreUnavailableError, match="is half-open; try again in 30 s"):
                await breaker.run(hang, PORT, "append")
            tasks.cancel_scope.cancel()

    anyio.run(body, backend=backend)
    assert began == ["trial", "trial"]


def test_a_trial_that_does_not_end_loses_its_place_and_its_voice(backend: str) -> None:
    time = Time()

    async def body() -> None:
        breaker = opened(time)
        await outcomes(breaker, *[AWAY] * 3)
        time.now += 30
        answer = anyio.Event()

        async def late() -> None:
            await answer.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaker.run, late, PORT, "append")
            await anyio.wait_all_tasks_blocked()
            time.now += 30
            await outcomes(breaker, AWAY)
            assert breaker.state.phase == "open"
            answer.set()
        assert breaker.state.phase == "open"

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("end", ["done", AWAY, ValueError("misuse")], ids=["answer", "failure", "misuse"])
def test_what_began_before_it_opened_changes_nothing_later(backend: str, end: Any) -> None:
    time = Time()

    async def body() -> None:
        breaker = opened(time)
        answer = anyio.Event()

        async def early() -> Any:
            await answer.wait()
            return await Scripted([end])()

        async def caller() -> None:
            try:
                await breaker.run(early, PORT, "append")
            except Exception as problem:  # noqa: BLE001  # the call's own end
                assert problem is end  # noqa: PT017  # whatever it was

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller)
            await anyio.wait_all_tasks_blocked()
            await outcomes(breaker, *[AWAY] * 3)
            answer.set()
        assert breaker.state == BreakerState(phase="open", failures=3, retry_after=30)

    anyio.run(body, backend=backend)


def test_observers_are_told_of_every_phase(backend: str) -> None:
    time, told = Time(), Told()

    async def body() -> None:
        breaker = opened(time, observers=[told])
        await outcomes(breaker, *[AWAY] * 3)
        time.now += 30
        await outcomes(breaker, UNKNOWN)
        time.now += 30
        await outcomes(breaker, "done")

    anyio.run(body, backend=backend)
    assert told.records == [
        BreakerChanged(breaker="backend", before="closed", after="open", failures=3, error="store_unavailable"),
        BreakerChanged(breaker="backend", before="open", after="half_open", failures=3, error=None),
        BreakerChanged(breaker="backend", before="half_open", after="open", failures=4, error="append_outcome_unknown"),
        BreakerChanged(breaker="backend", before="open", after="half_open", failures=4, error=None),
        BreakerChanged(breaker="backend", before="half_open", after="closed", failures=0, error=None),
    ]


@pytest.mark.parametrize("threshold, pause", [(0, 30), (3, 0), (3, -1), (3, float("nan"))])
def test_bounds_out_of_range_are_refused(threshold: int, pause: float) -> None:
    with pytest.raises(ValueError, match="threshold must be 1 or more"):
        CircuitBreaker("backend", threshold=threshold, pause=pause)
