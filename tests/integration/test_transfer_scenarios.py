"""S9 of the domain's law, number by number; and transfers that are killed, raced and counted away: no unit is lost or made."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inventory_es import InventoryId, InventoryService, Purpose, open_inventory
from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel
from inventory_es.application.following.subscription import Pace
from inventory_es.domain.processes.lines import LineShortage
from inventory_es.domain.processes.transfer.events import Movement
from inventory_es.errors import InventoryError, ProcessStateError, QuantityExceedsProcessError, QuantityOverflowError
from inventory_es.processes import ProcessRunner, Transfer, Transfers, TransferStatus
from inventory_es.testing import ManualClock
from tests.integration.command_side import Gate, Heap, figures, history, opened, outcome_of, together, turns
from tests.integration.orders_side import PowerCutError, dying

S1, S2 = InventoryId("A", "S1"), InventoryId("A", "S2")
B1, B2 = InventoryId("B", "S1"), InventoryId("B", "S2")
SHELVES = {S1: 20, S2: 5, B1: 3, B2: 0}
DUE = timedelta(days=1)
GOODS = [("A", 8), ("B", 3)]
STATUS = TransferStatus
both = pytest.mark.parametrize("multi_stream", [True, False], ids=["at once", "step by step"])


@pytest.fixture
def heap() -> Heap:
    return Heap()


def run(backend: str, case: Callable[[], Awaitable[None]]) -> None:
    anyio.run(case, backend=backend)


async def stock_up(service: InventoryService) -> None:
    for shelf, units in SHELVES.items():
        if units:
            await service.add_stock(shelf.product_id, shelf.store_id, units)


async def shelf(service: InventoryService, inventory: InventoryId) -> tuple[int, int]:
    return (await figures(service, inventory))[:2]


async def accounted(service: InventoryService, *transfers: Transfer) -> int:
    """Units on all shelves, under way, and lost."""
    there = sum([(await figures(service, one))[0] for one in SHELVES])
    return there + sum(one.units_in_transit + one.units(Movement.LOSS) for one in transfers)


def runner(heap: Heap, service: InventoryService) -> ProcessRunner:
    """One that helps at once."""
    return ProcessRunner(
        Transfers(service),
        feed=MemoryEventStore(heap.log),
        read_model=MemoryReadModel(),
        clock=heap.clock,
        owner="one",
        patience=timedelta(0),
        pace=Pace(first_pause=0.01, longest_wait=0.05),
    )


@both
def test_s9(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        service = heap.open(heap.store(multi_stream=multi_stream))
        async with opened(service):
            await stock_up(service)
            transfers = Transfers(service)
            transfer = await transfers.draft("T1", [("A", 8)], source="S1", destination="S2")
            assert (transfer.status, await shelf(service, S1)) == (STATUS.RESERVED, (20, 8))
            transfer = await transfers.dispatch("T1", expected_at=heap.clock.now() + DUE)
            assert (transfer.status, await shelf(service, S1), transfer.units_in_transit) == (STATUS.DISPATCHED, (12, 0), 8)
            assert await shelf(service, S2) == (5, 0)
            for _ in range(2):
                transfer = await transfers.receive("T1", "R1", [("A", 6)])
                assert (await shelf(service, S2), transfer.units_in_transit) == ((11, 0), 2)
                assert await accounted(service, transfer) == 28
            transfer = await transfers.write_off("T1", "L1")
            assert (transfer.status, transfer.units(Movement.LOSS)) == (STATUS.CLOSED, 2)
            assert [await shelf(service, one) for one in (S1, S2)] == [(12, 0), (11, 0)]
            assert await accounted(service, transfer) == 28
            assert await transfers.transfer("T1") == transfer

    run(backend, case)


def test_at_once_each_call_is_one_append(heap: Heap, backend: str) -> None:
    async def case() -> None:
        store = heap.store()
        service = heap.open(store)
        async with opened(service):
            await stock_up(service)
            transfers, before = Transfers(service), store.count("append")
            await transfers.draft("T1", [("A", 8), ("B", 3)], source="S1", destination="S2")
            await transfers.dispatch("T1")
            await transfers.receive("T1", "R1", [("A", 6)])
            assert store.count("append") - before == 3
            await transfers.receive("T1", "R2")
            assert store.count("append") - before == 4

    run(backend, case)


class TickingClock(ManualClock):
    """Each reading is a second later than the one before."""

    def now(self) -> datetime:
        self.advance(timedelta(seconds=1))
        return self.at


def test_at_once_all_events_of_a_call_have_one_time(backend: str) -> None:
    async def case() -> None:
        feed = MemoryEventStore()
        service = open_inventory(feed, clock=TickingClock())
        async with opened(service):
            await stock_up(service)
            transfers = Transfers(service)
            calls: list[Callable[[], Awaitable[Transfer]]] = [
                lambda: transfers.draft("T1", [("A", 8), ("B", 3)], source="S1", destination="S2"),
                lambda: transfers.dispatch("T1"),
                lambda: transfers.receive("T1", "R1"),
            ]
            for call in calls:
                before = await feed.head()
                await call()
                stored = (await feed.read_all(after=before, limit=100)).events
                assert len(stored) >= 4
                assert len({recorded.recorded_at for recorded in stored}) == 1

    run(backend, case)


def test_a_transfer_too_large_for_one_append_goes_step_by_step(heap: Heap, backend: str) -> None:
    async def case() -> None:
        store = heap.store(max_append_events=3)  # drafted, reserved, and two holds would be four
        service = heap.open(store)
        async with opened(service):
            await stock_up(service)
            transfers, before = Transfers(service), store.count("append")
            transfer = await transfers.draft("T1", GOODS, source="S1", destination="S2")
            assert (transfer.status, store.count("append") - before) == (STATUS.RESERVED, 4)
            assert [await shelf(service, one) for one in (S1, B1)] == [(20, 8), (3, 3)]

    run(backend, case)


@both
def test_a_shortage_refuses_the_whole_and_holds_nothing(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        service = heap.open(heap.store(multi_stream=multi_stream))
        async with opened(service):
            await stock_up(service)
            transfer = await Transfers(service).draft("T1", [("A", 8), ("B", 4), ("C", 1)], source="S1", destination="S2")
            code = "insufficient_stock"
            assert (transfer.status, transfer.shortages) == (
                STATUS.REJECTED,
                (LineShortage(2, "B", "S1", 4, 3, code), LineShortage(3, "C", "S1", 1, 0, code)),
            )
            assert [await shelf(service, one) for one in SHELVES] == [(20, 0), (5, 0), (3, 0), (0, 0)]

    run(backend, case)


@both
def test_cancelled_before_and_not_after_it_left(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        service = heap.open(heap.store(multi_stream=multi_stream))
        async with opened(service):
            await stock_up(service)
            transfers = Transfers(service)
            await transfers.draft("T1", [("A", 8)], source="S1", destination="S2")
            for _ in range(2):
                assert (await transfers.cancel("T1")).status is STATUS.CANCELLED
                assert await shelf(service, S1) == (20, 0)
            await transfers.draft("T2", [("A", 8)], source="S1", destination="S2")
            await transfers.dispatch("T2")
            with pytest.raises(ProcessStateError):
                await transfers.cancel("T2")
            transfer = await transfers.take_back("T2", "B1", [("A", 5)])
            assert (await shelf(service, S1), transfer.units_in_transit) == ((17, 0), 3)
            transfer = await transfers.take_back("T2", "B2")
            assert (transfer.status, await shelf(service, S1), await shelf(service, S2)) == (STATUS.CLOSED, (20, 0), (5, 0))

    run(backend, case)


@both
def test_a_line_that_a_count_took_away_stays_and_the_rest_leaves(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        service = heap.open(heap.store(multi_stream=multi_stream))
        async with opened(service):
            await stock_up(service)
            transfers = Transfers(service)
            await transfers.draft("T1", [("A", 8), ("B", 3)], source="S1", destination="S2")
            await service.adjust("B", "S1", -2, reason="LOSS", shortfall="BUMP")
            transfer = await transfers.dispatch("T1")
            assert [(one.line, one.code) for one in transfer.refused] == [(2, "quantity_exceeds_reservation")]
            assert (transfer.status, transfer.in_transit) == (STATUS.DISPATCHED, {1: 8})
            assert [await shelf(service, one) for one in (S1, B1)] == [(12, 0), (1, 0)]
            assert (await transfers.receive("T1", "R1")).status is STATUS.CLOSED
            with pytest.raises(ProcessStateError):
                await transfers.receive("T1", "R2", [("B", 1)])

    run(backend, case)


def test_what_the_books_can_not_take_is_refused_whole_or_waits(heap: Heap, backend: str) -> None:
    async def case() -> None:
        for number, multi_stream in enumerate((True, False)):
            service = heap.open(heap.store(multi_stream=multi_stream))
            async with opened(service):
                transfers, name = Transfers(service), f"T{number}"
                await service.add_stock("A", "S1", 1)
                await transfers.draft(name, [("A", 1)], source="S1", destination="S2")
                await transfers.dispatch(name)
                full = await service.add_stock("A", "S2", 2**53 - 1 - (await figures(service, S2))[0])
                with pytest.raises(QuantityOverflowError):
                    await transfers.receive(name, "R1")
                assert ((await transfers.transfer(name)).open_arrival is None) is multi_stream
                await service.adjust("A", "S2", -10, reason="LOSS")
                assert full.changed
                assert (await transfers.receive(name, "R1")).status is STATUS.CLOSED
                assert (await figures(service, S2))[0] == 2**53 - 10
                await service.adjust("A", "S2", 10 - 2**53, reason="LOSS")

    run(backend, case)


def test_too_much_is_refused_before_anything_is_booked(heap: Heap, backend: str) -> None:
    async def case() -> None:
        service = heap.open()
        async with opened(service):
            await stock_up(service)
            transfers = Transfers(service)
            await transfers.draft("T1", [("A", 8)], source="S1", destination="S2")
            await transfers.dispatch("T1")
            with pytest.raises(QuantityExceedsProcessError):
                await transfers.receive("T1", "R1", [("A", 9)])
            assert await shelf(service, S2) == (5, 0)

    run(backend, case)


@both
def test_two_at_once_do_it_once(heap: Heap, backend: str, multi_stream: bool) -> None:
    async def case() -> None:
        one, other = (heap.open(heap.store(multi_stream=multi_stream)) for _ in range(2))
        async with opened(one, other):
            await stock_up(one)
            for call in ("draft", "dispatch", "receive"):
                arguments: dict[str, tuple[Any, dict[str, Any]]] = {
                    "draft": (("T1", [("A", 8)]), {"source": "S1", "destination": "S2"}),
                    "dispatch": (("T1",), {}),
                    "receive": (("T1", "R1", [("A", 6)]), {}),
                }
                positional, named = arguments[call]
                outcomes = await together(*(getattr(Transfers(service), call)(*positional, **named) for service in (one, other)))
                assert outcomes[0] == outcomes[1]
            assert [await shelf(one, inventory) for inventory in (S1, S2)] == [(12, 0), (11, 0)]

    run(backend, case)


@pytest.mark.parametrize("dies", [False, True])
def test_what_was_reserved_too_late_for_a_transfer_that_had_ended_is_given_back(heap: Heap, backend: str, dies: bool) -> None:
    async def case() -> None:
        store = heap.store(multi_stream=False)
        slow, other = heap.open(store), heap.open(heap.store(multi_stream=False))
        gate = Gate("append", 2)  # behind its own first event, before the first reservation

        async def wait_or_die(operation: str) -> None:
            await gate(operation)
            if dies and operation == "append" and store.count("append") == 4:
                raise PowerCutError

        async with opened(slow, other):
            await other.add_stock("A", "S1", 20)
            store.before = wait_or_die
            outcomes: list[Any] = []

            async def draft() -> None:
                outcomes.append(await outcome_of(Transfers(slow).draft("T1", GOODS, source="S1", destination="S2")))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(draft)
                await gate.reached.wait()
                assert (await Transfers(other).advance("T1")).status is STATUS.REJECTED
                await other.add_stock("B", "S1", 3)
                gate.opened.set()
            if dies:
                assert isinstance(outcomes[0], PowerCutError)
                assert await shelf(other, B1) == (3, 3)
                await runner(heap, other).catch_up()
            else:
                assert outcomes[0].status is STATUS.REJECTED
            assert [await shelf(other, one) for one in (S1, B1)] == [(20, 0), (3, 0)]

    run(backend, case)


@both
def test_killed_at_any_append_it_goes_on_where_it_stopped(backend: str, multi_stream: bool) -> None:
    async def life(transfers: Transfers) -> Transfer:
        await transfers.draft("T1", [("A", 8), ("B", 3)], source="S1", destination="S2")
        await transfers.dispatch("T1")
        await transfers.receive("T1", "R1", [("A", 6), ("B", 1)])
        await transfers.take_back("T1", "B1", [("A", 1)])
        return await transfers.write_off("T1", "L1")

    async def case() -> None:
        lives = 0
        for appends in range(3, 60):
            heap = Heap()
            first = heap.open(dying(heap, appends, multi_stream=multi_stream))
            async with opened(first):
                await stock_up(first)
                with_luck = (await together(life(Transfers(first))))[0]
            second = heap.open(heap.store(multi_stream=multi_stream))
            async with opened(second):
                await runner(heap, second).catch_up()
                transfer = await Transfers(second).transfer("T1")
                assert transfer.step is None
                assert await accounted(second, transfer) == 28
                transfer = await life(Transfers(second))
                assert transfer.status is STATUS.CLOSED
                assert [await shelf(second, one) for one in SHELVES] == [(13, 0), (11, 0), (0, 0), (1, 0)]
                for one in SHELVES:
                    await history(second, one)
            if isinstance(with_luck, Transfer):
                break
            assert isinstance(with_luck, PowerCutError)
            lives += 1
        assert lives == (5 if multi_stream else 16)

    run(backend, case)


calls = st.one_of(
    st.tuples(st.just("draft"), st.sampled_from(["T1", "T2"]), st.integers(1, 24)),
    st.tuples(st.sampled_from(["dispatch", "cancel", "advance"]), st.sampled_from(["T1", "T2"]), st.just(0)),
    st.tuples(st.sampled_from(["receive", "take_back", "write_off"]), st.sampled_from(["T1", "T2"]), st.integers(0, 5)),
    st.tuples(st.sampled_from(["lose", "sell", "kill"]), st.just(""), st.integers(1, 4)),
)


@settings(max_examples=150)
@given(program=st.lists(calls, max_size=14), multi_stream=st.booleans(), backend=st.sampled_from(["asyncio", "trio"]))
def test_whatever_is_asked_and_whoever_is_killed_no_unit_is_lost_or_made(
    program: list[tuple[str, str, int]], multi_stream: bool, backend: str
) -> None:
    async def case() -> None:
        heap = Heap()
        gone, patience = 0, 10**6
        service = heap.open(dying(heap, patience, multi_stream=multi_stream))
        async with opened(service):
            await stock_up(service)
        for number, (call, name, units) in enumerate(program):
            if call == "kill":
                patience = units
                continue
            store = dying(heap, patience, multi_stream=multi_stream)
            service, patience = heap.open(store), 10**6
            async with opened(service):
                before = (await figures(service, S1))[0]
                await _ask(Transfers(service), service, call, name, units, number)
                if call in {"lose", "sell"}:
                    gone += before - (await figures(service, S1))[0]
        async with opened(last := heap.open(heap.store(multi_stream=multi_stream))):
            ended = [await _help_on(Transfers(last), name) for name in ("T1", "T2")]
            assert await accounted(last, *ended) + gone == 28
            assert await _holders(last) <= {one.transfer_id for one in ended if one.status is STATUS.RESERVED}
            for one in SHELVES:
                await history(last, one)

    anyio.run(case, backend=backend)


@settings(max_examples=100)
@given(
    programs=st.lists(st.lists(calls, max_size=8), min_size=2, max_size=3),
    seed=st.integers(0, 2**32),
    multi_stream=st.booleans(),
    backend=st.sampled_from(["asyncio", "trio"]),
)
def test_nodes_that_work_at_once_on_the_same_transfers_lose_and_make_no_unit(
    programs: list[list[tuple[str, str, int]]], seed: int, multi_stream: bool, backend: str
) -> None:
    async def case() -> None:
        heap, chance = Heap(), Random(seed)
        first = heap.open()
        async with opened(first):
            await stock_up(first)

        async def pause(_operation: str) -> None:
            await turns(chance.randrange(6))

        async def node(program: list[tuple[str, str, int]]) -> None:
            store = heap.store(multi_stream=multi_stream)
            for number, (call, name, units) in enumerate(program):
                if call == "kill":
                    store = dying(heap, units, multi_stream=multi_stream)
                store.after = pause
                async with opened(service := heap.open(store)):
                    if call not in {"kill", "lose", "sell"}:
                        await _ask(Transfers(service), service, call, name, units, number)

        async with anyio.create_task_group() as tasks:
            for program in programs:
                tasks.start_soon(node, program)
        async with opened(last := heap.open(heap.store(multi_stream=multi_stream))):
            await runner(heap, last).catch_up()
            ended = [await Transfers(last).transfer(name) for name in ("T1", "T2")]
            assert [one.step for one in ended] == [None, None]
            assert await accounted(last, *ended) == 28
            assert await _holders(last) <= {one.transfer_id for one in ended if one.status is STATUS.RESERVED}
            for one in SHELVES:
                await history(last, one)

    anyio.run(case, backend=backend)


async def _ask(transfers: Transfers, service: Any, call: str, name: str, units: int, number: int) -> None:
    try:
        match call:
            case "draft":
                await transfers.draft(name, [("A", units), ("B", 1)], source="S1", destination="S2")
            case "receive" | "take_back" | "write_off":
                await getattr(transfers, call)(name, f"M{number % 3}", [("A", units)] if units else None)
            case "lose":
                await service.adjust("A", "S1", -units, reason="LOSS", shortfall="BUMP")
            case "sell":
                held = await service.reserve("A", "S1", units, ttl=None)
                await service.commit(held)
            case _:
                await getattr(transfers, call)(name)
    except (InventoryError, PowerCutError):
        pass


async def _help_on(transfers: Transfers, name: str) -> Transfer:
    try:
        return await transfers.advance(name)
    except InventoryError:
        return await transfers.transfer(name)


async def _holders(service: Any) -> set[str]:
    """The transfers for which anything is held."""
    holds = [hold for one in SHELVES for hold in (await service.explain(one.product_id, one.store_id)).holds]
    return {hold.reservation_id.partition(":")[0] for hold in holds if hold.purpose is Purpose.TRANSFER}
