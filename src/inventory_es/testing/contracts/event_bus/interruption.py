"""EB-18, EB-20, EB-31: calls that are cancelled or cut off at any await point, and closing."""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.ports import Delivery, EventBus, RecordedEvent
from inventory_es.ports.errors import StoreClosedError
from inventory_es.testing.contracts.core.await_points import cancel_at, cut_off
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.contracts.event_bus.delivery import need_two_deliveries
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus, TestedSubscription
from inventory_es.testing.promise import MismatchError, promise

_MOST_POINTS = 40
_TURNS = 12
_TURNS_BEFORE = (0, 1, 2, 3, 4, 6, 9)
_PUSHED = 1.0
_RECEIVE = "A receive that is cancelled at any await point keeps no event: the next receive gets it, of this consumer or another."
_OTHERS = (
    "An answer, a join, a leave or a redelivery that is cancelled at any await point happens or not, can be repeated, and blocks nobody."
)


class InterruptionCases:
    """Cases of calls that end early."""

    @promise("EB-18", "A publish that was cut off, and is sent again, arrives at least once, in order, and the bus works on.", seeds=1)
    async def test_eb_18_published_again(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            await bus.publish("x z")
            await bus.publish("x z")
            await _arrives(harness, consumer, "z", fence=None)
            for point in range(_MOST_POINTS):
                labels = f"a{point} b{point}"
                reached = await cancel_at(point, lambda at: bus.publish(f"x {labels}", at_suspension=at))  # noqa: B023  # called at once
                await bus.publish(f"x {labels}")
                await bus.publish(f"x fence{point}")
                await _arrives(harness, consumer, labels, fence=f"fence{point}")
                if not reached:
                    break

    @promise(
        "EB-20",
        "Closing twice is fine, ends every subscription, and drains or keeps what was published; use after close is StoreClosedError.",
    )
    async def test_eb_20_closing(self, harness: BusHarness) -> None:
        async with harness.open() as bus:
            async with bus.join("g") as consumer, anyio.create_task_group() as tasks:
                await bus.publish("x a")
                await consumer.take("a", meaning="the first event comes first")
                await bus.publish("x b")
                tasks.start_soon(_ends, bus, harness.contract.patience_for_delivery)
                for _ in range(5):
                    await checkpoint()
                await bus.close()
                await bus.close()
            for use in _every_use(harness, bus):
                await refused(StoreClosedError, use, meaning="a closed bus must say that it is closed")
        if bus.capabilities.durable:
            async with harness.open() as bus, bus.join("g") as consumer:
                await consumer.take("b", meaning="declared: durable; what was published before closing is lost")

    @promise(
        "EB-20",
        "Closing twice is fine, ends every subscription, and drains or keeps what was published; use after close is StoreClosedError.",
    )
    async def test_eb_20_closing_under_consumers(self, harness: BusHarness) -> None:
        """Close while one consumer waits, and another one has a delivery that it answers after the close."""
        async with harness.open() as bus, bus.join("g") as holds, bus.join("waits") as waits, anyio.create_task_group() as tasks:
            await bus.publish("x a b")
            delivery = await holds.receive()
            await waits.finish()
            tasks.start_soon(_is_told, waits, harness.contract.patience_for_delivery)
            for _ in range(5):
                await checkpoint()
            await bus.close()
            for answer in (holds.ack, partial(holds.nack, reason="late"), holds.ack):
                with suppress(StoreClosedError):
                    await answer(delivery)
            await _is_told(holds, harness.contract.patience_for_delivery)


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
    async def test_eb_31_the_only_consumer(self, harness: BusHarness) -> None:
        """Cancel a task while it joins, receives or leaves: as ``asyncio.timeout`` does, whose cancellation no shield stops."""
        patience = harness.contract.patience_for_delivery
        async with harness.open() as bus:
            need_two_deliveries(harness, bus)
            async with bus.join("g"):
                pass
            for receives in (False, True):
                for turns in _TURNS_BEFORE:
                    (event,) = harness.events(f"x {'r' if receives else 'a'}{turns}")
                    await bus.raw.publish([event])
                    await _consumer_cut_off(bus.raw, turns, patience, receives=receives)
                    await _is_free(bus.raw, event, patience)

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


async def _arrives(harness: BusHarness, consumer: TestedSubscription, labels: str, *, fence: str | None) -> None:
    """Receive up to the fence, or the last label, and expect all labels, their first arrivals in order."""
    wanted = labels.split()
    came: list[str] = []
    while (fence or wanted[-1]) not in came:
        delivery = await consumer.receive()
        await consumer.ack(delivery)
        label = harness.labels.label(delivery.event)
        if label in wanted or label == fence:
            came.append(label)
    firsts = [label for label in dict.fromkeys(came) if label != fence]
    if firsts != wanted:
        raise MismatchError(
            expected=f"{wanted} before {fence}", got=str(came), meaning="what was published twice must arrive once at least"
        )


async def _is_told(consumer: TestedSubscription, patience: float) -> None:
    with anyio.move_on_after(patience):
        try:
            while True:
                await consumer.ends()
        except (StoreClosedError, StopAsyncIteration):
            return
    raise MismatchError(
        expected="an end of the deliveries, or StoreClosedError",
        got=f"none within {patience:g} s",
        meaning="a consumer of a closed bus waits for ever",
    )


async def _ends(bus: TestedBus, patience: float) -> None:
    """Expect a waiting consumer to be told of the close: its iteration ends, or raises StoreClosedError."""
    with anyio.move_on_after(patience) as scope:
        try:
            async with bus.join("waits") as consumer:
                while True:
                    await consumer.ends()
        except (StoreClosedError, StopAsyncIteration):
            return
    if scope.cancelled_caught:
        raise MismatchError(expected="an end of the deliveries", got="none", meaning="a consumer of a closed bus waits for ever")


def _every_use(harness: BusHarness, bus: TestedBus) -> list[Callable[[], Coroutine[Any, Any, object]]]:
    async def join() -> None:
        async with bus.join("g"):
            pass

    return [partial(bus.publish, "x c"), partial(bus.dead_letters, "g"), partial(bus.redeliver, "g", harness.events("x a")), join]


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


async def _consumer_cut_off(bus: EventBus, turns: int, patience: float, *, receives: bool) -> None:
    """Cancel a consumer so many turns of the event loop after it began, or after it received an event."""
    has_received = anyio.Event()

    async def consume() -> None:
        async with bus.subscribe("g") as consumer:
            await anext(aiter(consumer))
            has_received.set()

    async def begin() -> None:
        if receives:
            with anyio.move_on_after(patience):
                await has_received.wait()

    await cut_off(turns, consume, begin)


async def _is_free(bus: EventBus, event: RecordedEvent, patience: float) -> None:
    """Expect a new consumer of the group to get the event, and acknowledge it."""
    with anyio.move_on_after(patience):
        async with bus.subscribe("g") as consumer:
            async for delivery in consumer:
                await delivery.ack()
                if delivery.event == event:
                    return
    raise MismatchError(
        expected="the event, delivered to a new consumer of its group",
        got=f"none within {patience:g} s",
        meaning="a consumer that was cancelled still has its group: the call that leaves it was cancelled too",
    )


async def _redelivery_cut_off(bus: TestedBus, consumer: TestedSubscription, event_id: object, point: int) -> bool:
    """Cancel a redelivery. The letter is then still dead, or it is delivered."""
    events = [dead.due.event for dead in consumer.model.dead if dead.due.event.event_id == event_id]
    is_reached = await cancel_at(point, lambda at: bus.redeliver("g", events, at_suspension=at))
    letters = await bus.letters_as_they_are("g")
    consumer.model.withdraw([letter.event for letter in letters])
    await bus.redeliver("g", events)
    return is_reached


def _nothing() -> None: ...
