"""One task waits, another lets it go on, and nobody is woken for another."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from inventory_es.ports.toolkit.wakeup import Wakeup, futures


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
