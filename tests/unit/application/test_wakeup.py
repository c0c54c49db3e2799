"""One task waits, another lets it go on, and nobody is woken twice."""

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.application.wakeup import Wakeup, wakeups


def test_who_waits_goes_on_when_it_is_set(backend: str) -> None:
    async def case() -> None:
        wakeup = wakeups()()
        went_on: list[bool] = []

        async def wait() -> None:
            await wakeup
            went_on.append(wakeup.done())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            for _ in range(3):
                await checkpoint()
            assert not went_on
            assert not wakeup.done()
            wakeup.set_result(None)
        assert went_on == [True]

    anyio.run(case, backend=backend)


def test_each_is_of_its_own(backend: str) -> None:
    async def case() -> None:
        make = wakeups()
        one, two = make(), make()
        one.set_result(None)
        await one
        assert (one.done(), two.done()) == (True, False)
        assert isinstance(one, Wakeup) is (backend == "trio")

    anyio.run(case, backend=backend)
