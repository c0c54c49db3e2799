"""Replayed outcomes: the first answer again, and how its reservation stands now, so that nobody takes an ended hold for a hold."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from inventory_es.application.results import CommandResult, Reservation
from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import AddStock, Command, CommitStock, ReserveStock
from inventory_es.domain.errors import CommandsRejectedError, ReservationExpiredError
from inventory_es.domain.reservation_book import CLOSED_KEPT
from inventory_es.testing.clock import ManualClock
from inventory_es.wiring import open_inventory
from tests.integration.command_side import OTHER, SHELF, P, PlainStore, S, seconds

Open = Callable[[], AbstractAsyncContextManager[InventoryService]]
Run = Callable[[Callable[[InventoryService, Open], object]], None]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory:", "file:{}/stock", "sqlite:{}/stock.db"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name: str = request.param
    return name.format(tmp_path)


@pytest.fixture
def run(url: str, clock: ManualClock, backend: str) -> Run:
    """Runs a case with a service, and with a way to open another one over the same events, which knows nothing yet."""

    async def play(case: Any) -> None:
        async with open_inventory(url, clock=clock) as first:
            await case(first, partial(open_inventory, first.store if url == "memory:" else url, clock=clock))

    return lambda case: anyio.run(play, case, backend=backend)


async def again(service: InventoryService, quantity: int = 1) -> tuple[bool, str, int]:
    hold = await service.reserve(P, S, quantity, ttl=seconds(600), reservation_id="R1")
    assert (hold.quantity, hold.version) == (quantity, 2)
    return hold.replayed, hold.state, hold.remaining


def test_a_reservation_is_open_when_it_is_made_and_while_it_holds(run: Run) -> None:
    async def case(service: InventoryService, _another: Open) -> None:
        await service.add_stock(P, S, 5)
        assert await again(service) == (False, "OPEN", 1)
        assert await again(service) == (True, "OPEN", 1)

    run(case)


def test_reserving_again_after_expiry_says_that_somebody_else_has_the_unit(run: Run, clock: ManualClock) -> None:
    async def case(service: InventoryService, another: Open) -> None:
        await service.add_stock(P, S, 1)
        await again(service)
        clock.advance(seconds(600))
        assert await again(service) == (True, "EXPIRED", 0)  # due, and nobody has swept
        await service.reserve(P, S, 1, ttl=None, reservation_id="somebody else's")
        assert await again(service) == (True, "EXPIRED", 0)
        async with another() as cold:
            told = await cold.reserve(P, S, 1, ttl=seconds(600), reservation_id="R1")
            assert (told.replayed, told.state, told.remaining) == (True, "EXPIRED", 0)
            assert (told.to_dict()["state"], told.to_dict()["remaining"]) == ("EXPIRED", 0)

    run(case)


@pytest.mark.parametrize("moves, state, remaining", [
    ([("confirm", {})], "OPEN", 5),
    ([("commit", {"quantity": 2})], "OPEN", 3),
    ([("release", {"quantity": 2})], "OPEN", 3),
    ([("commit", {})], "COMMITTED", 0),
    ([("release", {})], "RELEASED", 0),
    ([("commit", {"quantity": 2}), ("release", {})], "RELEASED", 0),
    ([("commit", {"quantity": 2, "remainder": "RELEASE"})], "RELEASED", 0),
], ids=["firm", "partly committed", "partly released", "committed", "released", "rest released", "remainder released"])  # fmt: skip
def test_what_became_of_a_reservation_is_told_to_who_reserves_again(
    run: Run, moves: list[tuple[str, dict[str, Any]]], state: str, remaining: int
) -> None:
    async def case(service: InventoryService, another: Open) -> None:
        await service.add_stock(P, S, 5)
        hold = await service.reserve(P, S, 5, ttl=seconds(600), reservation_id="R1")
        async with another() as elsewhere:
            assert await again(elsewhere, 5) == (True, "OPEN", 5)
            for method, arguments in moves:
                await getattr(service, method)(hold, **arguments)
            assert await again(elsewhere, 5) == (True, state, remaining)
            assert await again(service, 5) == (True, state, remaining)

    run(case)


def test_a_hold_that_a_count_took_units_from_says_how_many_are_left(run: Run) -> None:
    async def case(service: InventoryService, _another: Open) -> None:
        await service.add_stock(P, S, 5)
        await again(service, 5)
        await service.record_count(P, S, 2, observed_version=2, shortfall="BUMP")
        assert await again(service, 5) == (True, "OPEN", 2)

    run(case)


@pytest.mark.parametrize("method", ["extend", "confirm", "release", "commit"])
def test_a_replayed_command_says_how_its_reservation_stands(run: Run, clock: ManualClock, method: str) -> None:
    needed: dict[str, dict[str, Any]] = {"extend": {"ttl": seconds(700)}, "release": {"quantity": 1}, "commit": {"quantity": 1}}
    arguments = needed.get(method, {})

    async def case(service: InventoryService, another: Open) -> None:
        await service.add_stock(P, S, 5)
        hold = await service.reserve(P, S, 5, ttl=seconds(600))
        first = await getattr(service, method)(hold, command_id="c", **arguments)
        assert (first.replayed, first.state) == (False, None)
        told = await getattr(service, method)(hold, command_id="c", **arguments)
        assert (told.replayed, told.state, told.version) == (True, "OPEN", first.version)
        if method == "confirm":
            await service.release(hold)
            ended = "RELEASED"
        else:
            clock.advance(seconds(701))
            ended = "EXPIRED"
        async with another() as cold:
            for one in (service, cold):
                told = await getattr(one, method)(hold, command_id="c", **arguments)
                assert (told.replayed, told.state, told.version) == (True, ended, first.version)

    run(case)


def test_a_basket_that_was_sent_before_says_how_its_reservations_stand(run: Run, clock: ManualClock) -> None:
    async def case(service: InventoryService, another: Open) -> None:
        shelves = (SHELF, OTHER)
        for shelf in shelves:
            await service.execute(AddStock(inventory_id=shelf, command_id="add", quantity=1))
        basket: list[Command] = [ReserveStock(inventory_id=shelf, reservation_id="R1", quantity=1, ttl=seconds(600)) for shelf in shelves]
        assert [one.state for one in await service.execute_all(basket)] == ["OPEN", "OPEN"]
        await service.execute(CommitStock(inventory_id=OTHER, command_id="sold", reservation_id="R1"))
        clock.advance(seconds(600))
        async with another() as cold:
            for one in (service, cold):
                told = await one.execute_all(basket)
                assert [(each.replayed, each.state) for each in told] == [(True, "EXPIRED"), (True, "COMMITTED")]

    run(case)


def test_a_basket_in_its_own_time_says_how_reservations_stood_then(run: Run, clock: ManualClock) -> None:
    async def case(service: InventoryService, _another: Open) -> None:
        basket: list[Command] = [
            AddStock(inventory_id=SHELF, command_id="add", quantity=1),
            ReserveStock(inventory_id=SHELF, reservation_id="R1", quantity=1, ttl=seconds(600)),
        ]
        then = clock.now() - seconds(86_400)
        await service.execute_all(basket, times=[then, then])
        added, held = await service.execute_all(basket, times=[then, then])
        assert isinstance(added, CommandResult)
        assert isinstance(held, Reservation)
        assert (added.replayed, added.state, held.replayed, held.state) == (True, None, True, "OPEN")

    run(case)


def test_a_replay_after_others_were_refused_in_the_same_batch(run: Run) -> None:
    async def case(service: InventoryService, _another: Open) -> None:
        await service.add_stock(P, S, 1)
        await again(service)
        told: list[tuple[bool, str, int]] = []

        async def reserve_again() -> None:
            told.append(await again(service))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(reserve_again)
        assert told == [(True, "OPEN", 1)] * 5

    run(case)


def test_a_reservation_that_nobody_remembers_is_closed(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CLOSED_KEPT == 10_000
    monkeypatch.setattr("inventory_es.domain.reservation_book.CLOSED_KEPT", 2)

    async def body() -> None:
        async with open_inventory("memory:", clock=ManualClock()) as service:
            await service.add_stock(P, S, 10)
            await again(service)
            await service.commit(await service.reserve(P, S, 1, ttl=seconds(600), reservation_id="R1"))
            for _ in range(2):
                await service.commit(await service.reserve(P, S, 1, ttl=None))
            assert await again(service) == (True, "CLOSED", 0)

    anyio.run(body, backend=backend)


def test_the_state_that_is_told_is_what_the_next_command_meets(run: Run, clock: ManualClock) -> None:
    async def case(service: InventoryService, _another: Open) -> None:
        await service.add_stock(P, S, 1)
        hold = await service.reserve(P, S, 1, ttl=seconds(600), reservation_id="R1")
        for microseconds, state in ((-1, "OPEN"), (0, "EXPIRED"), (1, "EXPIRED")):
            clock.at = hold.reserved_at + seconds(600) + seconds(microseconds / 1_000_000)
            assert (await again(service))[1] == state
        with pytest.raises(ReservationExpiredError):
            await service.commit(hold)
        with pytest.raises(CommandsRejectedError):
            await service.execute_all([CommitStock(inventory_id=SHELF, command_id="late", reservation_id="R1")])

    run(case)


@pytest.mark.parametrize("multi_stream", [False, True], ids=["one stream", "several streams"])
def test_a_poor_store_tells_what_another_process_did_to_it(backend: str, clock: ManualClock, multi_stream: bool) -> None:
    async def case() -> None:
        shared = PlainStore(multi_stream=multi_stream)
        mine, theirs = shared, PlainStore(shared.streams, multi_stream=multi_stream)
        async with open_inventory(mine, clock=clock) as here, open_inventory(theirs, clock=clock) as there:
            await here.add_stock(P, S, 5)
            hold = await here.reserve(P, S, 1, ttl=seconds(600), reservation_id="R1")
            assert await again(here) == (True, "OPEN", 1)
            await there.commit(hold)
            assert await again(here) == (True, "COMMITTED", 0)
            basket: list[Command] = [ReserveStock(inventory_id=SHELF, reservation_id="R1", quantity=1, ttl=seconds(600))]
            for service in (here, there):
                (told,) = await service.execute_all(basket)
                assert (told.replayed, told.state) == (True, "COMMITTED")
            other = await there.reserve(P, S, 1, ttl=None, reservation_id="R2")
            told = await here.reserve(P, S, 1, ttl=None, reservation_id="R2")
            assert (told.replayed, told.state, told.version) == (True, "OPEN", other.version)

    anyio.run(case, backend=backend)
