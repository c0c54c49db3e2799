"""EB-12, EB-14 … EB-17, EB-34, EB-35: consumers that are slow, cancelled, late, or come back, also to a reopened bus."""

import gc
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.ports import Delivery, RecordedEvent
from inventory_es.testing.contracts.core.event_labels import recorded, stream_id
from inventory_es.testing.contracts.event_bus.consumers import Crew
from inventory_es.testing.contracts.event_bus.delivery import need_two_deliveries
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus, TestedSubscription
from inventory_es.testing.promise import MismatchError, promise

_MOST_PENDING_TRIED = 2_000
_MOST_IN_MEMORY_TRIED = 64
_LARGE = 32_768
_TURNS = 200
_LEAVERS = 4
_SERIAL = 0.1
_KEPT = 60
_OPENINGS = 4
_PUBLISHED = 5
_KEEPS = "A durable bus keeps over its closing what was published, acknowledged and given up, the attempts, and its groups."


class SubscriberCases:
    """Cases of consumers that come and go."""

    @promise(
        "EB-12",
        "A slow consumer is bounded: above max_pending, publish waits, or above max_in_memory, a disk keeps it; nothing is lost.",
        seeds=1,
    )
    async def test_eb_12_a_slow_consumer_is_bounded(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("slow") as slow:
            pending, in_memory = bus.capabilities.max_pending, bus.capabilities.max_in_memory
            if pending <= _MOST_PENDING_TRIED:
                await _publish_waits(bus, slow, pending)
            elif in_memory is not None and in_memory <= _MOST_IN_MEMORY_TRIED:
                await _backlog_is_on_a_disk(harness, bus, slow, in_memory)
            else:
                harness.run.not_declared(
                    f"a max_pending of at most {_MOST_PENDING_TRIED}, or a max_in_memory of at most {_MOST_IN_MEMORY_TRIED}: "
                    "open the bus with a small one"
                )

    @promise(
        "EB-12",
        "A slow consumer is bounded: above max_pending, publish waits, or above max_in_memory, a disk keeps it; nothing is lost.",
        seeds=0,
    )
    async def test_eb_12_what_is_out_counts(self, harness: BusHarness) -> None:
        """Hold a delivery, and open a durable bus again when it is nearly full."""
        async with harness.open() as bus:
            most = bus.capabilities.max_pending
            if most > _MOST_PENDING_TRIED:
                harness.run.not_declared(f"a max_pending of at most {_MOST_PENDING_TRIED}: open the bus with a small one")
            async with bus.join("slow") as slow:
                await bus.publish("x a")
                await bus.publish("y b")
                held = [await slow.receive()]
                with anyio.move_on_after(_SERIAL):
                    held.append(await slow.next())
                await _is_bounded(bus, "y", 2, "some of them out with a consumer")
                for delivery in held:
                    await slow.ack(delivery)
                await slow.finish()
            before = await _is_bounded(bus, "z", 0, "and no consumer")
            is_durable = bus.capabilities.durable
        if not is_durable:
            return
        async with harness.open() as bus:
            await _is_bounded(bus, "s", before, "some of them from before the bus was opened again")
            async with bus.join("slow") as slow:
                await slow.drain()

    @promise("EB-14", "A consumer cancelled inside its handler leaves the event for the next one, and nobody waits for it.", seeds=4)
    async def test_eb_14_cancelled_inside_the_handler(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("other") as other:
            joined, handling = anyio.Event(), anyio.Event()

            async def handle() -> None:
                async with bus.join("g") as consumer:
                    joined.set()
                    await consumer.receive()
                    handling.set()
                    await anyio.sleep_forever()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(handle)
                await joined.wait()
                await bus.publish("x a b")
                await handling.wait()
                tasks.cancel_scope.cancel()
            async with bus.join("g") as consumer:
                left = "a b" if bus.capabilities.max_deliveries > 1 else "b"
                await consumer.take(left, meaning="the event of the cancelled handler is lost, or comes too late")
            await bus.dead_letters("g")
            await other.take("a b", meaning="another group's cancelled handler held this group back")

    @promise("EB-15", "Leaving stops promptly, also while waiting; nothing goes to a consumer that left.", seeds=4)
    async def test_eb_15_leaving_stops_promptly(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as stays:
            async with bus.join("g") as leaves, anyio.create_task_group() as tasks:
                tasks.start_soon(_wait, leaves)
                for _ in range(3):
                    await checkpoint()
                tasks.cancel_scope.cancel()
            await bus.publish("x a b", "y p")
            taken = {harness.labels.label((await _take(stays)).event) for _ in range(3)}
            if taken != {"a", "b", "p"}:
                raise MismatchError(expected="a, b and p", got=str(taken), meaning="an event went to a consumer that had left")

    @promise("EB-15", "Leaving stops promptly, also while waiting; nothing goes to a consumer that left.")
    async def test_eb_15_others_stay(self, harness: BusHarness) -> None:
        """Leave with an unanswered delivery while another consumer of the group waits for it."""
        async with harness.open() as bus, anyio.create_task_group() as tasks:
            crew = Crew(bus, tasks)
            for number in range(_LEAVERS):
                leaves = await crew.join("g", most=1)
                await bus.publish(f"x a{number} b{number}")
                await crew.wait_until(lambda: any(crew.held()), what="a delivery to g")
                await crew.join("g")
                await crew.settle()
                await crew.leave(leaves)
                await crew.drain()
            await crew.leave_all()

    @promise("EB-35", "A consumer that stops to iterate and begins again goes on where it was.")
    async def test_eb_35_iterating_again(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            await bus.publish("x a b c", "y p q")
            for _ in range(4):
                delivery = await consumer.receive()
                await consumer.iterate_again()
                await consumer.ack(delivery)
            await consumer.drain()

    @promise("EB-16", "A group that joins late sees what the bus declares: what comes from now on, or everything kept.")
    async def test_eb_16_late_subscribers(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("early") as early:
            await bus.publish("x a b")
            async with bus.join("late") as late:
                await bus.publish("x c")
                labels = "a b c" if bus.capabilities.late_subscribers == "replay" else "c"
                await late.take(labels, meaning=f"declared: late_subscribers={bus.capabilities.late_subscribers}")
            await early.take("a b c", meaning="a late group changed what an early one gets")

    @promise("EB-16", "A group that joins late sees what the bus declares: what comes from now on, or everything kept.")
    async def test_eb_16_late_subscribers_one_after_the_other(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("early") as early:
            for number in range(3):
                await bus.publish(f"x a{number}", f"y p{number}")
                await early.finish()
                async with bus.join(f"late {number}") as late, bus.join(f"filtered {number}", streams=["y"]) as filtered:
                    for each in (filtered, late):
                        await each.finish()
                    await bus.publish(f"y q{number}", f"x c{number}")
                    for each in (filtered, early, late):
                        await each.finish()
                for name in [f"{kind} {earlier}" for kind in ("late", "filtered") for earlier in range(number)]:
                    async with bus.join(name, streams=["y"] if name.startswith("filtered") else None) as late:
                        await late.finish()

    @promise("EB-16", "A group that joins late sees what the bus declares: what comes from now on, or everything kept.", seeds=0)
    async def test_eb_16_everything_kept(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("early") as early:
            part = max(1, min(10, bus.capabilities.max_pending // 2))
            for number in range(0, _KEPT if bus.capabilities.late_subscribers == "replay" else part, part):
                events = [harness.record(f"e{number + each}", stream_id("xy"[each % 2])) for each in range(part)]
                await bus.publish_events([attrs.evolve(event, position=1_000 - event.position) for event in events])
                await early.finish()
            for name in ("late", "too late"):
                async with bus.join(name) as late:
                    await late.drain()
            await early.finish()

    @promise("EB-17", "A group that comes back gets what was published while it was away: no silent gap.")
    async def test_eb_17_coming_back(self, harness: BusHarness) -> None:
        async with harness.open() as bus:
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
        async with harness.open() as bus:
            await bus.publish("x f")
            async with bus.join("g") as consumer:
                await consumer.take("e f", meaning="declared: durable; what was published before and after reopening must come")


class ReopeningCases:
    """Cases of a bus that is closed and opened again."""

    @promise("EB-34", _KEEPS, seeds=0)
    async def test_eb_34_answers_and_attempts(self, harness: BusHarness) -> None:
        async with harness.open() as bus:
            if not bus.capabilities.durable:
                harness.run.not_declared("durable")
            need_two_deliveries(harness, bus)
            for group in ("g", "G"):
                async with bus.join(group):
                    pass
        for number in range(_OPENINGS):
            async with harness.open() as bus:
                for group in ("g", "G"):
                    await _make_room(bus, group, _PUBLISHED)
                await bus.publish(f"x a{number} b{number}", f"y p{number}", f"z s{number}")
                async with bus.join("g") as consumer:
                    failed = await consumer.receive()
                    await consumer.nack(failed, f"failure {number}")
                    while not consumer.model.is_drained:
                        delivery = await consumer.receive()
                        if delivery.event.stream == failed.event.stream:
                            break
                        await consumer.ack(delivery)
                await bus.publish(f"x c{number}")
                await bus.dead_letters("g")
        async with harness.open() as bus, bus.join("g") as consumer, bus.join("G") as other:
            for each in (consumer, other):
                await each.finish()
            for each in (consumer, other):
                await each.drain()
                await bus.dead_letters(each.group)

    @promise("EB-34", _KEEPS, seeds=0)
    async def test_eb_34_dead_letters(self, harness: BusHarness) -> None:
        labels = ("a", "b", "c")
        for number, label in enumerate(labels):
            async with harness.open() as bus:
                if not bus.capabilities.durable:
                    harness.run.not_declared("durable")
                async with bus.join("g") as consumer, bus.join("h") as other:
                    await bus.publish(f"s{number} {label}")
                    for attempt in range(bus.capabilities.max_deliveries):
                        await consumer.nack(await consumer.receive(), f"failure {attempt}")
                    await other.finish()
                await bus.dead_letters("g")
        for label in labels:
            async with harness.open() as bus:
                await bus.dead_letters("g")
                await bus.redeliver("g", harness.events(f"s {label}"))
                await bus.dead_letters("g")
        for _ in range(2):
            async with harness.open() as bus:
                await bus.dead_letters("g")
                async with bus.join("g") as consumer, bus.join("h") as other:
                    await consumer.nack(await consumer.receive(), "again")
                    await other.finish()
        async with harness.open() as bus, bus.join("g") as consumer:
            await consumer.drain()
            await bus.dead_letters("g")


async def _is_bounded(bus: TestedBus, stream: str, before: int, which: str) -> int:
    """Publish until the call waits, and return the number of events that the group holds, within the declared bound."""
    published: list[RecordedEvent] = []
    most = bus.capabilities.max_pending
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(bus.fill, stream, most + 1, published=published))
        for _ in range(_TURNS + 40 * most):
            await checkpoint()
        tasks.cancel_scope.cancel()
    if before + len(published) > most:
        expected = f"publish to wait while the group has {most} unanswered events, {which}"
        raise MismatchError(expected=expected, got="one more was published", meaning="an event counts from its publication to its answer")
    return before + len(published)


async def _wait(consumer: TestedSubscription) -> None:
    await consumer.ends()


async def _take(consumer: TestedSubscription) -> Delivery:
    delivery = await consumer.receive()
    await consumer.ack(delivery)
    return delivery


async def _publish_waits(bus: TestedBus, slow: TestedSubscription, bound: int) -> None:
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


async def _backlog_is_on_a_disk(harness: BusHarness, bus: TestedBus, slow: TestedSubscription, most: int) -> None:
    bus.model.is_off = True  # it would keep in memory the events that belong on a disk
    await bus.publish_events([_large(harness, 1)])
    first = await slow.receive()
    count = 6 * most + 32
    async with bus.join("slow") as waits, anyio.create_task_group() as tasks:
        tasks.start_soon(_wait, waits)
        with _traced() as grown:
            for number in range(2, count + 1):
                await bus.publish_events([_large(harness, number)])
            in_memory = grown()
        tasks.cancel_scope.cancel()
    if in_memory > count * _LARGE // 2:
        raise MismatchError(
            expected=f"at most {most} events in memory, as declared",
            got=f"{in_memory:,} bytes more, after {count} events of {_LARGE:,} bytes that nobody took",
            meaning="what is behind for a consumer that stands still fills the memory",
        )
    await slow.ack(first)
    for number in range(2, count + 1):
        delivery = await slow.receive()
        await slow.ack(delivery)
        if delivery.event != _large(harness, number):
            raise MismatchError(
                expected=f"event {number}", got=f"event {delivery.event.version}", meaning="an event was dropped, or is in another place"
            )


def _large(harness: BusHarness, number: int) -> RecordedEvent:
    """Return an event that is built at each call, so that only the bus keeps it."""
    event = attrs.evolve(harness.labels.event(f"e{number}"), data=b'{"pad":"' + b"x" * (_LARGE - 10) + b'"}')
    return recorded(stream_id("x"), number, number, event)


@contextmanager
def _traced() -> Generator[Callable[[], int], None, None]:
    """Return how many more bytes of memory are in use since the measurement began."""
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()

    def grown() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    try:
        yield grown
    finally:
        if not was_tracing:
            tracemalloc.stop()


async def _make_room(bus: TestedBus, group: str, count: int) -> None:
    """Acknowledge the oldest events until so many more fit."""
    if bus.model.groups[group].size + count <= bus.capabilities.max_pending:
        return  # nobody joins: a later case shows if the group still exists
    async with bus.join(group) as consumer:
        while not consumer.model.is_drained and consumer.model.size + count > bus.capabilities.max_pending:
            await consumer.ack(await consumer.receive())
