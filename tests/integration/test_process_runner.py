"""Runners of orders: whoever stopped half way is helped on, what lapses is given back, one runner at a time."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import anyio
import pytest

from inventory_es import PolicyRejectedError, ReservationRef, StreamId
from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.application.following.subscription import Pace
from inventory_es.commands import ReleaseStock, ReserveStock
from inventory_es.errors import ClockSkewError, ConcurrencyError, ProcessStateError, ProjectionNotFoundError, StoreUnavailableError
from inventory_es.ports.read_model import ProjectionId, to_text
from inventory_es.processes import OrderItem, Orders, OrderStatus, PlaceOrder
from tests.integration.command_side import Heap, turns
from tests.integration.orders_side import ITEMS, TTL, A, B, C, PowerCutError, balances, dying, shop, stock_up, told

S = OrderStatus
FULL = [(5, 2), (1, 1), (4, 4)]
EMPTY = [(5, 0), (1, 0), (4, 0)]


@pytest.fixture
def heap() -> Heap:
    return Heap()


async def placed(orders: Orders) -> Any:
    return await orders.reserve("O1", ITEMS, ttl=TTL)


async def paid(orders: Orders) -> Any:
    await placed(orders)
    return await orders.authorise_payment("O1", "P1")


async def shipped(orders: Orders) -> Any:
    await paid(orders)
    await orders.ship("O1", "X1", [("A", "S1", 1), ("C", "S3", 2)])
    return await orders.ship("O1", "X2")


async def cancelled(orders: Orders) -> Any:
    await paid(orders)
    return await orders.cancel("O1")


@pytest.mark.parametrize("multi_stream", [True, False])
@pytest.mark.parametrize("story", [placed, paid, shipped, cancelled])
def test_wherever_it_is_killed_it_ends_as_it_would_have(
    heap: Heap, backend: str, story: Callable[[Orders], Any], multi_stream: bool
) -> None:
    async def case() -> None:
        whole = Heap()
        async with shop(whole, whole.store(multi_stream=multi_stream)) as undisturbed:
            await stock_up(undisturbed.service)
            expected = await story(undisturbed.orders)
            appends = undisturbed.service.store.count("append")
            figures, events = await balances(undisturbed.service), sorted(await told(whole), key=repr)
        for survived in range(3, appends):
            heap = Heap()
            async with shop(heap, dying(heap, survived, multi_stream=multi_stream)) as killed:
                await stock_up(killed.service)
                with pytest.raises(PowerCutError):
                    await story(killed.orders)
            async with shop(heap, heap.store(multi_stream=multi_stream)) as after:
                await after.pass_time(20)
                assert (await after.orders.order("O1")).step is None
                order = await story(after.orders)
                assert (order.status, order.shipments, order.lines) == (expected.status, expected.shipments, expected.lines)
                assert await balances(after.service) == figures
                assert sorted(await told(heap), key=repr) == events
                await after.pass_time(20)
                assert list(await after.runner().waiting()) == ([] if order.status is not S.HELD else [_row("O1", order)])

    anyio.run(case, backend=backend)


def _row(order_id: str, order: Any) -> dict[str, Any]:
    due_at = to_text(order.expires_at)
    return {"process_id": order_id, "due_at": due_at, "failures": 0, "error": None}


@pytest.mark.parametrize("multi_stream", [True, False])
def test_what_nobody_pays_is_given_back_in_time(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        async with shop(heap, heap.store(multi_stream=multi_stream)) as one:
            await stock_up(one.service)
            await placed(one.orders)
            await one.pass_time(899)
            assert ((await one.orders.order("O1")).status, await balances(one.service)) == (S.HELD, FULL)
            await one.pass_time(1)
            assert ((await one.orders.order("O1")).status, await balances(one.service)) == (S.EXPIRED, EMPTY)
            ending = sorted(what for what, _ in (await told(heap))[-5:])
            assert ending == ["OrderReleasedEvent", "OrderWithdrawnEvent", *["released EXPIRED"] * 3]
            assert not await one.runner().waiting()

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("multi_stream", [True, False])
@pytest.mark.parametrize("is_swept", [True, False])
def test_a_late_payment_reserves_again(heap: Heap, backend: str, multi_stream: bool, is_swept: bool) -> None:
    async def case() -> None:
        async with shop(heap, heap.store(multi_stream=multi_stream)) as one:
            await stock_up(one.service)
            await placed(one.orders)
            heap.clock.advance(TTL)
            if is_swept:
                await one.pass_time(0)
            order = await one.orders.authorise_payment("O1", "P1")
            assert (order.status, order.generation, order.generations) == (S.FIRM, 2, (2, 2, 2))
            assert await balances(one.service) == FULL
            assert (await one.service.reservation(ReservationRef("A", "S1", "O1:1:g2"))).expires_at is None
            assert (await one.orders.ship("O1", "X1")).status is S.DONE
            assert await balances(one.service) == [(3, 0), (0, 0), (0, 0)]

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("multi_stream", [True, False])
def test_a_late_payment_for_what_is_gone_needs_a_refund(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        async with shop(heap, heap.store(multi_stream=multi_stream)) as one:
            await stock_up(one.service)
            await placed(one.orders)
            heap.clock.advance(TTL)
            assert (await one.orders.reserve("O2", [("B", "S2", 1)], ttl=TTL)).status is S.HELD
            order = await one.orders.authorise_payment("O1", "P1")
            assert (order.status, [one.line for one in order.shortages]) == (S.NEEDS_REFUND, [2])
            assert await balances(one.service) == [(5, 0), (1, 1), (4, 4)]
            assert (await one.service.stock("C", "S3")).available == 4
            assert (await one.orders.cancel("O1")).status is S.NEEDS_REFUND
            assert (await one.orders.resolve("O1")).status is S.CANCELLED

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("multi_stream", [True, False])
def test_cancelling_what_has_left_in_part_asks_for_a_person(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        async with shop(heap, heap.store(multi_stream=multi_stream)) as one:
            await stock_up(one.service)
            await paid(one.orders)
            await one.orders.ship("O1", "X1", [("B", "S2", 1)])
            order = await one.orders.cancel("O1")
            assert (order.status, order.attention) == (S.NEEDS_ATTENTION, (2, "reservation_already_committed"))
            assert await balances(one.service) == [(5, 2), (0, 0), (4, 0)]
            with pytest.raises(ProcessStateError, match="NEEDS_ATTENTION"):
                await one.orders.cancel("O1")
            order = await one.orders.resolve("O1")
            assert (order.status, await balances(one.service)) == (S.CANCELLED, [(5, 0), (0, 0), (4, 0)])
            assert await one.orders.resolve("O1") == order

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("multi_stream", [True, False])
def test_goods_that_others_took_stop_compensation(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        async with shop(heap, heap.store(multi_stream=multi_stream)) as one:
            await stock_up(one.service)
            await placed(one.orders)
            await one.service.commit(ReservationRef("B", "S2", "O1:2"))
            order = await one.orders.cancel("O1")
            assert (order.status, order.attention) == (S.NEEDS_ATTENTION, (2, "reservation_already_committed"))
            assert await balances(one.service) == [(5, 2), (0, 0), (4, 0)]

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("multi_stream", [True, False])
def test_a_payment_for_goods_that_others_took_asks_for_a_person(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        async with shop(heap, heap.store(multi_stream=multi_stream)) as one:
            await stock_up(one.service)
            await placed(one.orders)
            await one.service.commit(ReservationRef("B", "S2", "O1:2"))
            order = await one.orders.authorise_payment("O1", "P1")
            assert (order.status, order.attention) == (S.NEEDS_ATTENTION, (2, "reservation_already_committed"))

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("multi_stream", [True, False])
def test_a_shipment_that_the_books_refuse_asks_for_a_person(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        async with shop(heap, heap.store(multi_stream=multi_stream)) as one:
            await stock_up(one.service)
            await paid(one.orders)
            await one.service.adjust("A", "S1", -4, reason="LOSS", shortfall="BUMP")
            order = await one.orders.ship("O1", "X1")
            assert (order.status, order.attention) == (S.NEEDS_ATTENTION, (1, "quantity_exceeds_reservation"))
            assert await balances(one.service) == [(1, 1), (0, 0), (0, 0)]
            assert (await one.orders.resolve("O1")).status is S.CANCELLED
            assert await balances(one.service) == [(1, 0), (0, 0), (0, 0)]

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("multi_stream", [True, False])
def test_a_payment_may_come_before_the_hold_and_after_the_end(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        async with shop(heap, dying(heap, 4, multi_stream=False)) as killed:
            await stock_up(killed.service)
            with pytest.raises(PowerCutError):
                await placed(killed.orders)
        async with shop(heap, heap.store(multi_stream=multi_stream)) as one:
            order = await one.orders.authorise_payment("O1", "P1")
            assert (order.status, order.payment_id) == (S.FIRM, "P1")
            await one.orders.reserve("O2", [("B", "S2", 1)], ttl=TTL)
            order = await one.orders.authorise_payment("O2", "P2")
            assert order.status is S.NEEDS_REFUND

    anyio.run(case, backend=backend)


@pytest.mark.parametrize("multi_stream", [True, False])
def test_an_order_that_was_paid_before_it_was_refused_needs_a_refund(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        async with shop(heap, dying(heap, 4, multi_stream=False)) as killed:
            await stock_up(killed.service)
            with pytest.raises(PowerCutError):
                await placed(killed.orders)
        async with shop(heap, heap.store(multi_stream=multi_stream)) as one:
            await one.service.adjust("C", "S3", -1, reason="LOSS")
            order = await one.orders.authorise_payment("O1", "P1")
            assert (order.status, [short.line for short in order.shortages]) == (S.NEEDS_REFUND, [3])
            assert (await balances(one.service))[:2] == EMPTY[:2]

    anyio.run(case, backend=backend)


def test_whoever_comes_back_after_its_time_holds_nothing_more(heap: Heap, backend: str) -> None:
    async def case() -> None:
        async with shop(heap, dying(heap, 5, multi_stream=False)) as killed:
            await stock_up(killed.service)
            with pytest.raises(PowerCutError):
                await placed(killed.orders)
        async with shop(heap, heap.store(multi_stream=False)) as one:
            await one.pass_time(900)
            assert (await one.orders.order("O1")).status is S.EXPIRED
            assert await balances(one.service) == EMPTY
            assert [what for what, _ in await told(heap)].count("reserved") == 1

    anyio.run(case, backend=backend)


def test_a_line_that_lapses_again_and_again_is_given_up(heap: Heap, backend: str) -> None:
    async def case() -> None:
        store = heap.store(multi_stream=False)
        async with shop(heap, store) as one:
            await stock_up(one.service)
            await placed(one.orders)

            async def slow(operation: str) -> None:
                if operation == "append":
                    heap.clock.advance(TTL)

            store.after = slow
            order = await one.orders.authorise_payment("O1", "P1")
            assert (order.status, order.generation) == (S.NEEDS_REFUND, 5)
            assert order.shortages[0].code == "reservation_expired"
            for shelf in (A, B, C):
                level = await one.service.stock(shelf.product_id, shelf.store_id)
                assert level.available == level.on_hand

    anyio.run(case, backend=backend)


def test_a_reservation_that_came_too_late_is_given_back(heap: Heap, backend: str) -> None:
    async def case() -> None:
        async with shop(heap, heap.store(multi_stream=False)) as one:
            await stock_up(one.service)
            await one.orders.reserve("O1", [("B", "S2", 2), ("C", "S3", 1)], ttl=TTL)
            late = ReserveStock(inventory_id=C, reservation_id="O1:2", quantity=1, ttl=TTL, reference="order-O1")
            await one.service.execute(late)
            for number, reference in enumerate((None, "order", "order-%", "orders", "order-O7")):
                await one.service.reserve("A", "S1", 1, ttl=TTL, reservation_id=f"R{number}", reference=reference)
            assert await balances(one.service) == [(5, 5), (1, 0), (4, 1)]
            await one.pass_time(1)
            assert await balances(one.service) == [(5, 5), (1, 0), (4, 0)]
            assert not await one.runner().waiting()

    anyio.run(case, backend=backend)


def test_whoever_is_overtaken_gives_back_what_it_held(heap: Heap, backend: str) -> None:
    async def case() -> None:
        store = heap.store(multi_stream=False)
        async with shop(heap, store) as slow, shop(heap, heap.store(multi_stream=False)) as fast:
            await stock_up(slow.service)

            async def overtake(operation: str) -> None:
                if operation == "append" and store.count("append") == 5:
                    assert (await fast.orders.cancel("O1")).status is S.CANCELLED

            store.before = overtake
            assert (await placed(slow.orders)).status is S.CANCELLED
            assert await balances(slow.service) == EMPTY

    anyio.run(case, backend=backend)


def test_one_runner_works_and_another_takes_over(heap: Heap, backend: str) -> None:
    async def case() -> None:
        async with shop(heap) as one:
            await stock_up(one.service)
            model = MemoryReadModel()
            one.read_model = model
            lease = timedelta(seconds=0.09)
            first, second = one.runner(owner="first", lease=lease), one.runner(owner="second", lease=lease)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(first.run)
                tasks.start_soon(second.run)
                await placed(one.orders)
                heap.clock.advance(TTL)
                await _until(one.orders, "O1", S.EXPIRED)
                first.stop()
                first.stop()
                await one.orders.reserve("O2", ITEMS, ttl=TTL)
                heap.clock.advance(TTL)
                await _until(one.orders, "O2", S.EXPIRED)
                second.stop()
            assert await balances(one.service) == EMPTY

    anyio.run(case, backend=backend)


async def _until(orders: Orders, order_id: str, status: OrderStatus) -> None:
    with anyio.fail_after(20):
        while (await orders.order(order_id)).status is not status:
            await turns(10)


def test_a_process_that_can_not_be_helped_is_tried_again_and_stops_no_other(heap: Heap, backend: str) -> None:
    async def case() -> None:
        is_closed = True

        def closed_on_sundays(_view: object, command: object, _at: object) -> None:
            if isinstance(command, ReleaseStock) and command.reservation_id.startswith("O1") and is_closed:
                reason = "closed"
                raise PolicyRejectedError(reason)

        async with shop(heap, heap.store(multi_stream=False), policies=[closed_on_sundays]) as one:
            await stock_up(one.service)
            await one.orders.reserve("O1", [("A", "S1", 2)], ttl=TTL)
            with pytest.raises(PolicyRejectedError):
                await one.orders.cancel("O1")
            await one.orders.reserve("O2", [("A", "S1", 2)], ttl=TTL)
            await one.runner().catch_up()
            (stuck, waits) = await one.runner().waiting()
            assert (stuck["process_id"], stuck["failures"], stuck["error"]) == (
                "O1",
                1,
                "PolicyRejectedError: a policy of the host refused this: closed",
            )
            assert waits["process_id"] == "O2"
            assert (await one.runner().waiting(after=(str(stuck["due_at"]), "O1"), limit=1)) == (waits,)
            await one.pass_time(60)
            assert (await one.runner().waiting())[0]["failures"] == 2
            is_closed = False
            await one.pass_time(60)
            assert (await one.orders.order("O1")).status is S.CANCELLED

    anyio.run(case, backend=backend)


def test_a_store_that_is_away_is_waited_for(heap: Heap, backend: str) -> None:
    class Away(MemoryEventStore):
        calls = 0

        async def head(self) -> int:
            self.calls += 1
            if self.calls == 1:
                raise StoreUnavailableError(store="Away", reason="it is away")
            return await super().head()

    async def case() -> None:
        async with shop(heap) as one:
            await stock_up(one.service)
            await placed(one.orders)
            heap.clock.advance(TTL)
            away = Away(heap.log)
            runner = one.runner()
            runner._feed = away
            await runner.catch_up()
            assert (await one.orders.order("O1")).status is S.EXPIRED
            assert away.calls > 1

    anyio.run(case, backend=backend)


def test_an_order_too_large_for_one_append_goes_step_by_step(heap: Heap, backend: str) -> None:
    async def case() -> None:
        store = heap.store(max_append_events=3)
        async with shop(heap, store) as one:
            await stock_up(one.service)
            assert (await placed(one.orders)).status is S.HELD
            assert await balances(one.service) == FULL

    anyio.run(case, backend=backend)


def test_many_orders_each_with_its_own_outcome(heap: Heap, backend: str) -> None:
    async def case() -> None:
        async with shop(heap) as one:
            await one.service.add_stock("A", "S1", 50)
            taken = 0

            def orders() -> Any:
                nonlocal taken
                for number in range(100):
                    taken += 1
                    yield PlaceOrder(order_id=f"O{number % 98}", lines=(OrderItem("A", "S1", 1 + (number >= 98)),), ttl=TTL)

            seen = []
            async for outcome in one.orders.reserve_orders(orders(), concurrency=8):
                seen.append(outcome)
                assert taken - len(seen) < 8
            assert [one.order_id for one in seen] == [f"O{number % 98}" for number in range(100)]
            held = [one for one in seen if one.order is not None and one.order.status is S.HELD]
            assert len(held) == 50
            assert sum(one.order is not None and one.order.status is S.REJECTED for one in seen) == 48
            assert [one.error.code for one in seen if one.error is not None] == ["process_id_reused"] * 2
            with pytest.raises(ValueError, match="concurrency must be a whole number from 1"):
                await anext(one.orders.reserve_orders((), concurrency=0))

    anyio.run(case, backend=backend)


def test_a_service_over_a_store_of_the_poorest_kind(backend: str) -> None:
    from tests.integration.command_side import PlainStore

    async def case() -> None:
        heap = Heap()
        async with shop(heap, PlainStore()) as one:  # type: ignore[arg-type]  # any store will do
            await stock_up(one.service)
            for _ in range(2):
                assert (await shipped(one.orders)).status is S.DONE
            assert await balances(one.service) == [(3, 0), (0, 0), (0, 0)]
            assert (await one.orders.reserve("O2", ITEMS, ttl=TTL)).status is S.REJECTED
            await turns(1)

    anyio.run(case, backend=backend)


def test_the_runner_waits_as_its_pace_says(heap: Heap) -> None:
    async def case() -> None:
        async with shop(heap) as one:
            await stock_up(one.service)
            await placed(one.orders)
            runner = one.runner(patience=timedelta(seconds=10), pace=Pace())
            await runner.catch_up()
            (row,) = await runner.waiting()
            assert row["due_at"] == to_text(heap.clock.now() + timedelta(seconds=10))

    anyio.run(case)


def test_an_order_that_others_keep_moving_is_a_conflict(heap: Heap, backend: str) -> None:
    async def case() -> None:
        store = heap.store()
        async with shop(heap, store) as one:
            await stock_up(one.service)

            async def always(operation: str) -> None:
                if operation == "append":
                    raise ConcurrencyError(stream=StreamId("order", "O1"), expected=0, actual=1)

            store.before = always
            with pytest.raises(ConcurrencyError):
                await placed(one.orders)
            assert store.count("append") == 3 + 12

    anyio.run(case, backend=backend)


def test_time_in_an_order_never_runs_backwards(heap: Heap, backend: str) -> None:
    async def case() -> None:
        async with shop(heap, heap.store(multi_stream=False)) as one:
            await stock_up(one.service)
            order = await placed(one.orders)
            heap.clock.advance(timedelta(seconds=-60))
            paid_order = await one.orders.authorise_payment("O1", "P1")
            assert paid_order.last_time == order.last_time
            heap.clock.advance(timedelta(seconds=-1))
            with pytest.raises(ClockSkewError, match="order-O1"):
                await one.orders.cancel("O1")

    anyio.run(case, backend=backend)


def test_an_idle_runner_keeps_its_lease(heap: Heap, backend: str) -> None:
    async def case() -> None:
        async with shop(heap) as one:
            runner = one.runner(lease=timedelta(seconds=0.03))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(runner.run)
                lease = await _lease(one.read_model, later_than=None)
                heap.clock.advance(timedelta(seconds=0.02))
                assert await _lease(one.read_model, later_than=lease) > lease
                runner.stop()
            async with anyio.create_task_group() as tasks:
                stopped = one.runner()
                stopped.stop()
                tasks.start_soon(stopped.run)

    anyio.run(case, backend=backend)


async def _lease(model: MemoryReadModel, *, later_than: Any) -> Any:
    with anyio.fail_after(20):
        while True:
            await turns(5)
            try:
                until = (await model.checkpoint(ProjectionId("order_runner", 1))).owned_until
            except ProjectionNotFoundError:
                continue
            if until is not None and (later_than is None or until > later_than):
                return until
