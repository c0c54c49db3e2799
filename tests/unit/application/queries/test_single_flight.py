"""One computation of a key at a time, whoever is cancelled or fails."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from inventory_es.application.queries.cached_answers import SingleFlight
from inventory_es.errors import ReadModelUnavailableError


class Work:
    """A computation that waits at a gate."""

    def __init__(self, result: Any = 1) -> None:
        self.result = result
        self.gate = anyio.Event()
        self.began = 0

    async def __call__(self) -> Any:
        self.began += 1
        await self.gate.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def run(backend: str, body: Callable[[], Any]) -> None:
    anyio.run(body, backend=backend)


def test_those_who_wait_for_a_failure_get_one_of_their_own(backend: str) -> None:
    problem = ReadModelUnavailableError(read_model="rows", reason="down")
    foreign = OSError("down")

    async def body() -> None:
        for failure in (problem, foreign):
            flights, work = SingleFlight[Any](), Work(failure)
            caught: list[Exception] = []

            async def ask(flights: SingleFlight[Any] = flights, work: Work = work, caught: list[Exception] = caught) -> None:
                with pytest.raises((ReadModelUnavailableError, OSError)) as found:
                    await flights.run("k", work)
                caught.append(found.value)

            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                work.gate.set()
            assert work.began == 1
            assert caught == [failure] * 3
            assert [one is failure for one in caught].count(True) == (1 if failure is problem else 3)
            assert all(one.__cause__ is problem for one in caught if one is not failure)

    run(backend, body)


def test_what_is_forgotten_is_computed_anew_while_the_old_one_still_runs(backend: str) -> None:
    async def body() -> None:
        flights, old, new = SingleFlight[Any](), Work("old"), Work("new")
        got: list[Any] = []

        async def ask(work: Work) -> None:
            got.append(await flights.run("k", work))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, old)
            await anyio.wait_all_tasks_blocked()
            flights.forget("k")
            flights.forget("other")
            tasks.start_soon(ask, new)
            tasks.start_soon(ask, new)
            await anyio.wait_all_tasks_blocked()
            old.gate.set()
            await anyio.wait_all_tasks_blocked()
            assert (old.began, new.began, got) == (1, 1, ["old"])
            new.gate.set()
        assert got == ["old", "new", "new"]
        assert flights._flights == {}

    run(backend, body)


def test_one_after_the_other_is_cancelled_and_the_last_one_answers(backend: str) -> None:
    async def body() -> None:
        flights, work = SingleFlight[Any](), Work("answer")
        got: list[Any] = []
        leaders: list[anyio.CancelScope] = []

        async def ask() -> None:
            with anyio.CancelScope() as scope:

                async def compute() -> Any:
                    leaders.append(scope)
                    return await work()

                got.append(await flights.run("k", compute))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            for _ in range(9):
                leaders[-1].cancel()
                await anyio.wait_all_tasks_blocked()
            work.gate.set()
        assert got == ["answer"]
        assert work.began == len(leaders) == 10

    run(backend, body)
