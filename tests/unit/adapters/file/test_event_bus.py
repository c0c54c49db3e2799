"""What the file event bus does on an event loop beyond the contract of its port."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import anyio
import pytest

from inventory_es.adapters.file import FileEventBus, open_file_event_bus
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import BusSubscription, Delivery, RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError
from inventory_es.testing import ManualClock
from inventory_es.testing.crash.simfs import SimFS

T0 = datetime(2026, 1, 5, 9, tzinfo=UTC)
X = StreamId("t", "x")


def event(version: int) -> RecordedEvent:
    return RecordedEvent(X, version, version, UUID(int=version), "TestedEvent", 1, T0, b"{}", b"{}")


async def receive(consumer: BusSubscription) -> Delivery:
    with anyio.fail_after(30):
        return await anext(aiter(consumer))


def test_what_another_handle_publishes_and_redelivers_is_seen(backend: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        folder = tmp_path / "bus"
        async with (
            open_file_event_bus(folder, clock=ManualClock(), max_deliveries=1, poll_interval=0.001) as one,
            open_file_event_bus(folder, clock=ManualClock()) as other,
            one.subscribe("g") as consumer,
        ):
            await other.publish([event(1)])
            await (await receive(consumer)).nack("no")
            assert [letter.reason for letter in await other.dead_letters("g")] == ["no"]
            assert await other.redeliver("g", [UUID(int=1)]) == 1
            delivery = await receive(consumer)
            assert (delivery.event, delivery.attempt) == (event(1), 1)
            with pytest.raises(EventBusUnavailableError, match="'g'"):
                async with other.subscribe("g"):
                    pass

    anyio.run(scenario, backend=backend)


def test_a_consumer_that_leaves_hands_its_event_to_the_next_one(backend: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_file_event_bus(tmp_path / "bus", clock=ManualClock(), poll_interval=60) as bus, bus.subscribe("g") as stays:
            async with bus.subscribe("g") as leaves:
                await bus.publish([event(1)])
                delivery = await receive(leaves)
            with pytest.raises(StoreClosedError, match="left its group"):
                await delivery.ack()
            again = await receive(stays)
            assert (again.event, again.attempt) == (event(1), 2)

    anyio.run(scenario, backend=backend)


def test_an_event_taken_for_a_task_that_asyncio_cancels_is_the_consumers_next_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with open_file_event_bus(tmp_path / "bus", clock=ManualClock()) as bus, bus.subscribe("g") as consumer:
            await bus.publish([event(1), event(2)])
            for _ in range(3):
                task = asyncio.ensure_future(anext(aiter(consumer)))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            delivery = await receive(consumer)
            assert (delivery.event, delivery.attempt) == (event(1), 1)
            await delivery.ack()
            assert (await receive(consumer)).event == event(2)

    anyio.run(scenario, backend="asyncio")


@pytest.mark.parametrize("at", range(24))
def test_a_consumer_that_asyncio_interrupts_leaves_its_group(at: int, tmp_path: Path) -> None:
    """Also while it joins or leaves: another handle gets the group, with its event. A worker thread runs on or does not begin."""

    async def consume(bus: FileEventBus) -> None:
        async with bus.subscribe("g") as consumer:
            await anext(aiter(consumer))

    async def scenario() -> None:
        folder = tmp_path / "bus"
        async with open_file_event_bus(folder, clock=ManualClock()) as one, open_file_event_bus(folder, clock=ManualClock()) as other:
            await one.publish([event(1)])
            task = asyncio.ensure_future(consume(one))
            for _ in range(at):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            async with other.subscribe("g") as consumer:
                assert (await receive(consumer)).event == event(1)

    anyio.run(scenario, backend="asyncio")


def test_two_tasks_may_ask_one_consumer(backend: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        seen: list[int] = []
        async with open_file_event_bus(tmp_path / "bus", clock=ManualClock()) as bus, bus.subscribe("g") as consumer:

            async def handle() -> None:
                delivery = await receive(consumer)
                seen.append(delivery.event.version)
                await delivery.ack()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(handle)
                tasks.start_soon(handle)
                await bus.publish([event(1), event(2)])
        assert seen == [1, 2]

    anyio.run(scenario, backend=backend)


def test_what_it_declares_unless_told_otherwise() -> None:
    async def scenario() -> None:
        async with open_file_event_bus("/bus", clock=ManualClock(), file_system=SimFS()) as bus:
            declared = bus.capabilities
            assert (declared.durable, declared.late_subscribers, declared.max_deliveries) == (True, "replay", 5)
            assert (declared.max_in_memory, declared.max_event_bytes) == (1_000, 1024 * 1024)

    anyio.run(scenario)


def test_a_bus_may_be_on_another_file_system() -> None:
    disk = SimFS()

    async def scenario() -> None:
        async with open_file_event_bus("/bus", clock=ManualClock(), file_system=disk) as bus:
            await bus.publish([event(1)])

    anyio.run(scenario)
    assert disk.exists("/bus/format.json")


def test_a_refusal_wakes_whoever_waits(backend: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        again: list[Delivery] = []
        async with (
            open_file_event_bus(tmp_path / "bus", clock=ManualClock(), poll_interval=60) as bus,
            bus.subscribe("g") as refuses,
            bus.subscribe("g") as waits,
        ):

            async def wait() -> None:
                again.append(await receive(waits))

            await bus.publish([event(1)])
            delivery = await receive(refuses)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                await delivery.nack("no")
        assert [(one.event, one.attempt) for one in again] == [(event(1), 2)]

    anyio.run(scenario, backend=backend)


@pytest.mark.parametrize("options", [{"max_deliveries": 0}, {"max_dead_letters": 0}, {"window": 0}, {"max_event_bytes": 0}])
def test_a_bound_is_one_or_more(tmp_path: Path, options: dict[str, int]) -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="1 or more"):
            async with open_file_event_bus(tmp_path / "bus", clock=ManualClock(), **options):  # type: ignore[arg-type]  # all of them are ints
                pass

    anyio.run(scenario)
    assert not (tmp_path / "bus").exists()
