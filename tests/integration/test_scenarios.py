"""The scenarios of the domain's law that need the whole write side: conflicts, replays, all-or-nothing orders, a flash sale."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest

from inventory_es.application.results import Reservation, StockLevel
from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import ReserveStock
from inventory_es.domain.errors import (
    CommandsRejectedError,
    InsufficientStockError,
    ReservationAlreadyReleasedError,
    ReservationExpiredError,
    ReservationIdTakenError,
)
from inventory_es.domain.events import Recorded, StockReleasedEvent, StockReservedEvent
from inventory_es.domain.identifiers import InventoryId, ReservationRef
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import ReleaseReason
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.domain.history import check_history
from inventory_es.wiring import open_inventory

P, S = "espresso", "berlin"
SHELF = InventoryId(P, S)
Open = Callable[[], AbstractAsyncContextManager[InventoryService]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kind: str = request.param
    return "memory:" if kind == "memory" else f"file:{tmp_path / 'stock'}"


@pytest.fixture
def run(url: str, clock: ManualClock, backend: str) -> Callable[[Callable[[InventoryService, Open], object]], None]:
    """Runs a case with a service, and with a way to open another one: over the same store object, or the same folder."""

    async def play(case: Callable[[InventoryService, Open], object]) -> None:
        async with open_inventory(url, clock=clock) as first:
            same = first.store if url == "memory:" else url
            await case(first, partial(open_inventory, same, clock=clock))  # type: ignore[misc]  # a case is a coroutine function
            check_history(await history(first))

    return lambda case: anyio.run(play, case, backend=backend)


async def history(service: InventoryService) -> list[Recorded]:
    return [Recorded(entry.event, entry.version, entry.recorded_at) async for entry in service.history(P, S)]


def ref(reservation_id: str) -> ReservationRef:
    return ReservationRef(P, S, reservation_id)


def figures(level: StockLevel) -> tuple[int, int, int, int]:
    return level.on_hand, level.reserved, level.on_hand - level.reserved, level.version


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_s2_last_unit_two_buyers(run: Callable[..., None]) -> None:
    async def case(a: InventoryService, another: Open) -> None:
        async with another() as b:
            await a.add_stock(P, S, 1)
            assert figures(await b.stock(P, S)) == (1, 0, 1, 1)
            await a.reserve(P, S, 1, ttl=None, reservation_id="A")
            assert figures(await a.stock(P, S)) == (1, 1, 0, 2)
            insisting = ReserveStock(inventory_id=SHELF, reservation_id="B", quantity=1, ttl=None)
            with pytest.raises(ConcurrencyError) as conflict:
                await b.execute(insisting, expected_version=1)
            assert (conflict.value.expected, conflict.value.actual) == (1, 2)
            with pytest.raises(InsufficientStockError) as refused:
                await b.execute(insisting)
            assert (refused.value.requested, refused.value.available) == (1, 0)
            assert figures(await b.stock(P, S)) == (1, 1, 0, 2)

    run(case)


def test_s2_racing_at_once(run: Callable[..., None]) -> None:
    async def case(a: InventoryService, another: Open) -> None:
        async with another() as b:
            await a.add_stock(P, S, 1)
            await a.stock(P, S), await b.stock(P, S)
            outcomes: list[object] = []

            async def buy(service: InventoryService, name: str) -> None:
                try:
                    outcomes.append(await service.reserve(P, S, 1, ttl=None, reservation_id=name))
                except InsufficientStockError as error:
                    outcomes.append((error.requested, error.available))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(buy, a, "A")
                tasks.start_soon(buy, b, "B")
            assert (1, 0) in outcomes
            assert sum(isinstance(outcome, Reservation) for outcome in outcomes) == 1
            assert figures(await a.stock(P, S)) == figures(await b.stock(P, S)) == (1, 1, 0, 2)

    run(case)


def test_s3_retries_and_duplicates(run: Callable[..., None]) -> None:
    async def case(inventory: InventoryService, another: Open) -> None:
        await inventory.add_stock(P, S, 5)
        first = await inventory.reserve(P, S, 2, ttl=None, reservation_id="R1")
        assert (first.version, first.replayed) == (2, False)
        async with another() as elsewhere:
            for service in (inventory, elsewhere):
                again = await service.reserve(P, S, 2, ttl=None, reservation_id="R1")
                assert again.replayed
                assert (again.version, again.position, again.reserved_at) == (2, first.position, first.reserved_at)
                assert figures(await service.stock(P, S)) == (5, 2, 3, 2)
                with pytest.raises(ReservationIdTakenError):
                    await service.reserve(P, S, 3, ttl=None, reservation_id="R1")
        released = await inventory.release(first, command_id="c2")
        assert (released.version, released.replayed, released.changed) == (3, False, True)
        assert figures(await inventory.stock(P, S)) == (5, 0, 5, 3)
        again_released = await inventory.release(first, command_id="c2")
        assert (again_released.version, again_released.replayed) == (3, True)
        nothing = await inventory.release(first, command_id="c3")
        assert (nothing.version, nothing.replayed, nothing.changed) == (3, False, False)
        with pytest.raises(ReservationAlreadyReleasedError):
            await inventory.commit(first)
        assert figures(await inventory.stock(P, S)) == (5, 0, 5, 3)

    run(case)


@pytest.mark.parametrize("sweep", [False, True], ids=["never swept", "swept first"])
def test_s4_expiry_and_a_late_payment(run: Callable[..., None], clock: ManualClock, *, sweep: bool) -> None:
    start = clock.now()

    async def case(inventory: InventoryService, _another: Open) -> None:
        await inventory.add_stock(P, S, 2)
        await inventory.reserve(P, S, 2, ttl=seconds(600), reservation_id="R1")
        clock.at = start + seconds(599)
        with pytest.raises(InsufficientStockError) as early:
            await inventory.reserve(P, S, 1, ttl=seconds(600), reservation_id="R2")
        assert early.value.available == 0
        clock.at = start + seconds(600)
        if sweep:
            assert (await inventory.expire(P, S)).version == 3
        with pytest.raises(ReservationExpiredError):
            await inventory.commit(ref("R1"))
        level = await inventory.stock(P, S)
        assert (level.due, level.available, level.version) == ((0, 2, 3) if sweep else (2, 2, 2))
        await inventory.reserve(P, S, 1, ttl=seconds(600), reservation_id="R2")
        assert figures(await inventory.stock(P, S)) == (2, 1, 1, 4)
        closed, reserved = (await history(inventory))[2:]
        assert isinstance(closed.event, StockReleasedEvent)
        assert (closed.event.reservation_id, closed.event.quantity, closed.event.reason) == ("R1", 2, ReleaseReason.EXPIRED)
        assert isinstance(reserved.event, StockReservedEvent)
        clock.at = start + seconds(630)
        with pytest.raises(ReservationExpiredError):
            await inventory.commit(ref("R1"))
        clock.at = start + seconds(640)
        with pytest.raises(InsufficientStockError) as late:
            await inventory.reserve(P, S, 2, ttl=seconds(600), reservation_id="R1b")
        assert late.value.available == 1
        clock.at = start + seconds(650)
        nothing = await inventory.release(ref("R1"))
        assert (nothing.changed, nothing.version) == (False, 4)

    run(case)


def test_s7_same_product_on_two_lines(run: Callable[..., None]) -> None:
    async def case(inventory: InventoryService, _another: Open) -> None:
        await inventory.add_stock(P, S, 3)
        order = [ReserveStock(inventory_id=SHELF, reservation_id=f"order/{line}", quantity=2, ttl=None) for line in (1, 2)]
        with pytest.raises(CommandsRejectedError) as refused:
            await inventory.execute_all(order)
        assert refused.value.indexes == (1,)
        (reason,) = refused.value.rejections
        assert isinstance(reason, InsufficientStockError)
        assert (reason.requested, reason.available) == (2, 1)
        assert figures(await inventory.stock(P, S)) == (3, 0, 3, 1)
        await inventory.add_stock(P, S, 1)
        outcomes = await inventory.execute_all(order)
        assert [outcome.replayed for outcome in outcomes] == [False, False]
        assert figures(await inventory.stock(P, S)) == (4, 4, 0, 4)
        again = await inventory.execute_all(order)
        assert [(outcome.replayed, outcome.version) for outcome in again] == [(True, 3), (True, 4)]

    run(case)


def test_s12_flash_sale(run: Callable[..., None], clock: ManualClock) -> None:
    async def case(inventory: InventoryService, _another: Open) -> None:
        await inventory.add_stock(P, S, 100)
        won: list[Reservation] = []
        lost: list[InsufficientStockError] = []

        async def buy(number: int) -> None:
            try:
                won.append(await inventory.reserve(P, S, 1, ttl=seconds(300), reservation_id=f"buyer-{number}"))
            except InsufficientStockError as error:
                lost.append(error)

        async with anyio.create_task_group() as tasks:
            for number in range(1_000):
                tasks.start_soon(buy, number)
        assert (len(won), len(lost)) == (100, 900)
        assert {(error.requested, error.available) for error in lost} == {(1, 0)}
        assert figures(await inventory.stock(P, S)) == (100, 100, 0, 101)

        async with anyio.create_task_group() as tasks:
            for hold in won[:70]:
                tasks.start_soon(partial(inventory.commit, hold, command_id=f"ship {hold.reservation_id}"))
        assert figures(await inventory.stock(P, S)) == (30, 30, 0, 171)

        clock.advance(seconds(300))
        assert (await inventory.expire(P, S)).version == 201
        assert figures(await inventory.stock(P, S)) == (30, 0, 30, 201)

        events = await history(inventory)
        replayed = Inventory.replay(SHELF, events)
        assert (replayed.version, replayed.units_on_hand, replayed.units_reserved, replayed.open_count) == (201, 30, 0, 0)

    run(case)
