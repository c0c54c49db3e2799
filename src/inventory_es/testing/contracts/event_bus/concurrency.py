"""EB-32, EB-33: publishers that wait for room, and many publishers and consumers at once."""

from collections.abc import Callable
from functools import partial

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.ports import RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError, StoreClosedError
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.event_bus.consumers import Crew
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus
from inventory_es.testing.promise import MismatchError, promise

_MOST_PENDING_TRIED = 100
_PUBLISHERS = 64
_CONSUMERS = 4
_MOST_AT_ONCE = 300
_TURNS = 200

_ROOM = "A publish that waits for room ends: when there is room, when it is cancelled, and with StoreClosedError when the bus is closed."
_OTHERS_GO_ON = (
    "While a publish waits for room, every other call goes on: joining, receiving, answering, dead letters and their redelivery."
)
_MANY = "64 publishers at once all finish, and so does a batch larger than max_pending; every event arrives, in order within its stream."


class CrowdCases:
    """Cases of publishers that wait, and of many of them."""

    @promise("EB-32", _ROOM)
    async def test_eb_32_closed_while_a_publish_waits(self, harness: BusHarness) -> None:
        ended: list[str] = []

        async def publish(name: str, count: int) -> None:
            try:
                for number in range(count):
                    await bus.publish(f"{name} {name}{number}")
            except (StoreClosedError, EventBusUnavailableError) as error:
                ended.append(type(error).__name__)

        async with harness.open() as bus, bus.join("g"):
            count = 2 * _need_small_bound(harness, bus) + 5
            async with anyio.create_task_group() as tasks:
                for name in ("x", "y"):
                    tasks.start_soon(publish, name, count)
                await _turns(count)
                await bus.close()
                await _ends(harness, lambda: len(ended) == 2, "both publishers that wait for room to end with StoreClosedError")
                tasks.cancel_scope.cancel()
        if set(ended) != {"StoreClosedError"}:
            got, meaning = ", ".join(ended), "a caller that is told another thing tries for ever"
            raise MismatchError(expected="StoreClosedError of both publishers", got=got, meaning=meaning)

    @promise("EB-32", _ROOM)
    async def test_eb_32_cancelled_while_a_publish_waits(self, harness: BusHarness) -> None:
        async def publish(name: str) -> None:
            for number in range(count):
                await bus.publish(f"{name} {name}{number}")

        async with harness.open() as bus, bus.join("g") as consumer:
            count = 2 * _need_small_bound(harness, bus) + 5
            async with anyio.create_task_group() as tasks:
                for name in ("x", "y", "z"):
                    tasks.start_soon(publish, name)
                await _turns(count)
                tasks.cancel_scope.cancel()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(bus.publish, "x after", "y after2")
                await _turns(1)
                await consumer.finish()
            await consumer.drain()

    @promise("EB-32", _ROOM)
    async def test_eb_32_room_by_every_answer(self, harness: BusHarness) -> None:
        """Expect room after an acknowledgement, and after an event has become a dead letter."""
        published = 0

        async def publish() -> None:
            nonlocal published
            for number in range(count):
                await bus.publish(f"x a{number}")
                published += 1

        async with harness.open() as bus, bus.join("g") as consumer:
            count = 2 * _need_small_bound(harness, bus) + 5
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(publish)
                await _turns(count)
                while published < count:
                    delivery = await consumer.receive()
                    await (consumer.nack(delivery, "failed") if delivery.event.version % 4 else consumer.ack(delivery))
            await consumer.drain()

    @promise("EB-32", _ROOM)
    async def test_eb_32_room_for_one(self, harness: BusHarness) -> None:
        """Expect one acknowledgement, or one dead letter after an answer or a leave, to wake the waiting publish."""
        async with harness.open() as bus:
            most = _need_small_bound(harness, bus)
            async with bus.join("g"):
                pass
            for ending in ("ack", "nack", "leave"):
                published: list[RecordedEvent] = []
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(partial(bus.fill, ending, most + 1, published=published))
                    await _turns(2 * most)
                    if len(published) == most:  # otherwise an event is held twice, and needs more room than one
                        await _end_one(bus, ending)
                        what = "a publish that waits for room to end once there is room for one event"
                        await _ends(harness, partial(_is_as_long, published, most + 1), what)
                    tasks.cancel_scope.cancel()
                async with bus.join("g") as consumer:
                    await consumer.drain()
                await bus.dead_letters("g")

    @promise("EB-37", _OTHERS_GO_ON)
    async def test_eb_37_calls_beside_a_publish_that_waits(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("other", streams=["y"]) as other:
            most = _need_small_bound(harness, bus)
            async with bus.join("full", streams=["x"]):
                pass
            await bus.publish("y p q")
            for _ in range(bus.capabilities.max_deliveries):
                await other.nack(await other.receive(), "failed")
            held = await other.receive()
            published: list[RecordedEvent] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(bus.fill, "x", most + 1, published=published))
                await _turns(2 * most)
                with anyio.move_on_after(harness.contract.patience_for_delivery) as scope:
                    await bus.dead_letters("full")
                    await bus.dead_letters("other")
                    await bus.redeliver("full", harness.events("y p"))
                    await bus.redeliver("other", harness.events("y p"))
                    await other.ack(held)
                    await other.ack(await other.receive())
                    async with bus.join("new", streams=["z"]), bus.join("other", streams=["y"]), bus.join("full", streams=["x"]) as full:
                        while len(published) <= most:
                            await full.ack(await full.receive())
                if scope.cancelled_caught:
                    tasks.cancel_scope.cancel()
            if scope.cancelled_caught:
                raise MismatchError(
                    expected="every call but publish to end while a publish waits for room",
                    got=f"one that waits, after {harness.contract.patience_for_delivery:g} s",
                    meaning="whoever could make room, or look what is wrong, waits for the publish",
                )
            async with bus.join("full", streams=["x"]) as full:
                await full.drain()

    @promise("EB-33", _MANY, seeds=1)
    async def test_eb_33_many_publishers(self, harness: BusHarness) -> None:
        done: list[str] = []

        async def publish(number: int) -> None:
            for part in range(2):
                await bus.publish(f"s{number} a{number}_{part} b{number}_{part}")
            done.append(f"s{number}")
            crew.notify()

        async with harness.open() as bus, anyio.create_task_group() as tasks:
            crew = Crew(bus, tasks)
            for _ in range(_CONSUMERS):
                await crew.join("g", most=4)
            async with anyio.create_task_group() as publishers:
                for number in range(_PUBLISHERS):
                    publishers.start_soon(publish, number)
                await _acknowledge_until(crew, lambda: len(done) == _PUBLISHERS)
            await crew.drain()
            await crew.leave_all()

    @promise("EB-33", _MANY, seeds=1)
    async def test_eb_33_a_batch_larger_than_the_bound(self, harness: BusHarness) -> None:
        is_done = False

        async def publish() -> None:
            nonlocal is_done
            await bus.publish_events(events)
            is_done = True
            crew.notify()

        async with harness.open() as bus, anyio.create_task_group() as tasks:
            crew = Crew(bus, tasks)
            await crew.join("g")
            count = min(bus.capabilities.max_pending + 5, _MOST_AT_ONCE)
            events = [harness.record(f"e{number}", stream_id("xy"[number % 2])) for number in range(count)]
            async with anyio.create_task_group() as publishers:
                publishers.start_soon(publish)
                await _acknowledge_until(crew, lambda: is_done)
            await crew.drain()
            await crew.leave_all()


async def _acknowledge_until(crew: Crew, is_met: Callable[[], bool]) -> None:
    while not is_met():
        for worker, delivery in tuple(crew.held()):
            await crew.ack(worker, delivery)
        if not is_met() and not any(crew.held()):
            await crew.change()


async def _ends(harness: BusHarness, is_met: Callable[[], bool], what: str) -> None:
    patience = harness.contract.patience_for_delivery
    with anyio.move_on_after(patience) as scope:
        while not is_met():
            await checkpoint()
    if scope.cancelled_caught:
        raise MismatchError(expected=what, got=f"nothing within {patience:g} s", meaning="a caller waits for what never comes")


def _is_as_long(published: list[RecordedEvent], count: int) -> bool:
    return len(published) == count


async def _end_one(bus: TestedBus, ending: str) -> None:
    """Turn the first event of a full group into a dead letter, or acknowledge two: one acknowledgement may be lost."""
    if ending == "ack":
        async with bus.join("g") as consumer:
            for _ in range(2):
                await consumer.ack(await consumer.receive())
        return
    for _ in range(bus.capabilities.max_deliveries):
        async with bus.join("g") as consumer:
            delivery = await consumer.receive()
            if ending == "nack":
                await consumer.nack(delivery, "failed")


async def _turns(count: int) -> None:
    for _ in range(_TURNS + 20 * count):
        await checkpoint()


def _need_small_bound(harness: BusHarness, bus: TestedBus) -> int:
    most = bus.capabilities.max_pending
    if most > _MOST_PENDING_TRIED:
        harness.run.not_declared(f"a max_pending of at most {_MOST_PENDING_TRIED}: open the bus with a small one")
    return most
