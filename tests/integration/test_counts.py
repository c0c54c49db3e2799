"""Counts: each leaves a trace, one that confirms the books too, on every way from the command to the rows."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from inventory_es.adapters.memory import MemoryReadModel
from inventory_es.application.projections import daily_summary, ledger, low_stock, stock_totals
from inventory_es.application.service import InventoryService
from inventory_es.domain.commands import AdjustStock
from inventory_es.domain.errors import CountSupersededError
from inventory_es.domain.events import StockAdjustedEvent
from inventory_es.domain.reasons import AdjustReason
from inventory_es.testing.clock import ManualClock
from inventory_es.wiring import open_inventory
from tests.integration.command_side import SHELF, P, S, seconds
from tests.integration.read_side import rows_of, runner


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory:", "file:{}", "sqlite:{}/stock.db"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    name: str = request.param
    return name.format(tmp_path)


@pytest.fixture
def run(url: str, clock: ManualClock, backend: str) -> Callable[[Callable[[InventoryService], object]], None]:
    async def play(case: Callable[[InventoryService], object]) -> None:
        async with open_inventory(url, clock=clock) as service:
            await case(service)  # type: ignore[misc]  # a case is a coroutine function

    return lambda case: anyio.run(play, case, backend=backend)


def test_an_older_count_is_superseded_by_one_that_confirmed_the_books(run: Callable[..., None]) -> None:
    async def case(service: InventoryService) -> None:
        await service.add_stock(P, S, 100)
        await service.reserve(P, S, 1, ttl=None)
        confirmed = await service.record_count(P, S, 100, observed_version=2)
        assert (confirmed.changed, confirmed.version, confirmed.on_hand) == (True, 3, 100)
        for observed in (1, 2):
            with pytest.raises(CountSupersededError) as refused:
                await service.record_count(P, S, 97, observed_version=observed)
            assert refused.value.last_count_version == 3
        later = await service.record_count(P, S, 97, observed_version=3)
        assert (later.version, later.on_hand) == (4, 97)

    run(case)


def test_a_confirming_count_is_repeatable_by_its_id(run: Callable[..., None]) -> None:
    async def case(service: InventoryService) -> None:
        await service.add_stock(P, S, 10)
        first = await service.record_count(P, S, 10, observed_version=1, command_id="sheet-1")
        await service.add_stock(P, S, 5)
        again = await service.record_count(P, S, 10, observed_version=1, command_id="sheet-1")
        assert (again.replayed, again.version, again.on_hand) == (True, first.version, 10)
        assert (await service.stock(P, S)).version == 3

    run(case)


def test_explain_names_the_last_count(run: Callable[..., None], clock: ManualClock) -> None:
    async def case(service: InventoryService) -> None:
        assert (await service.explain(P, S)).last_count is None
        await service.add_stock(P, S, 10)
        assert (await service.explain(P, S)).last_count is None
        clock.advance(seconds(60))
        await service.record_count(P, S, 10, observed_version=1)
        counted_at = clock.now()
        clock.advance(seconds(60))
        await service.adjust(P, S, -1, reason=AdjustReason.LOSS)
        last = (await service.explain(P, S, movements=0)).last_count
        assert last is not None
        assert (last.version, last.recorded_at) == (2, counted_at)
        assert last.event == StockAdjustedEvent(P, S, 0, AdjustReason.COUNT, 10, 1, 10, 0)

    run(case)


def test_rows_of_a_confirming_count_show_a_movement_of_nothing(clock: ManualClock, backend: str) -> None:
    async def body() -> None:
        model = MemoryReadModel()
        low = low_stock(lambda _product: 10)
        async with open_inventory("memory:", clock=clock) as service:
            await service.add_stock(P, S, 10)
            await service.record_count(P, S, 10, observed_version=1)
            for projection in (ledger(), low, daily_summary(), stock_totals()):
                await runner(projection, service.store, model, clock).catch_up()
        *_, row = await rows_of(model, ledger(), "movements")
        assert (row["event_type"], row["reason"], row["on_hand_change"], row["reserved_change"]) == ("StockAdjustedEvent", "COUNT", 0, 0)
        assert (row["on_hand"], row["version"]) == (10, 2)
        assert [one["direction"] for one in await rows_of(model, low, "crossings")] == ["low"]
        (day,) = await rows_of(model, daily_summary(), "days")
        assert (day["movements"], day["adjusted"], day["on_hand"]) == (2, 0, 10)
        (product,) = await rows_of(model, stock_totals(), "products")
        assert (product["inventories"], product["on_hand"]) == (1, 10)

    anyio.run(body, backend=backend)


def test_no_adjustment_but_a_count_may_change_nothing(run: Callable[..., None]) -> None:
    async def case(service: InventoryService) -> None:
        await service.add_stock(P, S, 10)
        with pytest.raises(ValueError, match="delta must not be 0"):
            AdjustStock(inventory_id=SHELF, command_id="c", delta=0, reason=AdjustReason.FOUND)
        with pytest.raises(ValueError, match="delta must not be 0"):
            await service.adjust(P, S, 0, reason=AdjustReason.FOUND)

    run(case)
