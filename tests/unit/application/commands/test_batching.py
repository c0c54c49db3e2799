"""Callers that meet are served together, in their order, and none waits when nobody leads."""

from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from inventory_es.application.commands.batching import Combiner, Crowd, Ticket


class _Letter(Ticket):
    """What a desk serves: a capital one wants to be alone."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    @property
    def alone(self) -> bool:  # type: ignore[override]  # of a kind everywhere else
        return self.name.isupper()


class _Desk:
    """Serves letters; each batch is told as one word."""

    def __init__(self) -> None:
        self.idle = 0
        self.batches: list[str] = []
        self.combiner: Combiner[_Letter] = Combiner(Crowd(), self._rest)

    def _rest(self) -> None:
        self.idle += 1

    async def come(self, name: str, *, limit: int = 9) -> None:
        ticket = _Letter(name)
        if await self.combiner.join(ticket):
            batch = self.combiner.take(limit)
            assert batch[0] is ticket
            await checkpoint()
            await checkpoint()
            self.batches.append("".join(one.name for one in batch))
            self.combiner.wake(batch[1:])
            self.combiner.hand_over()


def test_who_comes_alone_is_served_at_once(backend: str) -> None:
    async def case() -> None:
        desk = _Desk()
        await desk.come("a")
        await desk.come("b")
        assert desk.batches == ["a", "b"]
        assert desk.idle == 2

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("limit, batches", [(9, ["a", "bcdef"]), (2, ["a", "bc", "de", "f"])])
def test_who_comes_meanwhile_is_served_together_in_order(limit: int, batches: list[str]) -> None:
    async def case() -> None:
        desk = _Desk()
        async with anyio.create_task_group() as tasks:
            for name in "abcdef":
                tasks.start_soon(partial(desk.come, name, limit=limit))
        assert desk.batches == batches
        assert desk.idle == 1

    anyio.run(case)


def test_who_leads_alone_keeps_others_waiting_and_lets_the_woken_go_first(backend: str) -> None:
    async def case() -> None:
        desk = _Desk()
        assert desk.combiner.lead_alone(_Letter("a"))
        assert not desk.combiner.lead_alone(_Letter("b")), "somebody leads"
        follower = _Letter("c")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.combiner.join, follower)
            await anyio.wait_all_tasks_blocked()
            desk.combiner.take(1)
            desk.combiner.wake((follower,))
            desk.combiner.hand_over()
            assert not desk.combiner.lead_alone(_Letter("d")), "somebody was woken and comes back, perhaps for the same batch"
        assert desk.combiner.lead_alone(_Letter("e"))
        assert desk.idle == 1

    anyio.run(case, backend=backend)


def test_who_wants_to_be_alone_is_a_barrier() -> None:
    async def case() -> None:
        desk = _Desk()
        async with anyio.create_task_group() as tasks:
            for name in "abcDefGH":
                tasks.start_soon(desk.come, name)
        assert desk.batches == ["a", "bc", "D", "ef", "G", "H"]
        assert len(desk.combiner) == 0

    anyio.run(case)


def test_tickets_that_were_put_back_come_first_in_their_order() -> None:
    async def case() -> None:
        combiner: Combiner[_Letter] = Combiner(Crowd())
        tickets = [_Letter(name) for name in "abcd"]
        assert await combiner.join(tickets[0])
        async with anyio.create_task_group() as tasks:
            for ticket in tickets[1:]:
                tasks.start_soon(combiner.join, ticket)
                await checkpoint()
            await checkpoint()
            taken = combiner.take(3)
            taken[1].left = True
            combiner.put_back(taken)
            assert [ticket.name for ticket in combiner.take(9)] == ["a", "c", "d"]
            tasks.cancel_scope.cancel()

    anyio.run(case)
