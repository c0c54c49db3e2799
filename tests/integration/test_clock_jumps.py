"""A clock that is set while the inventory is open: nothing is written at a time that suddenly is far from the one before."""

from datetime import timedelta

import anyio
import pytest

from inventory_es.application.service import InventoryService
from inventory_es.commands import AddStock
from inventory_es.domain.identifiers import InventoryId
from inventory_es.errors import ClockJumpError
from inventory_es.processes import Orders
from inventory_es.testing import ManualClock
from inventory_es.wiring import open_inventory
from tests.integration.command_side import P, S, quick, ref, seconds

YEARS = timedelta(days=3_650)


class SettableClock(ManualClock):
    """A machine's clock: time passes in it, and it may be set."""

    was_set = timedelta()

    def set_by(self, step: timedelta) -> None:
        self.was_set += step
        self.advance(step)

    def jump(self) -> float:
        return self.was_set.total_seconds()


async def stocked(clock: ManualClock) -> InventoryService:
    service = await open_inventory("memory:", clock=clock, settings=quick()).__aenter__()
    await service.add_stock(P, S, 10, command_id="first")
    await service.reserve(P, S, 1, ttl=timedelta(minutes=15), reservation_id="R1")
    return service


@pytest.mark.parametrize("step", [YEARS, -YEARS, seconds(1_001), seconds(-1_001)])
def test_a_clock_that_was_set_refuses_all_that_writes_until_it_is_set_back(step: timedelta, backend: str) -> None:
    async def case() -> None:
        clock = SettableClock()
        service = await stocked(clock)
        clock.set_by(step)
        for attempt in (
            lambda: service.add_stock(P, S, 1),
            lambda: service.reserve(P, S, 1, ttl=None),
            lambda: service.reserve(P, S, 100, ttl=None),
            lambda: service.commit(ref("R1")),
            lambda: service.extend(ref("R1"), ttl=timedelta(minutes=15)),
            lambda: service.record_count(P, S, 9, observed_version=2),
            lambda: service.execute_all([AddStock(inventory_id=InventoryId(P, S), command_id="of a basket", quantity=1)]),
        ):
            with pytest.raises(ClockJumpError):
                await attempt()
        with pytest.raises(ClockJumpError):
            await service.add_stock("never seen", S, 1)
        with pytest.raises(ClockJumpError):
            await Orders(service).reserve("O1", [(P, S, 1)], ttl=timedelta(minutes=15))
        assert (await service.add_stock(P, S, 10, command_id="first")).replayed
        assert (await service.stock(P, S)).version == 2
        clock.set_by(-step)
        assert (await service.add_stock(P, S, 1)).version == 3
        await service.aclose()

    anyio.run(case, backend=backend)


def test_small_steps_and_time_that_passes_are_no_jump(backend: str) -> None:
    async def case() -> None:
        clock = SettableClock()
        service = await stocked(clock)
        clock.advance(YEARS)
        clock.set_by(seconds(1_000))
        assert (await service.add_stock(P, S, 1)).version == 4
        await service.aclose()

    anyio.run(case, backend=backend)


def test_times_of_the_caller_and_clocks_of_the_host_may_go_as_they_like(backend: str) -> None:
    async def case() -> None:
        clock = SettableClock()
        service = await stocked(clock)
        clock.set_by(YEARS)
        later = AddStock(inventory_id=InventoryId(P, S), command_id="later", quantity=1)
        (result,) = await service.execute_all([later], times=[clock.now() - YEARS + timedelta(hours=1)])
        assert result.version == 4
        await service.aclose()
        hosts = ManualClock()
        service = await stocked(hosts)
        hosts.advance(YEARS)
        assert (await service.add_stock(P, S, 1)).version == 4
        await service.aclose()

    anyio.run(case, backend=backend)


def test_the_error_says_which_way_and_what_to_do() -> None:
    error = ClockJumpError(jump=timedelta(days=-1), max_clock_jump=timedelta(seconds=1_000))
    assert str(error) == (
        "this machine's clock was set back by 86400 s while the inventory was open (allowed: 1000 s), and nothing was written: "
        "set it right and send the command again, or, if it is right now, open the inventory again"
    )
