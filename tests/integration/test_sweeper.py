"""The reservation sweeper: on time, one of several, through crashes and absent stores, and never needed for an answer to be right."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from inventory_es import CommandResult, InventoryService, PolicyRejectedError, Reservation, open_inventory
from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.application.following.lease import Lease
from inventory_es.application.following.subscription import Pace
from inventory_es.application.following.sweeper import ReservationSweeper
from inventory_es.application.projections import open_reservations
from inventory_es.application.projections.open_reservations import DEADLINES
from inventory_es.errors import ReadModelUnavailableError, RejectionError
from inventory_es.events import StockReleasedEvent
from inventory_es.ports import Checkpoint, EventFeed, EventStore, FeedPage, ProjectionId, ReadModel, RowsPage
from inventory_es.testing import Faults, ManualClock, faulty_event_store
from inventory_es.testing.contracts.core.schedule import PLAIN, Schedule
from tests.integration.read_side import rows_of, runner
from tests.integration.test_projections import kind, stores
from tests.integration.virtual_time import VirtualTime

__all__ = ["kind"]

LOOK = 1.0
LEASE = timedelta(seconds=10)
PROJECTION = open_reservations()


def sweeper(inventory: InventoryService, model: ReadModel, time: VirtualTime, **settings: Any) -> ReservationSweeper:
    given: dict[str, Any] = {"owner": "one", "lease": LEASE, "sleep": time.sleep}
    return ReservationSweeper(inventory, read_model=model, clock=time.clock, **(given | settings))


async def project(store: EventStore, model: ReadModel, clock: ManualClock) -> None:
    """Bring the rows up to the end of the feed."""
    await runner(PROJECTION, store, model, clock).catch_up()


def state_of(sweeps: ReservationSweeper) -> str:
    return sweeps.status.state


def error_of(sweeps: ReservationSweeper) -> str | None:
    return sweeps.status.error


@asynccontextmanager
async def following(store: EventStore, model: ReadModel, time: VirtualTime) -> AsyncIterator[None]:
    """Rows that follow the feed all the time."""
    live = runner(PROJECTION, store, model, ManualClock(), owner="rows")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(live.run)
        try:
            yield
        finally:
            live.stop()


async def releases(inventory: InventoryService, product: str = "tea", shop: str = "berlin") -> list[tuple[str, float]]:
    """Which reservations expired, and how many seconds after the start of the clock."""
    start = ManualClock().at
    return [
        (entry.event.reservation_id, (entry.recorded_at - start).total_seconds())
        async for entry in inventory.history(product, shop)
        if isinstance(entry.event, StockReleasedEvent) and entry.event.reason == "EXPIRED"
    ]


async def hold(inventory: InventoryService, name: str, seconds: float | None, product: str = "tea") -> Reservation:
    ttl = None if seconds is None else timedelta(seconds=seconds)
    return await inventory.reserve(product, "berlin", 1, ttl=ttl, reservation_id=name)


def test_what_is_due_is_expired_in_time_and_nothing_else(backend: str) -> None:
    async def body() -> None:
        time, model = VirtualTime(), MemoryReadModel()
        async with MemoryEventStore() as store, open_inventory(store, clock=time.clock) as inventory, following(store, model, time):
            await inventory.add_stock("tea", "berlin", 100)
            async with anyio.create_task_group() as tasks:
                sweeps = sweeper(inventory, model, time)
                tasks.start_soon(sweeps.run)
                await hold(inventory, "short", 5)
                await hold(inventory, "firm", None)
                await time.pass_time(2)
                extended, confirmed, sold = [await hold(inventory, name, 10.25) for name in ("extended", "confirmed", "sold")]
                await hold(inventory, "partly", 20)
                await time.pass_time(3)
                assert (sweeps.status.state, sweeps.status.next_due) == ("sweeping", extended.expires_at)
                await inventory.extend(extended, ttl=timedelta(seconds=30))
                await inventory.confirm(confirmed)
                await inventory.commit(sold)
                await time.pass_time(100)
                level = await inventory.stock("tea", "berlin")
                assert (level.reserved, level.due) == (2, 0)
                assert sweeps.status == attrs.evolve(sweeps.status, state="sweeping", expirations=3, next_due=None, error=None)
                sweeps.stop()
            assert sweeps.status.state == "stopped"
            late = {"short": 5.0, "partly": 22.0, "extended": 35.0}
            expired = await releases(inventory)
            assert [name for name, _ in expired] == list(late)
            assert all(0 <= at - late[name] <= LOOK for name, at in expired)

    anyio.run(body, backend=backend)


class Counting(InventoryService):
    """Counts and limits: what was asked to expire, and what may."""

    def __init__(self, store: EventStore, clock: ManualClock) -> None:
        async def give() -> EventStore:
            return store

        super().__init__(give, open_inventory(store, clock=clock).parts, owns_store=False)
        self.asked: list[tuple[str, int]] = []
        self.fails: Callable[[str], Exception | None] = lambda _: None

    async def expire(self, product_id: Any, store_id: Any, *, limit: int = 500, command_id: Any = None) -> CommandResult:
        self.asked.append((str(product_id), limit))
        problem = self.fails(str(product_id))
        if problem is not None:
            raise problem
        return await super().expire(product_id, store_id, limit=limit, command_id=command_id)


@asynccontextmanager
async def shop(time: VirtualTime, *, products: int = 1) -> AsyncIterator[tuple[MemoryEventStore, Counting]]:
    async with MemoryEventStore() as store, Counting(store, time.clock) as inventory:
        for number in range(products):
            await inventory.add_stock(f"p{number}", "berlin", 100)
        yield store, inventory


def test_many_due_at_once_go_in_bounded_batches(backend: str) -> None:
    async def body() -> None:
        time, model = VirtualTime(), MemoryReadModel()
        async with shop(time, products=4) as (store, inventory):
            for number in range(30):
                await hold(inventory, f"r{number}", 5, f"p{number % 3}")
            await hold(inventory, "later", 500, "p3")
            await project(store, model, time.clock)
            async with anyio.create_task_group() as tasks:
                sweeps = sweeper(inventory, model, time, pace=Pace(batch_size=7, longest_wait=LOOK))
                tasks.start_soon(sweeps.run)
                await time.pass_time(5)
                assert {limit for _, limit in inventory.asked} == {7}
                assert len(inventory.asked) <= 3 * 5
                assert [(await inventory.stock(f"p{number}", "berlin")).reserved for number in range(4)] == [0, 0, 0, 1]
                sweeps.stop()

    anyio.run(body, backend=backend)


def test_rows_that_are_behind_are_not_swept_again_and_again(backend: str) -> None:
    async def body() -> None:
        time, model = VirtualTime(), MemoryReadModel()
        async with shop(time, products=3) as (store, inventory):
            for number in range(3):
                await hold(inventory, f"r{number}", 5 * (1 + number), f"p{number}")
            await project(store, model, time.clock)  # and never again until it is called for
            async with anyio.create_task_group() as tasks:
                sweeps = sweeper(inventory, model, time)
                tasks.start_soon(sweeps.run)
                await time.pass_time(60)
                assert [product for product, _ in inventory.asked] == ["p0", "p1", "p2"]
                await hold(inventory, "shorter than those that were swept", 1, "p0")
                await project(store, model, time.clock)
                await time.pass_time(2)
                assert [product for product, _ in inventory.asked] == ["p0", "p1", "p2", "p0"]
                assert (await inventory.stock("p0", "berlin")).due == 0
                sweeps.stop()

    anyio.run(body, backend=backend)


@attrs.define
class Feed(EventFeed):
    """The feed of a store up to some position: what a projection sees that is always late."""

    store: MemoryEventStore
    end: int = 0

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await self.store.read_all(after=after, limit=limit)
        events = [event for event in page.events if event.position <= self.end]
        next_after = events[-1].position if events else after
        return FeedPage(events, next_after, is_end=next_after >= self.end)

    async def head(self) -> int:
        return self.end

    async def wait_for_position(self, position: int, /, *, timeout: float) -> bool:
        await anyio.sleep(timeout)
        return False


def test_rows_that_are_always_behind_keep_nobody_waiting_for_ever(backend: str) -> None:
    async def body() -> None:
        time, model = VirtualTime(), MemoryReadModel()
        async with shop(time, products=2) as (store, inventory):
            for number in range(40):
                await hold(inventory, f"r{number}", number + 1, "p0")
            feed, heads = Feed(store), [await store.head()] * 4
            await hold(inventory, "short", 1, "p1")
            async with anyio.create_task_group() as tasks:
                sweeps = sweeper(inventory, model, time)
                tasks.start_soon(sweeps.run)
                for _ in range(20):  # something is due in every look, and the rows are four seconds late
                    heads.append(await store.head())
                    feed.end = heads.pop(0)
                    await runner(PROJECTION, feed, model, time.clock).catch_up()
                    await time.pass_time(1)
                assert (await inventory.stock("p1", "berlin")).reserved == 0
                assert len([product for product, _ in inventory.asked if product == "p0"]) <= 2 * 20
                sweeps.stop()

    anyio.run(body, backend=backend)


def test_one_of_several_sweeps_and_another_takes_over(backend: str) -> None:
    async def body() -> None:
        time, model = VirtualTime(), MemoryReadModel()
        async with shop(time) as (store, inventory), following(store, model, time), anyio.create_task_group() as tasks:
            several = [sweeper(inventory, model, time, owner=f"s{number}") for number in range(3)]
            for one in several:
                tasks.start_soon(one.run)
            await hold(inventory, "first", 5, "p0")
            await time.pass_time(6)
            assert sorted(one.status.state for one in several) == ["standing by", "standing by", "sweeping"]
            assert len(inventory.asked) == 1
            next(one for one in several if one.status.state == "sweeping").stop()
            await time.pass_time(LEASE.total_seconds())
            assert sorted(one.status.state for one in several) == ["standing by", "stopped", "sweeping"]
            await hold(inventory, "second", 5, "p0")
            await time.pass_time(6)
            assert (await inventory.stock("p0", "berlin")).reserved == 0
            for one in several:
                one.stop()

    anyio.run(body, backend=backend)


def test_one_that_died_is_replaced_when_its_lease_is_over(backend: str) -> None:
    async def body() -> None:
        time, model = VirtualTime(), MemoryReadModel()
        async with shop(time) as (store, inventory), following(store, model, time), anyio.create_task_group() as tasks:
            identity = ProjectionId("reservation_sweeper", 1)
            await model.prepare(identity, ())
            assert await Lease(model, identity, "died in the middle", time.clock, LEASE).acquire()
            await hold(inventory, "short", 1, "p0")
            sweeps = sweeper(inventory, model, time)
            tasks.start_soon(sweeps.run)
            await time.pass_time(LEASE.total_seconds() - 0.5)
            assert sweeps.status.state == "standing by"
            assert (await inventory.stock("p0", "berlin")).due == 1
            await time.pass_time(LEASE.total_seconds() / 3 + 0.5)
            assert (await inventory.stock("p0", "berlin")).reserved == 0
            sweeps.stop()

    anyio.run(body, backend=backend)


def test_one_that_was_fenced_out_stands_by(backend: str) -> None:
    async def body() -> None:
        time, model = VirtualTime(), MemoryReadModel()
        async with shop(time) as (store, inventory), following(store, model, time), anyio.create_task_group() as tasks:
            sweeps = sweeper(inventory, model, time)
            tasks.start_soon(sweeps.run)
            await time.pass_time(1)
            other = Lease(model, ProjectionId("reservation_sweeper", 1), "other", time.clock, LEASE)
            assert await other.acquire(by_force=True)
            await time.pass_time(LEASE.total_seconds() / 2)
            assert state_of(sweeps) == "standing by"
            await other.release()
            await time.pass_time(LEASE.total_seconds() / 2)
            assert state_of(sweeps) == "sweeping"
            sweeps.stop()

    anyio.run(body, backend=backend)


def test_it_holds_on_through_a_lease_of_looks(backend: str) -> None:
    async def body() -> None:
        time, model = VirtualTime(), MemoryReadModel()
        async with shop(time) as (store, inventory), following(store, model, time), anyio.create_task_group() as tasks:
            first, second = (sweeper(inventory, model, time, owner=name) for name in ("first", "second"))
            tasks.start_soon(first.run)
            await time.pass_time(1)
            tasks.start_soon(second.run)
            await time.pass_time(5 * LEASE.total_seconds())
            assert (first.status.state, second.status.state) == ("sweeping", "standing by")
            first.stop()
            second.stop()

    anyio.run(body, backend=backend)


class Flaky(MemoryReadModel):
    """A read model that may be away."""

    is_away = False

    async def checkpoint(self, projection: ProjectionId, /) -> Checkpoint:
        self._look()
        return await super().checkpoint(projection)

    async def select(self, projection: ProjectionId, table: str, /, **options: Any) -> RowsPage:
        self._look()
        return await super().select(projection, table, **options)

    def _look(self) -> None:
        if self.is_away:
            raise ReadModelUnavailableError(read_model="rows", reason="away")


def test_absent_backends_are_waited_for_with_growing_pauses(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        time, model = VirtualTime(), Flaky()
        is_away = False
        faults = Faults(lambda operation, _: "fail_before" if is_away and operation.startswith("append") else None)
        async with (
            MemoryEventStore() as store,
            Counting(faulty_event_store(store, faults), time.clock) as inventory,
            anyio.create_task_group() as tasks,
        ):
            for number in range(20):
                await inventory.add_stock(f"p{number}", "berlin", 1)
                await hold(inventory, "r", 5, f"p{number}")
            await project(store, model, time.clock)
            sweeps = sweeper(inventory, model, time)
            tasks.start_soon(sweeps.run)
            await time.pass_time(1)
            model.is_away = True
            await time.pass_time(10)
            assert sweeps.status.state == "waiting"
            assert "ReadModelUnavailableError" in str(sweeps.status.error)
            model.is_away, is_away = False, True
            await time.pass_time(100)
            assert sweeps.status.state == "waiting"
            assert "StoreUnavailableError" in str(sweeps.status.error)
            tries = len(inventory.asked)
            assert 0 < tries < 20, "the pauses grow, and a page is not asked for to its end"
            is_away = False
            await time.pass_time(31)
            assert sweeps.status == attrs.evolve(sweeps.status, state="sweeping", error=None, expirations=20)
            sweeps.stop()

    anyio.run(body, backend=backend)
    assert {record.message for record in caplog.records} == {"sweep_failed"}


@pytest.mark.parametrize("problem", [PolicyRejectedError("no_sweeps_today"), ZeroDivisionError()])
def test_one_inventory_that_fails_keeps_no_other_waiting(problem: Exception, backend: str) -> None:
    async def body() -> None:
        time, model = VirtualTime(), MemoryReadModel()
        async with shop(time, products=3) as (store, inventory), following(store, model, time), anyio.create_task_group() as tasks:
            inventory.fails = lambda product: problem if product == "p1" else None
            for number in range(3):
                await hold(inventory, "r", 5, f"p{number}")
            sweeps = sweeper(inventory, model, time)
            tasks.start_soon(sweeps.run)
            await time.pass_time(6)
            assert [(await inventory.stock(f"p{number}", "berlin")).due for number in range(3)] == [0, 1, 0]
            assert sweeps.status.state == "sweeping"
            assert str(sweeps.status.error).startswith(f"inventory-p1-berlin: {type(problem).__name__}")
            await time.pass_time(300)
            assert sum(product == "p1" for product, _ in inventory.asked) < 20, "the pauses grow"
            inventory.fails = lambda _: None
            await time.pass_time(31)
            assert (await inventory.stock("p1", "berlin")).reserved == 0
            assert error_of(sweeps) is None
            sweeps.stop()

    anyio.run(body, backend=backend)


def test_a_failing_inventory_that_somebody_else_swept_is_forgotten(backend: str) -> None:
    async def body() -> None:
        time, model = VirtualTime(), MemoryReadModel()
        async with shop(time) as (store, inventory), following(store, model, time), anyio.create_task_group() as tasks:
            inventory.fails = lambda _: ZeroDivisionError()
            await hold(inventory, "r", 5, "p0")
            sweeps = sweeper(inventory, model, time)
            tasks.start_soon(sweeps.run)
            await time.pass_time(6)
            assert error_of(sweeps) is not None
            await inventory.add_stock("p0", "berlin", 1)
            await time.pass_time(2)
            assert error_of(sweeps) is None
            sweeps.stop()

    anyio.run(body, backend=backend)


def test_stopped_before_it_runs_and_in_the_middle_of_a_page(backend: str) -> None:
    async def body() -> None:
        time, model = VirtualTime(), MemoryReadModel()
        async with shop(time) as (store, inventory):
            sweeps = sweeper(inventory, model, time)
            sweeps.stop()
            sweeps.stop()
            await sweeps.run()
            assert inventory.asked == []
            for number in range(6):
                await hold(inventory, f"r{number}", 5, "p0")
            await project(store, model, time.clock)
            time.clock.advance(timedelta(seconds=5))
            sweeps = sweeper(inventory, model, time, pace=Pace(batch_size=2))

            def stop(_product: str) -> None:
                sweeps.stop()

            inventory.fails = stop
            await sweeps.run()
            assert inventory.asked == [("p0", 2)]
            assert (await inventory.stock("p0", "berlin")).due == 4
            seen = await model.checkpoint(ProjectionId("reservation_sweeper", 1))
            assert seen.owner is None, "released: another one takes over at once"

    anyio.run(body, backend=backend)


def test_cancelled_at_every_await_each_reservation_is_released_once(backend: str, kind: str, tmp_path: Path) -> None:
    async def body() -> None:
        time = VirtualTime()
        async with stores(kind, tmp_path) as (store, model), open_inventory(store, clock=time.clock) as inventory:
            await inventory.add_stock("tea", "berlin", 1_000)
            for nth in range(1, 400):
                held = [await hold(inventory, f"r{nth}-{number}", 5) for number in range(3)]
                await project(store, model, time.clock)
                time.clock.advance(LEASE)
                is_over = await _cancelled_at(nth, sweeper(inventory, model, time, owner=f"s{nth}", pace=Pace(batch_size=2)))
                time.clock.advance(LEASE)
                second = sweeper(inventory, model, time, owner="second")
                second._leader._sleep = _stopping(second)
                await second.run()
                expired = [name for name, _ in await releases(inventory)]
                assert sorted(expired[-3:]) == sorted(one.reservation_id for one in held)
                assert len(expired) == len(set(expired)) == 3 * nth
                if is_over:
                    return
            pytest.fail("it never came to rest")

    anyio.run(body, backend=backend)


async def _cancelled_at(nth: int, sweeps: ReservationSweeper) -> bool:
    """Cancel it at its n-th suspension; whether it was done before that."""
    left = nth
    is_over = False

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            scope.cancel()

    async def over(_seconds: float) -> None:
        nonlocal is_over
        is_over = True
        sweeps.stop()
        await anyio.lowlevel.checkpoint()

    sweeps._leader._sleep = over
    with anyio.CancelScope() as scope:
        await Schedule(PLAIN, "").drive(sweeps.run(), count)
    return is_over


def _stopping(sweeps: ReservationSweeper) -> Callable[[float], Any]:
    async def sleep(_seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        sweeps.stop()

    return sleep


def test_no_answer_tells_whether_anybody_sweeps(backend: str) -> None:
    """P23 over whole services: the same commands at the same times, with a sweeper and without one."""

    async def body() -> None:
        for seed in range(2):
            answers = [await _traded(seed, sweeps=sweeps) for sweeps in (False, True)]
            assert answers[0] == answers[1]

    anyio.run(body, backend=backend)


async def _traded(seed: int, *, sweeps: bool) -> list[object]:
    chance, time, model = Random(seed), VirtualTime(), MemoryReadModel()
    answers: list[object] = []
    held: list[Reservation] = []
    async with MemoryEventStore() as store, open_inventory(store, clock=time.clock) as inventory, following(store, model, time):
        sweeping = sweeper(inventory, model, time)
        async with anyio.create_task_group() as tasks:
            if sweeps:
                tasks.start_soon(sweeping.run)
            for number in range(40):
                await time.pass_time(chance.choice((0, 0.5, 3, 6)))
                try:
                    match chance.randint(0, 5):
                        case 0 | 1:
                            await inventory.add_stock("tea", "berlin", chance.randint(1, 5))
                        case 2 | 3:
                            held.append(await hold(inventory, f"r{number}", chance.choice((1, 5, 10))))
                        case 4 if held:
                            await inventory.commit(held.pop(chance.randrange(len(held))))
                        case _ if held:
                            await inventory.release(held.pop(chance.randrange(len(held))))
                        case _:
                            continue
                except RejectionError as refused:
                    answers.append((refused.code, {key: value for key, value in refused.to_dict().items() if key != "version"}))
                else:
                    level = await inventory.stock("tea", "berlin")
                    answers.append((level.on_hand, level.available))
            sweeping.stop()
        assert not sweeps or sweeping.status.expirations
    return answers


def test_over_a_real_file(backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = ManualClock()
        async with stores("sqlite", tmp_path) as (store, model), open_inventory(store, clock=clock) as inventory:
            await inventory.add_stock("tea", "berlin", 10)
            for number in range(5):
                await hold(inventory, f"r{number}", 5)
            live = runner(PROJECTION, store, model, clock, owner="rows")
            sweeps = ReservationSweeper(inventory, read_model=model, clock=clock, owner="one", pace=Pace(longest_wait=0.02))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(live.run)
                tasks.start_soon(sweeps.run)
                clock.advance(timedelta(seconds=5))
                with anyio.fail_after(20):
                    while (await inventory.stock("tea", "berlin")).reserved or await rows_of(model, PROJECTION, DEADLINES.name):
                        await anyio.lowlevel.checkpoint()
                sweeps.stop()
                live.stop()
            assert len(await releases(inventory)) == 5

    anyio.run(body, backend=backend)
