"""What the memory event bus does beyond the contract of its port."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import anyio
import pytest

from inventory_es.adapters.memory import MemoryEventBus
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import BusSubscription, Delivery, EventBus, RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
X = StreamId("t", "x")
Y = StreamId("t", "y")


class StandingClock:
    def now(self) -> datetime:
        return T0


def bus(**options: float) -> MemoryEventBus:
    return MemoryEventBus(clock=StandingClock(), **options)  # type: ignore[arg-type]  # bounds are ints, the timeout is a float


def event(version: int, *, stream: StreamId = X) -> RecordedEvent:
    return RecordedEvent(stream, version, version, UUID(int=version), "TestedEvent", 1, T0, b"{}", b"{}")


async def receive(consumer: BusSubscription) -> Delivery:
    with anyio.fail_after(30):
        return await anext(aiter(consumer))


async def versions(consumer: BusSubscription, count: int) -> list[int]:
    seen = []
    for _ in range(count):
        delivery = await receive(consumer)
        await delivery.ack()
        seen.append(delivery.event.version)
    return seen


def test_it_is_an_event_bus() -> None:
    assert isinstance(bus(), EventBus)


@pytest.mark.parametrize("bound", ["max_deliveries", "max_pending", "max_dead_letters", "max_event_bytes"])
def test_a_bound_is_one_or_more(bound: str) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        bus(**{bound: 0})


def test_publish_gives_up_when_a_group_has_no_room(backend: str) -> None:
    async def scenario() -> None:
        tested = bus(max_pending=2, publish_timeout=0.01)
        async with tested.subscribe("slow") as slow, tested.subscribe("other", streams=[Y]) as other:
            with pytest.raises(EventBusUnavailableError, match="'slow'"):
                await tested.publish([event(1), event(2), event(3)])
            assert await versions(slow, 2) == [1, 2]
            await tested.publish([event(3), event(1, stream=Y)])
            assert await versions(slow, 2) == [3, 1]
            assert await versions(other, 1) == [1]

    anyio.run(scenario, backend=backend)


def test_a_full_group_holds_back_only_what_it_takes(backend: str) -> None:
    async def scenario() -> None:
        tested = bus(max_pending=1, publish_timeout=0.01)
        async with tested.subscribe("slow", streams=[X]), tested.subscribe("other", streams=[Y]) as other:
            await tested.publish([event(1), event(1, stream=Y)])
            assert await versions(other, 1) == [1]
            await tested.publish([event(2, stream=Y)])

            assert await versions(other, 1) == [2]

    anyio.run(scenario, backend=backend)


def test_publishers_that_wait_for_room_do_not_overtake_each_other(backend: str) -> None:
    async def scenario() -> None:
        tested = bus(max_pending=1)
        async with tested.subscribe("slow") as slow, anyio.create_task_group() as tasks:
            await tested.publish([event(1)])
            for version in (2, 3, 4):
                tasks.start_soon(tested.publish, [event(version)])
                await anyio.wait_all_tasks_blocked()

            assert await versions(slow, 4) == [1, 2, 3, 4]

    anyio.run(scenario, backend=backend)


def test_consumers_of_a_group_share_one_filter(backend: str) -> None:
    async def scenario() -> None:
        tested = bus()
        async with tested.subscribe("g", streams=[X]):
            with pytest.raises(ValueError, match="another filter"):
                async with tested.subscribe("g"):
                    pass
            async with tested.subscribe("g", streams=[X]):
                await tested.publish([event(1), event(1, stream=Y), event(2)])
        async with tested.subscribe("g", types=["TestedEvent"], streams=[X, Y]) as consumer:
            await tested.publish([event(2, stream=Y)])
            assert await versions(consumer, 3) == [1, 2, 2]

    anyio.run(scenario, backend=backend)


def test_a_group_that_comes_back_with_another_filter_drops_what_does_not_pass_it(backend: str) -> None:
    async def scenario() -> None:
        tested = bus()
        async with tested.subscribe("g"):
            await tested.publish([event(1), event(7, stream=Y), event(2)])
        async with tested.subscribe("g", streams=[Y]) as consumer:
            await tested.publish([event(8, stream=Y)])

            assert await versions(consumer, 2) == [7, 8]

    anyio.run(scenario, backend=backend)


def test_an_event_whose_consumers_always_leave_becomes_a_dead_letter(backend: str) -> None:
    async def scenario() -> None:
        tested = bus(max_deliveries=2)
        async with tested.subscribe("g"):
            await tested.publish([event(1), event(2)])
        for attempt in (1, 2):
            async with tested.subscribe("g") as consumer:
                assert (await receive(consumer)).attempt == attempt
        (letter,) = await tested.dead_letters("g")

        assert (letter.event, letter.deliveries, letter.since) == (event(1), 2, T0)
        assert "without an answer" in letter.reason
        async with tested.subscribe("g") as consumer:
            assert await versions(consumer, 1) == [2]

    anyio.run(scenario, backend=backend)


def test_while_the_dead_letters_are_full_nothing_more_is_given_up(backend: str) -> None:
    async def scenario() -> None:
        tested = bus(max_deliveries=1, max_dead_letters=1)
        async with tested.subscribe("g") as consumer:
            await tested.publish([event(1), event(2)])
            await (await receive(consumer)).nack("no")
            for attempt in (1, 2, 3):
                delivery = await receive(consumer)
                assert (delivery.event.version, delivery.attempt) == (2, attempt)
                await delivery.nack("nor this")
            assert [letter.event.version for letter in await tested.dead_letters("g")] == [1]
            assert await tested.redeliver("g", [UUID(int=1)]) == 1
            await (await receive(consumer)).nack("never")

            assert [(letter.event.version, letter.reason) for letter in await tested.dead_letters("g")] == [(1, "never")]

    anyio.run(scenario, backend=backend)


def test_dead_letters_come_back_in_their_order_and_before_the_rest_of_their_stream(backend: str) -> None:
    async def scenario() -> None:
        tested = bus(max_deliveries=1)
        async with tested.subscribe("g") as consumer:
            await tested.publish([event(version) for version in (1, 2, 3)])
            for _ in (1, 2):
                await (await receive(consumer)).nack("no")
            assert [letter.event.version for letter in await tested.dead_letters("g", limit=1)] == [1]
            assert await tested.redeliver("g", [UUID(int=2), UUID(int=1), UUID(int=9)]) == 2
            assert await tested.dead_letters("g") == []

            assert await versions(consumer, 3) == [1, 2, 3]

    anyio.run(scenario, backend=backend)


def test_only_the_first_answer_counts(backend: str) -> None:
    async def scenario() -> None:
        tested = bus()
        async with tested.subscribe("g") as consumer:
            await tested.publish([event(1), event(2)])
            delivery = await receive(consumer)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(delivery.ack)
                tasks.start_soon(delivery.ack)
            await delivery.nack("too late")

            assert await versions(consumer, 1) == [2]

    anyio.run(scenario, backend=backend)


def test_an_answer_after_leaving_says_that_it_comes_too_late(backend: str) -> None:
    async def scenario() -> None:
        tested = bus()
        async with tested.subscribe("g") as consumer:
            await tested.publish([event(1)])
            delivery = await receive(consumer)
        for answer in (delivery.ack(), delivery.nack("late"), anext(aiter(consumer))):
            with pytest.raises(StoreClosedError, match="left its group"):
                await answer

    anyio.run(scenario, backend=backend)


def test_closing_ends_who_waits(backend: str) -> None:
    async def scenario() -> None:
        tested = bus(max_pending=1)
        ended: list[str] = []

        async def expect_closed(name: str, wait: Callable[[], object]) -> None:
            with pytest.raises(StoreClosedError):
                await wait()  # type: ignore[misc]  # each of them is awaitable
            ended.append(name)

        async with tested.subscribe("full"), tested.subscribe("idle", streams=[Y]) as idle, anyio.create_task_group() as tasks:
            await tested.publish([event(1)])
            tasks.start_soon(expect_closed, "publisher", lambda: tested.publish([event(2)]))
            tasks.start_soon(expect_closed, "next publisher", lambda: tested.publish([event(3)]))
            tasks.start_soon(expect_closed, "consumer", lambda: receive(idle))
            await anyio.wait_all_tasks_blocked()
            await tested.aclose()
        assert sorted(ended) == ["consumer", "next publisher", "publisher"]

    anyio.run(scenario, backend=backend)


def test_a_forgotten_group_holds_nobody_back(backend: str) -> None:
    async def scenario() -> None:
        tested = bus(max_pending=1)
        async with tested.subscribe("once"):
            with pytest.raises(ValueError, match="has consumers"):
                await tested.forget_group("once")
            await tested.publish([event(1)])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tested.publish, [event(2), event(3)])
            await anyio.wait_all_tasks_blocked()
            await tested.forget_group("once")
        await tested.forget_group("once")

        async with tested.subscribe("once") as consumer:
            await tested.publish([event(4)])
            assert await versions(consumer, 1) == [4]

    anyio.run(scenario, backend=backend)
