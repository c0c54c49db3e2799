"""EB-12, EB-14 … EB-17: consumers that are slow, cancelled, late, or come back."""

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.ports import Delivery
from inventory_es.testing.event_bus.bench import BusBench, TestedSubscription
from inventory_es.testing.failure import MismatchError
from inventory_es.testing.promise import promise

_MOST_PENDING_TRIED = 2_000
_TURNS = 200


class SubscriberCases:
    """Consumers come and go."""

    @promise("EB-12", "A slow consumer is bounded: above max_pending, publish waits; nothing is lost, nothing grows without end.", seeds=1)
    async def test_eb_12_a_slow_consumer_is_bounded(self, bench: BusBench) -> None:
        async with bench.open() as bus, bus.join("slow") as slow:
            bound = bus.capabilities.max_pending
            if bound > _MOST_PENDING_TRIED:
                bench.run.not_declared(f"a max_pending of at most {_MOST_PENDING_TRIED}: open the bus with a small one")
            labels = [f"e{number}" for number in range(2 * bound + 5)]
            published = 0

            async def publish() -> None:
                nonlocal published
                for label in labels:
                    await bus.publish(f"x {label}")
                    published += 1

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(publish)
                for _ in range(_TURNS + 40 * bound):
                    await checkpoint()
                if published > bound:
                    raise MismatchError(
                        expected=f"publish to wait after {bound} undelivered events",
                        got=f"{published} published while nobody read",
                        meaning="a consumer that stands still fills the memory, or loses events",
                    )
                await slow.take(" ".join(labels), meaning="an event was dropped while the consumer was slow")

    @promise("EB-14", "A consumer cancelled inside its handler leaves the event for the next one, and nobody waits for it.", seeds=4)
    async def test_eb_14_cancelled_inside_the_handler(self, bench: BusBench) -> None:
        async with bench.open() as bus, bus.join("other") as other:
            handling = anyio.Event()

            async def handle() -> None:
                async with bus.join("g") as consumer:
                    await consumer.receive()
                    handling.set()
                    await anyio.sleep_forever()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(handle)
                await _joined(bench)
                await bus.publish("x a b")
                await handling.wait()
                tasks.cancel_scope.cancel()
            async with bus.join("g") as consumer:
                await consumer.take("a b", meaning="the event of the cancelled handler is lost, or comes too late")
            await other.take("a b", meaning="another group's cancelled handler held this group back")

    @promise("EB-15", "Leaving stops promptly, also while waiting; nothing goes to a consumer that left.", seeds=4)
    async def test_eb_15_leaving_stops_promptly(self, bench: BusBench) -> None:
        async with bench.open() as bus, bus.join("g") as stays:
            async with bus.join("g") as leaves, anyio.create_task_group() as tasks:
                tasks.start_soon(_wait, leaves)
                for _ in range(3):
                    await checkpoint()
                tasks.cancel_scope.cancel()
            await bus.publish("x a b", "y p")
            taken = {bench.labels.label((await _take(stays)).event) for _ in range(3)}
            if taken != {"a", "b", "p"}:
                raise MismatchError(expected="a, b and p", got=str(taken), meaning="an event went to a consumer that had left")

    @promise("EB-16", "A group that joins late sees what the bus declares: what comes from now on, or everything kept.")
    async def test_eb_16_late_subscribers(self, bench: BusBench) -> None:
        async with bench.open() as bus, bus.join("early") as early:
            await bus.publish("x a b")
            async with bus.join("late") as late:
                await bus.publish("x c")
                labels = "a b c" if bus.capabilities.late_subscribers == "replay" else "c"
                await late.take(labels, meaning=f"declared: late_subscribers={bus.capabilities.late_subscribers}")
            await early.take("a b c", meaning="a late group changed what an early one gets")

    @promise("EB-17", "A group that comes back gets what was published while it was away: no silent gap.")
    async def test_eb_17_coming_back(self, bench: BusBench) -> None:
        async with bench.open() as bus:
            async with bus.join("g") as consumer:
                await bus.publish("x a b")
                await consumer.take("a", meaning="the first event comes first")
            await bus.publish("x c")
            await bus.publish("x d")
            async with bus.join("g") as consumer:
                await consumer.take("b c d", meaning="what was published while nobody of the group was there is lost")
            if not bus.capabilities.durable:
                return
            await bus.publish("x e")
        async with bench.open() as bus:
            await bus.publish("x f")
            async with bus.join("g") as consumer:
                await consumer.take("e f", meaning="declared: durable; what was published before and after reopening must come")


async def _joined(bench: BusBench) -> None:
    """Let a task that joins do so."""
    while not any(entry.operation == "join g" for entry in bench.run.history.entries):
        await checkpoint()
    for _ in range(20):
        await checkpoint()


async def _wait(consumer: TestedSubscription) -> None:
    await consumer.ends()


async def _take(consumer: TestedSubscription) -> Delivery:
    delivery = await consumer.receive()
    await consumer.ack(delivery)
    return delivery
