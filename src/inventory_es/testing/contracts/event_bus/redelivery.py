"""EB-08 … EB-11, EB-13: failed deliveries come again, up to a bound, and then become dead letters."""

from inventory_es.ports import Delivery
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.event_bus.acknowledgements import need_two_deliveries
from inventory_es.testing.contracts.event_bus.delivery import unchanged
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus, TestedSubscription
from inventory_es.testing.promise import MismatchError, promise


class RedeliveryCases:
    """Cases of consumers that fail."""

    @promise("EB-08", "A delivery that failed comes again, before later events of its stream, with the next attempt number.")
    async def test_eb_08_a_failed_delivery_comes_again(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            need_two_deliveries(harness, bus)
            await bus.publish("x a b")
            await consumer.nack(await consumer.receive(), "not now")
            again = await consumer.receive()
            _is(harness, again, "a", attempt=2, meaning="the failed event must come again before the one after it")
            await consumer.ack(again)
            await consumer.take("b", meaning="after the failed event was done, the stream goes on")

    @promise("EB-09", "After max_deliveries failures an event is a dead letter, with the last reason; it can be read and delivered again.")
    async def test_eb_09_dead_letters(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer, bus.join("h") as other:
            most = bus.capabilities.max_deliveries
            await bus.publish("x a b")
            await _fail(harness, consumer, "a", most)
            await consumer.take("b", meaning="an event that can't be handled must not stop those after it for ever")
            await other.take("a b", meaning="a dead letter of one group was kept from another")
            await _letters(harness, bus, "g", "a", f"failure {most}", most)
            await _letters(harness, bus, "h", "", "", 0)
            redelivered = await bus.redeliver("g", harness.events("x a b"))
            if redelivered != 1:
                raise MismatchError(expected="1 dead letter delivered again", got=str(redelivered), meaning="b was handled and is none")
            again = await consumer.receive()
            _is(harness, again, "a", attempt=1, meaning="a dead letter that is delivered again has fresh attempts")
            await consumer.ack(again)
            await _letters(harness, bus, "g", "", "", 0)
            await bus.publish("x c")
            await consumer.take("c", meaning="a dead letter that was handled at last came once more")

    @promise("EB-10", "A redelivery is the same event: id, place and bytes.")
    async def test_eb_10_a_redelivery_is_the_same_event(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            need_two_deliveries(harness, bus)
            await bus.publish("x a")
            first = await consumer.receive()
            event = first.event
            await consumer.nack(first, "again")
            second = await consumer.receive()
            unchanged(event, second)
            await consumer.ack(second)

    @promise("EB-11", "An event is done only when it was acknowledged: a consumer that leaves before gets it again.")
    async def test_eb_11_done_only_when_acknowledged(self, harness: BusHarness) -> None:
        async with harness.open() as bus:
            async with bus.join("g") as consumer:
                await bus.publish("x a b c")
                await consumer.take("a", meaning="the first event comes first")
                await consumer.receive()
            if bus.capabilities.max_deliveries == 1:
                await _letters(harness, bus, "g", "b", None, 1)
            else:
                async with bus.join("g") as consumer:
                    again = await consumer.receive()
                    _is(harness, again, "b", attempt=2, meaning="an event that was delivered and never acknowledged is lost")
                    await consumer.ack(again)
        if not bus.capabilities.durable:
            return
        async with harness.open() as bus, bus.join("g") as consumer:
            await consumer.take("c", meaning="after reopening, the group goes on where it acknowledged last")

    @promise("EB-11", "A consumer that fails while it handles an event gets it again.")
    async def test_eb_11_a_consumer_that_fails(self, harness: BusHarness) -> None:
        async with harness.open() as bus:
            failure, is_told = _HandlerError("raised by the handler"), False
            try:
                async with bus.join("g") as consumer:
                    await bus.publish("x a")
                    await consumer.receive()
                    raise failure
            except _HandlerError as raised:
                is_told = raised is failure
            if not is_told:
                meaning = "the block of a subscription ends with what was raised in it, so that a failed handler is seen"
                raise MismatchError(expected=f"{failure!r}, out of the block", got="another error, or none", meaning=meaning)
            if bus.capabilities.max_deliveries == 1:
                await _letters(harness, bus, "g", "a", None, 1)
            else:
                async with bus.join("g") as consumer:
                    again = await consumer.receive()
                    _is(harness, again, "a", attempt=2, meaning="an event whose handler failed is lost")
                    await consumer.ack(again)

    @promise("EB-13", "A failing handler starves nobody: other groups, and other streams of its group, go on.")
    async def test_eb_13_a_failing_handler_starves_nobody(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("bad") as bad, bus.join("good") as good:
            await bus.publish("x a", "y p", "x b", "y q")
            failures = 0
            seen: list[str] = []
            while len(seen) < 3:
                delivery = await bad.receive()
                label = harness.labels.label(delivery.event)
                if label == "a":
                    failures += 1
                    await bad.nack(delivery, "never")
                else:
                    seen.append(label)
                    await bad.ack(delivery)
                if failures > bus.capabilities.max_deliveries:
                    raise MismatchError(
                        expected="p, q and b at last", got=f"a {failures} times, then {seen}", meaning="one bad event starves all"
                    )
            await good.take("a p b q", meaning="another group's failures held this group back")

    @promise("EB-13", "A failing handler starves nobody: other groups, and other streams of its group, go on.")
    async def test_eb_13_one_stream_of_eight_fails(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("bad") as bad:
            streams = max(2, min(8, bus.capabilities.max_pending // 3))
            for failing in range(streams):
                for number in range(streams):
                    await bus.publish(f"s{number} e{failing}{number}")
                while not bad.model.is_drained:
                    delivery = await bad.receive()
                    fails = delivery.event.stream == stream_id(f"s{failing}")
                    await (bad.nack(delivery, "never") if fails else bad.ack(delivery))
            await bus.dead_letters("bad")
            await bad.drain()


class _HandlerError(Exception):
    """Raised by a handler."""


def _is(harness: BusHarness, delivery: Delivery, label: str, *, attempt: int, meaning: str) -> None:
    got = harness.labels.label(delivery.event)
    if got != label or delivery.attempt != attempt:
        raise MismatchError(expected=f"{label}, attempt {attempt}", got=f"{got}, attempt {delivery.attempt}", meaning=meaning)


async def _fail(harness: BusHarness, consumer: TestedSubscription, label: str, times: int) -> None:
    for number in range(1, times + 1):
        delivery = await consumer.receive()
        _is(harness, delivery, label, attempt=number, meaning=f"an event is delivered {times} times before it is given up")
        await consumer.nack(delivery, f"failure {number}")


async def _letters(harness: BusHarness, bus: TestedBus, group: str, labels: str, reason: str | None, deliveries: int) -> None:
    letters = await bus.dead_letters(group)
    got = " ".join(harness.labels.label(letter.event) for letter in letters)
    facts = [(letter.reason if reason is not None else None, letter.deliveries) for letter in letters]
    if got != labels or (labels and facts != [(reason, deliveries)]):
        expected = f"[{labels}] {[(reason, deliveries)] if labels else ''}"
        raise MismatchError(expected=expected, got=f"[{got}] {facts or ''}", meaning=f"the dead letters of {group} are others")
