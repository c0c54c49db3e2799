"""A clock that is set while the inventory is open: nothing is written at a time that suddenly is far from the one before."""

from datetime import timedelta

import anyio
import pytest

from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.application.following.lease import Lease, is_held
from inventory_es.application.following.sweeper import ReservationSweeper
from inventory_es.application.projections import open_reservations
from inventory_es.application.service import InventoryService
from inventory_es.commands import AddStock
from inventory_es.domain.identifiers import InventoryId
from inventory_es.errors import ClockJumpError
from inventory_es.ports import ProjectionId
from inventory_es.processes import Orders, OrderStatus, ProcessRunner
from inventory_es.testing import ManualClock
from inventory_es.wiring import open_inventory
from tests.integration.command_side import P, S, quick, ref, seconds
from tests.integration.read_side import runner

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


def test_a_sweeper_expires_what_is_due_as_soon_as_the_clock_is_set_right(backend: str) -> None:
    async def case() -> None:
        clock = SettableClock()
        model = MemoryReadModel()
        async with MemoryEventStore() as store, open_inventory(store, clock=clock, settings=quick()) as service:
            await service.add_stock(P, S, 10)
            await service.reserve(P, S, 1, ttl=timedelta(minutes=15), reservation_id="R1")
            await runner(open_reservations(), store, model, clock).catch_up()
            looks = iter([YEARS, -YEARS + timedelta(minutes=15), timedelta(0)])
            states: list[str] = []

            async def pass_time(_: float) -> None:
                states.append(sweeper.status.state)
                step = next(looks, None)
                if step is None:
                    sweeper.stop()
                else:
                    clock.was_set = step if step == YEARS else timedelta()
                    clock.advance(step)

            sweeper = ReservationSweeper(service, read_model=model, clock=clock, owner="one", sleep=pass_time)
            await sweeper.run()
            assert states == ["sweeping", "waiting", "sweeping", "sweeping"]
            assert (await service.stock(P, S)).reserved == 0

    anyio.run(case, backend=backend)


def test_a_runner_leaves_a_process_due_while_the_clock_is_wrong(backend: str) -> None:
    async def case() -> None:
        clock = SettableClock()
        model = MemoryReadModel()
        async with MemoryEventStore() as store, open_inventory(store, clock=clock, settings=quick()) as service:
            await service.add_stock(P, S, 10)
            orders = Orders(service)
            await orders.reserve("O1", [(P, S, 1)], ttl=timedelta(minutes=15))
            helper = ProcessRunner(orders, feed=store, read_model=model, clock=clock, owner="one", patience=timedelta(0))
            await helper.catch_up()
            before = await helper.waiting()
            clock.set_by(YEARS)
            with pytest.raises(ClockJumpError):
                await helper.catch_up()
            assert await helper.waiting() == before
            clock.set_by(-YEARS)
            clock.advance(timedelta(minutes=15))
            await ProcessRunner(orders, feed=store, read_model=model, clock=clock, owner="another").catch_up()
            assert (await orders.order("O1")).status is OrderStatus.EXPIRED

    anyio.run(case, backend=backend)


def test_a_lease_that_a_clock_ahead_wrote_keeps_nobody_waiting(backend: str) -> None:
    async def case() -> None:
        clock, lease = ManualClock(), seconds(10)
        model = MemoryReadModel()
        await model.prepare(ProjectionId("it", 1), ())
        one, another = (Lease(model, ProjectionId("it", 1), owner, clock, lease) for owner in ("one", "another"))
        clock.advance(YEARS)
        assert await one.acquire()
        held = one.held_checkpoint
        assert not one.is_ageing
        assert not await another.acquire()
        assert is_held(held, clock.now())
        clock.advance(-YEARS)
        assert not is_held(held, clock.now())
        assert [one.is_ageing] == [True]
        assert await another.acquire()

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("mine", [seconds(10), timedelta(hours=2)])
def test_a_longer_lease_of_somebody_else_is_respected(mine: timedelta, backend: str) -> None:
    async def case() -> None:
        clock, theirs = ManualClock(), max(mine, timedelta(hours=1))
        model = MemoryReadModel()
        await model.prepare(ProjectionId("it", 1), ())
        assert await Lease(model, ProjectionId("it", 1), "one", clock, theirs).acquire()
        assert not await Lease(model, ProjectionId("it", 1), "another", clock, mine).acquire()

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


def test_a_backlog_is_closed_in_parts_also_for_a_command_that_has_its_own_time(backend: str) -> None:
    async def case() -> None:
        clock = SettableClock()
        async with open_inventory("memory:", clock=clock, settings=quick(expiry_chunk=2)) as service:
            await service.add_stock(P, S, 10)
            for _ in range(7):
                await service.reserve(P, S, 1, ttl=seconds(5))
            later, clock.was_set = clock.now() + seconds(60), YEARS
            command = AddStock(inventory_id=InventoryId(P, S), command_id="later", quantity=1)
            await service.execute_all([command], times=[later])
            own = [entry.metadata.command_id async for entry in service.history(P, S) if entry.recorded_at == later]
            assert own.count("later") == 2
            assert len(own) == 8

    anyio.run(case, backend=backend)


def test_the_error_says_which_way_and_what_to_do() -> None:
    error = ClockJumpError(jump=timedelta(days=-1), max_clock_jump=timedelta(seconds=1_000))
    assert str(error) == (
        "this machine's clock was set back by 86400 s while the inventory was open (allowed: 1000 s), and nothing was written: "
        "set it right and send the command again, or, if it is right now, open the inventory again"
    )
