"""EB-23, EB-25: one delivery per stream at a time, and an answer that counts once, for its own delivery."""

from contextlib import suppress

import anyio

from inventory_es.ports import Delivery
from inventory_es.ports.errors import StoreClosedError
from inventory_es.testing.contracts.event_bus.consumers import Crew
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus, TestedSubscription
from inventory_es.testing.promise import promise

_MOST_STREAMS = 7
_SERIAL = 1.0

_ONE_AT_A_TIME = (
    "While a delivery is unanswered, nothing else of its stream comes to its group; a bus that delivers on meanwhile does so for every "
    "other stream."
)
_OWN_ANSWER = "An answer counts for its own delivery only, and only the first one: a second, a late or a contradicting one changes nothing."


class AnswerCases:
    """Cases of consumers that answer late, twice, in another order, or never."""

    @promise("EB-23", _ONE_AT_A_TIME)
    async def test_eb_23_one_delivery_of_a_stream(self, harness: BusHarness) -> None:
        async with harness.open() as bus, anyio.create_task_group() as tasks:
            crew = Crew(bus, tasks)
            for _ in range(2):
                await crew.join("g")
            await bus.publish("x a b")
            await crew.wait_until(lambda: any(crew.held()), what="a delivery to g")
            ((worker, first),) = crew.held()
            others = min(_MOST_STREAMS, bus.capabilities.max_pending // 2 - 2)
            for number in range(others):
                await bus.publish(f"s{number} p{number}")
            await crew.settle()
            if others > 0 and await crew.comes(lambda: len(list(crew.held())) > 1, within=_SERIAL):
                await _take_others(crew, first, others)
            await crew.ack(worker, first)
            await crew.drain()
            await crew.leave_all()

    @promise("EB-25", _OWN_ANSWER)
    async def test_eb_25_answers_after_the_first(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            for number, answers in enumerate(("ack ack", "ack nack", "nack nack", "nack ack", "ack nack ack", "nack ack nack")):
                await bus.publish(f"x a{number} b{number}")
                delivery = await consumer.receive()
                for answer in answers.split():
                    await _answer(consumer, delivery, answer)
                await consumer.drain()
                for answer in ("nack", "ack", "nack"):  # one repeat would be within what at least once allows
                    await _answer(consumer, delivery, answer)
                    await consumer.drain()
                await bus.dead_letters("g")

    @promise("EB-25", _OWN_ANSWER)
    async def test_eb_25_answers_to_an_earlier_delivery(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            need_two_deliveries(harness, bus)
            for number, answer in enumerate(("ack", "nack")):
                await bus.publish(f"x a{number} b{number}")
                first = await consumer.receive()
                await consumer.nack(first, "failed")
                second = await consumer.receive()
                await _answer(consumer, first, answer)
                await consumer.nack(second, "failed again")
                await consumer.drain()
                await bus.dead_letters("g")

    @promise("EB-25", _OWN_ANSWER)
    async def test_eb_25_answers_after_leaving(self, harness: BusHarness) -> None:
        async with harness.open() as bus:
            need_two_deliveries(harness, bus)
            for number, answer in enumerate(("ack", "nack", "ack ack")):
                async with bus.join("g") as leaves:
                    await bus.publish(f"x a{number} b{number}")
                    late = await leaves.receive()
                async with bus.join("g") as consumer:
                    again = await consumer.receive()
                    for each in answer.split():
                        with suppress(StoreClosedError):
                            await _answer(leaves, late, each)
                    await consumer.nack(again, "it has failed")
                    with suppress(StoreClosedError):
                        await _answer(leaves, late, answer.split()[0])
                    await consumer.drain()
                await bus.dead_letters("g")

    @promise("EB-25", _OWN_ANSWER)
    async def test_eb_25_answers_in_another_order(self, harness: BusHarness) -> None:
        async with harness.open() as bus, anyio.create_task_group() as tasks:
            need_two_deliveries(harness, bus)
            crew = Crew(bus, tasks)
            streams = max(2, min(4, bus.capabilities.max_pending // 3))
            for turn in range(streams):
                for _ in range(2):
                    await crew.join("g")
                await bus.publish(*(f"s{number} a{turn}{number}" for number in range(streams)))
                is_serial = not await crew.comes(lambda: len(list(crew.held())) == streams, within=_SERIAL)
                worker, delivery = sorted(crew.held(), key=lambda one: one[1].event.stream)[0 if is_serial else turn]
                await crew.ack(worker, delivery)
                await crew.leave_all()
                await crew.join("g")
                await crew.drain()
                await crew.leave_all()
                if is_serial:
                    break


async def _take_others(crew: Crew, first: Delivery, count: int) -> None:
    taken = 0
    while taken < count:
        others = [(worker, delivery) for worker, delivery in crew.held() if delivery is not first]
        for worker, delivery in others:
            await crew.ack(worker, delivery)
        taken += len(others)
        if taken < count:
            what = f"{count} streams that go on while one is unanswered; {taken} did"
            await crew.wait_until(lambda: any(each is not first for _, each in crew.held()), what=what)


async def _answer(consumer: TestedSubscription, delivery: Delivery, answer: str) -> None:
    await (consumer.ack(delivery) if answer == "ack" else consumer.nack(delivery, "failed"))


def need_two_deliveries(harness: BusHarness, bus: TestedBus) -> None:
    """End the case where an event is never delivered again."""
    if bus.capabilities.max_deliveries < 2:  # a redelivery is the second one
        harness.run.not_declared("max_deliveries of 2 or more")
