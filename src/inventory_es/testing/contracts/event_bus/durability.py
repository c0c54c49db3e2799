"""EB-34: the state that a durable bus keeps while it is closed."""

from inventory_es.testing.contracts.event_bus.acknowledgements import need_two_deliveries
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus
from inventory_es.testing.promise import promise

_OPENINGS = 4
_PUBLISHED = 5
_KEEPS = "A durable bus keeps over its closing what was published, acknowledged and given up, the attempts, and its groups."


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


async def _make_room(bus: TestedBus, group: str, count: int) -> None:
    """Acknowledge the oldest events until so many more fit."""
    if bus.model.groups[group].size + count <= bus.capabilities.max_pending:
        return  # nobody joins: a later case shows if the group still exists
    async with bus.join(group) as consumer:
        while not consumer.model.is_drained and consumer.model.size + count > bus.capabilities.max_pending:
            await consumer.ack(await consumer.receive())
