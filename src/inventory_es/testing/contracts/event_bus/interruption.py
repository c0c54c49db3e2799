"""EB-18, EB-20: publishing with an unknown outcome, and closing."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.ports.errors import StoreClosedError
from inventory_es.testing.contracts.core.await_points import cancel_at
from inventory_es.testing.contracts.core.tested_port import refused
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus, TestedSubscription
from inventory_es.testing.promise import MismatchError, promise

_MOST_POINTS = 40


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
