"""The same command again: in a row, at once, elsewhere, much later, and under an id that means something else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from inventory_es.application.commands.decision import CommandOutcome
from inventory_es.domain.commands import AddStock, AdjustStock, CommitStock, ExpireReservations, ReleaseStock, ReserveStock
from inventory_es.domain.errors import CommandIdReusedError, CommandsRejectedError, ReservationIdTakenError
from inventory_es.domain.reasons import AdjustReason, Remainder, Shortfall
from inventory_es.domain.reservation_book import CLOSED_KEPT
from inventory_es.wiring import open_inventory
from tests.integration.command_side import (
    SHELF,
    Gate,
    Heap,
    P,
    PlainStore,
    S,
    behind,
    figures,
    history,
    opened,
    outcome_of,
    quick,
    ref,
    seconds,
    together,
)


def first_answer(outcome: CommandOutcome) -> dict[str, Any]:
    """What a replayed outcome repeats: everything but how its reservation stands now."""
    return {name: value for name, value in outcome.to_dict().items() if name not in {"replayed", "state", "remaining"}}


def _add(name: str, quantity: int = 1) -> AddStock:
    return AddStock(inventory_id=SHELF, command_id=name, quantity=quantity)


def _reserve(name: str, quantity: int = 1, **fields: Any) -> ReserveStock:
    return ReserveStock(inventory_id=SHELF, reservation_id=name, quantity=quantity, **{"ttl": None, **fields})


def _pairs(heap: Heap) -> list[tuple[Any, Any]]:
    streams: dict[Any, Any] = {}
    return [(heap.store(), heap.store()), (PlainStore(streams), PlainStore(streams))]


@pytest.mark.parametrize("kind", [0, 1], ids=["ids for ever", "ids at their versions"])
@pytest.mark.parametrize("lanes", [True, False])
def test_duplicates_at_once(backend: str, kind: int, lanes: bool) -> None:
    async def case() -> None:
        heap = Heap()
        one, other = _pairs(heap)[kind]
        settings = quick(lanes=lanes)
        a, b = heap.open(one, settings=settings), heap.open(other, settings=settings)
        async with opened(a, b):
            await a.execute(_add("opening", 10))
            await b.stock(P, S)
            calls = [service.execute(_reserve("R1", 2)) for service in (a, a, b, b)]
            outcomes = await together(*calls, a.execute(_add("c1", 3)), b.execute(_add("c1", 3)), a.execute(_add("c1", 4)))
            assert {one.version for one in outcomes[:4]} == {outcomes[0].version}
            assert [one.replayed for one in outcomes[:4]].count(False) == 1
            adds = [one for one in outcomes[4:] if not isinstance(one, CommandIdReusedError)]
            assert [one.replayed for one in adds].count(False) == 1
            assert len({one.version for one in adds}) == 1
            assert len(adds) in {1, 2}
            on_hand, reserved, version = await figures(a)
            assert (reserved, version) == (2, 3)
            assert on_hand in {13, 14}
            for service in (a, b):
                assert isinstance(await outcome_of(service.execute(_reserve("R1", 3))), ReservationIdTakenError)
            assert await figures(b) == (on_hand, 2, 3)
            await history(b)

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("kind", [0, 1], ids=["ids for ever", "ids at their versions"])
def test_a_duplicate_on_a_stale_state(backend: str, kind: int) -> None:
    """The other writer takes the command between this one's look-up and its look at the stream."""

    async def case() -> None:
        heap = Heap()
        one, other = _pairs(heap)[kind]
        a, b = heap.open(one), heap.open(other)
        async with opened(a, b):
            await a.execute(_add("opening", 1))
            taking = [b.execute(_reserve("X")), b.execute(ReleaseStock(inventory_id=SHELF, command_id="free", reservation_id="X"))]
            first_append = one.append

            async def overtaken(writes: Any, /) -> Any:
                for call in taking:
                    await call
                taking.clear()
                return await first_append(writes)

            one.append = overtaken
            again = await a.execute(_reserve("X"))
            assert (again.version, again.replayed) == (2, True)
            assert await figures(a) == (1, 0, 3)

    anyio.run(case, backend=backend)


def test_a_no_op_on_a_stale_state_of_a_poor_store(backend: str) -> None:
    """Decided on a stale state it had nothing to do; on the present one it would do again what was done under its id."""

    async def case() -> None:
        heap, streams = Heap(), {}  # type: ignore[var-annotated]  # what the stores share
        mine, other = PlainStore(streams), PlainStore(streams)
        a, b = heap.open(mine), heap.open(other)
        expire = ExpireReservations(inventory_id=SHELF, command_id="sweep", limit=1)
        async with opened(a, b):
            await a.execute(_add("opening", 5))
            find, late = mine.find_events, [True]

            async def overtaken(stream: Any, ids: Any, /) -> Any:
                found = await find(stream, ids)
                if late.pop() if late else False:
                    for name in ("R1", "R2"):
                        await b.execute(_reserve(name, ttl=seconds(1)))
                    heap.clock.advance(seconds(1))
                    assert (await b.execute(expire)).version == 4
                return found

            mine.find_events = overtaken  # type: ignore[method-assign]  # this one's look-up is overtaken
            swept = await a.execute(expire)
            assert (swept.version, swept.replayed) == (4, True)
            assert await figures(a) == (5, 1, 4)

    anyio.run(case, backend=backend)


def test_several_events_are_replayed_with_the_last_ones_version(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        a, b = heap.open(), heap.open()
        async with opened(a, b):
            await a.execute(_add("opening", 20))
            for name in ("R1", "R2", "R3"):
                await a.execute(_reserve(name, 4))
            for name in ("D1", "D2"):
                await a.execute(_reserve(name, ttl=seconds(60)))
            commands = [
                (CommitStock(inventory_id=SHELF, command_id="X", reservation_id="R1", quantity=1, remainder=Remainder.RELEASE), 8),
                (_reserve("X"), 9),
                (CommitStock(inventory_id=SHELF, command_id="all", reservation_id="R2", remainder=Remainder.RELEASE), 10),
                (_reserve("all"), 11),
                (
                    AdjustStock(inventory_id=SHELF, command_id="lost", delta=-12, reason=AdjustReason.THEFT, shortfall=Shortfall.BUMP),
                    17,
                ),
            ]
            firsts = []
            for command, version in commands:
                firsts.append(await a.execute(command))
                assert (firsts[-1].version, firsts[-1].replayed) == (version, False)
            for service in (a, b):
                for (command, version), first in zip(commands, firsts, strict=True):
                    again = await service.execute(command)
                    assert (again.version, again.position, again.replayed) == (version, first.position, True)
                    assert first_answer(again) == first_answer(first)
            await a.execute(_add("more", 10))
            for name in ("E1", "E2"):
                await a.execute(_reserve(name, ttl=seconds(60)))
            heap.clock.advance(seconds(60))
            sweep = ExpireReservations(inventory_id=SHELF, command_id="sweep", limit=9)
            swept = await a.execute(sweep)
            assert (await b.execute(sweep)).version == swept.version == 22
            await history(b)

    anyio.run(case, backend=backend)


def test_after_the_store_was_opened_again(backend: str, tmp_path: Path) -> None:
    async def case() -> None:
        heap, url = Heap(), f"file:{tmp_path / 'stock'}"
        async with open_inventory(url, clock=heap.clock) as service:
            await service.execute(_add("opening", 5))
            first = await service.execute(_reserve("R1", 2))
        heap.clock.advance(seconds(1_000_000))
        async with open_inventory(url, clock=heap.clock) as service:
            again = await service.execute(_reserve("R1", 2, not_after=heap.clock.now()))
            assert again.to_dict() == {**first.to_dict(), "replayed": True}
            assert isinstance(await outcome_of(service.execute(_reserve("R1", 2, keep_available=1))), ReservationIdTakenError)
            assert isinstance(await outcome_of(service.execute(_add("opening", 6))), CommandIdReusedError)
            assert await figures(service) == (5, 2, 2)

    anyio.run(case, backend=backend)


def test_an_id_that_the_state_has_forgotten() -> None:
    async def case() -> None:
        heap = Heap()
        service = heap.open()
        async with opened(service):
            await service.execute(_add("opening", 10))
            first = await service.execute(_reserve("R1", 2))
            await service.execute(ReleaseStock(inventory_id=SHELF, command_id="back", reservation_id="R1"))
            for start in range(0, 2 * CLOSED_KEPT, 2_000):
                lines: list[Any] = []
                for number in range(start, start + 2_000):
                    lines.append(_reserve(f"later {number}"))
                    lines.append(ReleaseStock(inventory_id=SHELF, command_id=f"free {number}", reservation_id=f"later {number}"))
                await service.execute_all(lines)
            before = await figures(service)
            assert before == (10, 0, 3 + 4 * CLOSED_KEPT)
            again = await service.execute(_reserve("R1", 2))
            assert (again.replayed, again.state) == (True, "CLOSED")
            assert first_answer(again) == first_answer(first)
            assert isinstance(await outcome_of(service.execute(_reserve("R1", 3))), ReservationIdTakenError)
            with pytest.raises(CommandsRejectedError) as refused:
                await service.execute_all([_reserve("R1", 3), _reserve("new")])
            assert refused.value.indexes == (0,)
            for call in (service.release(ref("R1")), service.commit(ref("R1"))):
                assert getattr(await outcome_of(call), "code", None) == "reservation_not_found"
            assert await figures(service) == before

    anyio.run(case)


def test_a_duplicate_of_a_refused_one_in_a_batch_is_decided_for_itself(backend: str) -> None:
    async def case() -> None:
        heap = Heap()
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            store.before = gate = Gate()
            refused: Callable[[int], Any] = lambda quantity: service.execute(_reserve("R1", quantity))  # noqa: E731  # three calls alike
            outcomes = await behind(gate, service.execute(_add("opening", 2)), refused(3), refused(2), refused(2), refused(3))
            assert getattr(outcomes[1], "code", None) == "insufficient_stock"
            assert [(one.version, one.replayed) for one in outcomes[2:4]] == [(2, False), (2, True)]
            assert isinstance(outcomes[4], ReservationIdTakenError)

    anyio.run(case, backend=backend)
