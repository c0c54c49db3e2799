"""A task waits for another task, or for a position by polling."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from inventory_es.ports.toolkit.waiting import Wakeup, futures, poll_for_position


def test_only_who_is_meant_goes_on(backend: str) -> None:
    async def case() -> None:
        event = anyio.Event()
        make = futures()
        one, two = (make() or Wakeup(event) for _ in range(2))
        went_on: list[Wakeup] = []

        async def wait(wakeup: Wakeup) -> None:
            await wakeup
            went_on.append(wakeup)

        async with anyio.create_task_group() as tasks:
            for wakeup in (one, two):
                tasks.start_soon(wait, wakeup)
            for _ in range(3):
                await checkpoint()
            assert not went_on
            two.set_result(None)
            for _ in range(5):
                await checkpoint()
            assert went_on == [two]
            assert (one.done(), two.done()) == (False, True)
            one.set_result(None)
        assert went_on == [two, one]

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("has_futures, loop", [(True, "asyncio"), (False, "trio")])
def test_futures_are_taken_where_there_are_some(has_futures: bool, loop: str) -> None:
    async def case() -> None:
        assert (futures()() is not None) is has_futures

    anyio.run(case, backend=loop)


class Head:
    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)

    async def __call__(self) -> int:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_it_asks_until_the_position_is_there(backend: str) -> None:
    head = Head(1, 2, 3, 4)

    assert anyio.run(lambda: poll_for_position(head, 3, timeout=30, interval=0.001), backend=backend)
    assert head.answers == [4]


@pytest.mark.parametrize("position, seen", [(7, True), (8, False)])
def test_without_time_it_asks_once(backend: str, position: int, seen: bool) -> None:
    head = Head(7, 99)

    assert anyio.run(lambda: poll_for_position(head, position, timeout=0), backend=backend) is seen
    assert head.answers == [99]


def test_it_gives_up_at_the_timeout(backend: str) -> None:
    assert not anyio.run(lambda: poll_for_position(Head(1), 2, timeout=0.005, interval=0.001), backend=backend)


@pytest.mark.parametrize("timeout, interval", [(-0.1, 1), (float("nan"), 1), (1, 0), (1, -1), (1, float("nan"))])
def test_times_out_of_range_are_refused(timeout: float, interval: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        anyio.run(lambda: poll_for_position(Head(1), 1, timeout=timeout, interval=interval))
