"""EB-31: a receive, an answer, a join or a redelivery that is cancelled at any await point."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.ports import Delivery
from inventory_es.testing.contracts.core.await_points import cancel_at
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.event_bus.acknowledgements import need_two_deliveries
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus, TestedSubscription
from inventory_es.testing.promise import promise

_MOST_POINTS = 40
_TURNS = 12
_PUSHED = 1.0

_RECEIVE = "A receive that is cancelled at any await point keeps no event: the next receive gets it, of this consumer or another."
_OTHERS = (
    "An answer, a join, a leave or a redelivery that is cancelled at any await point happens or not, can be repeated, and blocks nobody."
)


class CancellationCases:
    """Cases of callers that give up."""

    @promise("EB-31", _RECEIVE, seeds=1)
    async def test_eb_31_a_receive_of_the_same_consumer(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            need_two_deliveries(harness, bus)
            await _at_every_point(lambda point: _receive_cut_off(bus, consumer, consumer, point))
            await consumer.drain()

    @promise("EB-31", _RECEIVE, seeds=1)
    async def test_eb_31_a_receive_of_another_consumer(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as cancelled, bus.join("g") as other:
            need_two_deliveries(harness, bus)
            await bus.publish("x before", "y before2")
            with anyio.move_on_after(_PUSHED):
                await other.finish()
            if not other.model.is_drained:
                return  # this bus delivers to consumers that do not receive: events wait for those
            await _at_every_point(lambda point: _receive_cut_off(bus, cancelled, other, point))
            await other.drain()

    @promise("EB-31", _RECEIVE, seeds=1)
    async def test_eb_31_a_receive_of_one_that_leaves(self, harness: BusHarness) -> None:
        async def run(point: int) -> bool:
            async with bus.join("g") as cancelled:
                is_reached = await _receive_cut_off(bus, cancelled, None, point)
            async with bus.join("g") as consumer:
                await consumer.finish()
            return is_reached

        async with harness.open() as bus:
            need_two_deliveries(harness, bus)
            async with bus.join("g"):
                pass
            await _at_every_point(run)

    @promise("EB-31", _RECEIVE, seeds=3)
    async def test_eb_31_a_receive_that_waits(self, harness: BusHarness) -> None:
        """Publish while a receive waits, and cancel the receive some turns later."""
        async with harness.open() as bus, bus.join("g") as consumer:
            need_two_deliveries(harness, bus)
            for turns in range(_TURNS):
                await _cancelled_after(bus, consumer, turns)
                await consumer.finish()
            await consumer.drain()

    @promise("EB-31", _OTHERS, seeds=1)
    async def test_eb_31_an_answer(self, harness: BusHarness) -> None:
        async def run(point: int, answer: Callable[[Delivery, AtSuspension], Awaitable[None]]) -> bool:
            await bus.publish(f"x a{len(points)} b{len(points)}")
            points.append(point)
            delivery = await consumer.receive()
            is_reached = await cancel_at(point, partial(answer, delivery))
            await answer(delivery, _nothing)
            await consumer.finish()
            await bus.dead_letters("g")
            return is_reached

        points: list[int] = []
        async with harness.open() as bus, bus.join("g") as consumer:
            need_two_deliveries(harness, bus)
            await _at_every_point(lambda point: run(point, lambda one, at: consumer.ack(one, at_suspension=at)))
            await _at_every_point(lambda point: run(point, lambda one, at: consumer.nack(one, "failed", at_suspension=at)))
            await consumer.drain()

    @promise("EB-31", _OTHERS, seeds=1)
    async def test_eb_31_an_answer_of_one_that_leaves(self, harness: BusHarness) -> None:
        async def run(point: int) -> bool:
            await bus.publish(f"x a{point} b{point}")
            async with bus.join("g") as leaves:
                delivery = await leaves.receive()
                is_reached = await cancel_at(point, lambda at: leaves.ack(delivery, at_suspension=at))
            async with bus.join("g") as consumer:
                await consumer.finish()
            return is_reached

        async with harness.open() as bus:
            need_two_deliveries(harness, bus)
            async with bus.join("g"):
                pass
            await _at_every_point(run)

    @promise("EB-31", _OTHERS, seeds=1)
    async def test_eb_31_a_join(self, harness: BusHarness) -> None:
        async def run(point: int) -> bool:
            is_reached = await cancel_at(point, partial(bus.join_and_leave, "g"))
            await bus.publish(f"x a{point} b{point}", f"y p{point}")
            await consumer.finish()
            return is_reached

        async with harness.open() as bus, bus.join("g") as consumer:
            await _at_every_point(run)
            await consumer.drain()

    @promise("EB-31", _OTHERS, seeds=1)
    async def test_eb_31_a_redelivery(self, harness: BusHarness) -> None:
        async def run(point: int) -> bool:
            await bus.publish(f"x a{point}")
            (event,) = harness.events(f"x a{point}")
            for _ in range(bus.capabilities.max_deliveries):
                await consumer.nack(await consumer.receive(), "failed")
            is_reached = await _redelivery_cut_off(bus, consumer, event.event_id, point)
            await consumer.finish()
            await bus.dead_letters("g")
            return is_reached

        async with harness.open() as bus, bus.join("g") as consumer:
            await _at_every_point(run)
            await consumer.drain()


async def _at_every_point(run: Callable[[int], Awaitable[bool]]) -> None:
    for point in range(_MOST_POINTS):
        if not await run(point):
            break


async def _receive_cut_off(bus: TestedBus, cancelled: TestedSubscription, other: TestedSubscription | None, point: int) -> bool:
    async def receive(at_suspension: AtSuspension) -> None:
        delivery = await cancelled.next(at_suspension=at_suspension)
        with anyio.CancelScope(shield=True):
            await cancelled.ack(delivery)

    await bus.publish(f"x a{point} b{point}")
    is_reached = await cancel_at(point, receive)
    if other is not None:
        await other.finish()
    return is_reached


async def _cancelled_after(bus: TestedBus, consumer: TestedSubscription, turns: int) -> None:
    async def receive(scope: anyio.CancelScope) -> None:
        with scope:
            delivery = await consumer.next()
            with anyio.CancelScope(shield=True):
                await consumer.ack(delivery)

    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()
        tasks.start_soon(receive, scope)
        for _ in range(_TURNS):
            await checkpoint()
        await bus.publish(f"x a{turns}")
        for _ in range(turns):
            await checkpoint()
        scope.cancel()


async def _redelivery_cut_off(bus: TestedBus, consumer: TestedSubscription, event_id: object, point: int) -> bool:
    """Cancel a redelivery. The letter is then still dead, or it is delivered."""
    events = [dead.due.event for dead in consumer.model.dead if dead.due.event.event_id == event_id]
    is_reached = await cancel_at(point, lambda at: bus.redeliver("g", events, at_suspension=at))
    letters = await bus.letters_as_they_are("g")
    consumer.model.withdraw([letter.event for letter in letters])
    await bus.redeliver("g", events)
    return is_reached


def _nothing() -> None: ...
