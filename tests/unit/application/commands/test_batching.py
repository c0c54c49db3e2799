"""Callers that meet are served together, in their order, and none waits when nobody leads."""

from collections.abc import Sequence
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from inventory_es.application.commands.batching import Batcher, Callers, Item
from inventory_es.application.commands.waiting import TaskWaiting


class _Letter(Item):
    """An item with a name; a capital one holds the batcher alone."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class _Alone(_Letter):
    alone = True


class _Desk:
    """Serves letters, and records each batch as one word."""

    def __init__(self) -> None:
        self.batches: list[str] = []
        self.callers = Callers(TaskWaiting())
        self.batcher: Batcher[_Letter] = Batcher(self.callers)

    async def come(self, name: str, *, limit: int = 9, meets: bool = False) -> None:
        if name.isupper():
            async with self.batcher.hold(_Alone(name)):
                await checkpoint()
                self.batches.append(name)
        else:
            letter = _Letter(name)
            letter.meets = meets
            await self.batcher.submit(letter, partial(self._serve, letter), limit)
            assert letter.outcome == "served"

    async def _serve(self, own: _Letter, batch: Sequence[_Letter]) -> None:
        assert batch[0] is own
        await checkpoint()
        await checkpoint()
        self.batches.append("".join(one.name for one in batch))
        for one in batch:
            one.outcome = "served"


def test_a_single_caller_is_served_at_once(backend: str) -> None:
    async def case() -> None:
        desk = _Desk()
        await desk.come("a")
        await desk.come("b")
        assert desk.batches == ["a", "b"]
        assert desk.batcher.leader is None

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("limit, batches", [(9, ["a", "bcdef"]), (2, ["a", "bc", "de", "f"])])
def test_callers_that_come_meanwhile_are_served_together_in_order(limit: int, batches: list[str]) -> None:
    async def case() -> None:
        desk = _Desk()
        async with anyio.create_task_group() as tasks:
            for name in "abcdef":
                tasks.start_soon(partial(desk.come, name, limit=limit))
        assert desk.batches == batches
        assert desk.batcher.leader is None

    anyio.run(case)


def test_callers_that_were_woken_and_come_back_at_once_share_the_next_batch() -> None:
    async def case() -> None:
        desk = _Desk()

        async def come_twice(names: str) -> None:
            for name in names:
                await desk.come(name)

        async with anyio.create_task_group() as tasks:
            for names in ("a", "eh", "fg"):
                tasks.start_soon(come_twice, names)
                await checkpoint()
        assert ["".join(sorted(batch)) for batch in desk.batches] == ["a", "ef", "gh"]
        assert desk.callers.waking == 0

    anyio.run(case)  # the other event loop runs woken tasks in an order of its own


def test_a_leader_that_meets_others_lets_them_come_first(backend: str) -> None:
    async def case() -> None:
        for meets, sizes in ((False, [1, 2]), (True, [3])):
            desk = _Desk()
            together = anyio.Event()

            async def come(name: str, desk: _Desk = desk, together: anyio.Event = together, meets: bool = meets) -> None:
                await together.wait()
                await desk.come(name, meets=meets)

            async with anyio.create_task_group() as tasks:
                for name in "abc":
                    tasks.start_soon(come, name)
                await anyio.wait_all_tasks_blocked()
                together.set()
            assert [len(batch) for batch in desk.batches] == sizes

    anyio.run(case, backend=backend)


def test_a_holder_is_a_barrier(backend: str) -> None:
    async def case() -> None:
        desk = _Desk()
        held = anyio.Event()

        async def hold_first() -> None:
            async with desk.batcher.hold(_Alone("H")):
                held.set()
                await anyio.wait_all_tasks_blocked()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold_first)
            await held.wait()
            for name in "abcDefGH":
                tasks.start_soon(desk.come, name)
                await anyio.wait_all_tasks_blocked()
        assert desk.batches == ["abc", "D", "ef", "G", "H"]
        assert len(desk.batcher.queue) == 0
        assert desk.batcher.leader is None

    anyio.run(case)


def test_items_left_without_an_outcome_are_served_again_first_and_in_their_order(backend: str) -> None:
    """The caller of "a" leads the first batch; "b" leads the second, which is interrupted when "c" alone is served."""

    async def case() -> None:
        desk = _Desk()
        interruption = RuntimeError("interrupted")

        async def serve(batch: Sequence[_Letter]) -> None:
            await anyio.wait_all_tasks_blocked()
            desk.batches.append("".join(one.name for one in batch))
            if batch[0].name == "b":
                batch[1].outcome = "served"
                raise interruption
            for one in batch:
                one.outcome = "served"

        letters = {name: _Letter(name) for name in "abcde"}

        async def come(name: str) -> None:
            await desk.batcher.submit(letters[name], serve, 9)

        async def come_and_fail(name: str) -> None:
            with pytest.raises(RuntimeError, match="interrupted"):
                await come(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(come, "a")
            await checkpoint()
            tasks.start_soon(come_and_fail, "b")
            for name in "cde":
                await checkpoint()
                tasks.start_soon(come, name)
            await checkpoint()
        assert desk.batches == ["a", "bcde", "de"]
        assert {name for name, letter in letters.items() if letter.outcome is None} == {"b"}

    anyio.run(case, backend=backend)


def test_an_item_that_its_leader_leaves_without_an_outcome_is_served_again(backend: str) -> None:
    async def case() -> None:
        batcher: Batcher[_Letter] = Batcher(Callers(TaskWaiting()))
        seen: list[str] = []

        async def serve(batch: Sequence[_Letter]) -> None:
            seen.append("".join(one.name for one in batch))
            await anyio.wait_all_tasks_blocked()
            if len(seen) > 1:
                for one in batch:
                    one.outcome = "served"

        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(batcher.submit, _Letter(name), serve, 9)
                await checkpoint()
        assert seen == ["a", "abc"]
        assert len(batcher.queue) == 0

    anyio.run(case, backend=backend)
