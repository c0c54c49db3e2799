"""EB-08 … EB-11, EB-13, EB-26 … EB-28: failed deliveries come again, up to a bound, and then become dead letters."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.ports import Delivery, RecordedEvent
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.event_bus.consumers import Crew
from inventory_es.testing.contracts.event_bus.delivery import need_two_deliveries, unchanged
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus, TestedSubscription
from inventory_es.testing.promise import MismatchError, promise

_MOST_DELIVERIES_TRIED = 50
_REASONS = ("", "no such product: ünïcode 𝄞", "line one\nline two\ttab", "x" * 2_000, '\'; DROP TABLE letters; -- "%s" {0} \\u0000')
_UNANSWERED = (
    "A delivery that its consumer leaves unanswered has failed: the next one has the next attempt number, and after max_deliveries of "
    "them the event is a dead letter."
)
_WHOLE = "Dead letters come whole, oldest first, at most as many as asked for, of their own group only; reading changes nothing."
_AGAIN = (
    "Dead letters are delivered again to their own group only, once; what fails again is a dead letter again, with its new reason; any "
    "other id changes nothing."
)
_MANY = (
    "Hundreds of deliveries to one consumer are like the first; hundreds of dead letters are kept, read, and delivered again in one call."
)
_MANY_LETTERS = 103
_MANY_DELIVERIES = 300
_MOST_PENDING_TRIED = 100
_TURNS = 200


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


class DeadLetterCases:
    """Cases of dead letters."""

    @promise("EB-26", _UNANSWERED)
    async def test_eb_26_left_unanswered(self, harness: BusHarness) -> None:
        async with harness.open() as bus:
            _need_few_deliveries(harness, bus)
            async with bus.join("g"):
                pass
            for label, answers in (("a", "leave"), ("b", "leave nack"), ("c", "nack leave leave")):
                await bus.publish(f"x {label} {label}2")
                for number in range(bus.capabilities.max_deliveries):
                    async with bus.join("g") as consumer:
                        delivery = await consumer.receive()
                        if answers.split()[number % len(answers.split())] == "nack":
                            await consumer.nack(delivery, "it has failed")
                async with bus.join("g") as consumer:
                    await consumer.drain()
                await bus.dead_letters("g")

    @promise("EB-27", _WHOLE)
    async def test_eb_27_dead_letters_whole(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer, bus.join("h") as other:
            _need_few_deliveries(harness, bus)
            events = _unlike_their_order(harness, len(_REASONS))
            for event, reason in zip(events, _REASONS, strict=True):
                await bus.publish_events([event])
                await _give_up(bus, consumer, reason)
                await _give_up(bus, other, f"of another group: {reason}")
            for limit in (len(events), 1, 2, len(events) + 1, len(events) - 1):
                for group in "gh":
                    await bus.dead_letters(group, limit=limit)
            letters = await bus.dead_letters("g")
            await bus.dead_letters("no such group")
            _is_same(letters, await bus.dead_letters("g"))
            times = [letter.since for letter in letters]
            if times != sorted(times):
                raise MismatchError(expected="the oldest first", got=str(times), meaning="dead letters are read from the oldest on")
            await bus.redeliver("g", events[1:2])
            await consumer.drain()
            for limit in (1, 2, 100):
                await bus.dead_letters("g", limit=limit)
                await bus.dead_letters("h", limit=limit)

    @promise("EB-28", _AGAIN)
    async def test_eb_28_delivered_again(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer, bus.join("h") as other, bus.join("i") as third:
            _need_few_deliveries(harness, bus)
            events = harness.events("x a b")
            await bus.publish("x a b")
            for _ in events:
                await _give_up(bus, consumer, "first")
                await _give_up(bus, other, "first")
            await third.finish()
            for number in range(4):
                await bus.redeliver("g", events[: 1 + number % 2])
                await bus.redeliver("g", events[:1])
                await _give_up(bus, consumer, f"again {number}")
                if number % 2:
                    await _give_up(bus, consumer, f"again {number}, the other")
                for group in "ghi":
                    await bus.dead_letters(group)
            await bus.publish("x c", "y p")
            for each in (third, other, consumer):
                await each.finish()
            await bus.redeliver("h", events)
            for each in (third, other, consumer):
                await each.drain()

    @promise("EB-28", _AGAIN)
    async def test_eb_28_what_is_no_dead_letter(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer, bus.join("h") as other:
            _need_few_deliveries(harness, bus)
            await bus.publish("x a", "y p", "z s")
            given_up = await _give_up(bus, consumer, "failed")
            rest = [event for text in ("x a", "y p", "z s") for event in harness.events(text) if event.event_id != given_up.event_id]
            nobody = harness.record("never published", stream_id("x"))
            for group, events in (("g", rest), ("g", []), ("g", [nobody]), ("h", [given_up, *rest]), ("no such group", [given_up])):
                await bus.redeliver(group, events)
                await bus.dead_letters("g")
            await other.drain()
            await consumer.drain()
            await bus.redeliver("g", rest)
            await bus.redeliver("g", [given_up, *rest, nobody])
            await consumer.drain()
            await bus.redeliver("g", [given_up])
            await consumer.drain()
            await bus.dead_letters("g")

    @promise("EB-28", _AGAIN)
    async def test_eb_28_while_consumers_wait(self, harness: BusHarness) -> None:
        """Expect waiting consumers to get revived events at once, except of a stream with an unanswered delivery."""
        async with harness.open() as bus, anyio.create_task_group() as tasks:
            _need_few_deliveries(harness, bus)
            crew = Crew(bus, tasks)
            async with bus.join("g") as consumer:
                await bus.publish("x a b")
                given_up = [await _give_up(bus, consumer, "failed") for _ in "ab"]
            for _ in range(3):
                await crew.join("g")
            await crew.settle()
            await bus.redeliver("g", given_up[:1])
            await crew.wait_until(lambda: any(crew.held()), what="a delivery of a dead letter that is delivered again")
            await bus.redeliver("g", given_up[1:])
            await crew.settle()
            await crew.drain()
            await bus.publish("x c")
            await crew.wait_until(lambda: any(crew.held()), what="a delivery to g")
            await bus.redeliver("g", given_up)
            await crew.settle()
            await crew.drain()
            await bus.dead_letters("g")
            await crew.leave_all()

    @promise("EB-28", _AGAIN, seeds=2)
    async def test_eb_28_asked_for_twice_at_once(self, harness: BusHarness) -> None:
        counts: list[int] = []

        async def redeliver() -> None:
            counts.append(await bus.raw.redeliver("g", [event.event_id for event in given_up]))

        async with harness.open() as bus, bus.join("g") as consumer:
            _need_few_deliveries(harness, bus)
            for number in range(3):
                await bus.publish(f"x a{number} b{number}")
                given_up = [await _give_up(bus, consumer, "failed") for _ in "ab"]
                bus.model.redelivering("g", [event.event_id for event in given_up])
                counts.clear()
                async with anyio.create_task_group() as tasks:
                    for _ in range(3):
                        tasks.start_soon(redeliver)
                if sum(counts) != len(given_up):
                    got, meaning = str(counts), "one dead letter was delivered again by two calls, or by none"
                    raise MismatchError(expected=f"{len(given_up)} dead letters by three calls at once", got=got, meaning=meaning)
                for _ in given_up:
                    await _give_up(bus, consumer, "again")
                await bus.dead_letters("g")
                await bus.redeliver("g", given_up)
                await consumer.drain()

    @promise("EB-28", _AGAIN)
    async def test_eb_28_into_a_full_group(self, harness: BusHarness) -> None:
        async with harness.open() as bus, anyio.create_task_group() as tasks:
            _need_few_deliveries(harness, bus)
            most = bus.capabilities.max_pending
            if most > _MOST_PENDING_TRIED:
                harness.run.not_declared(f"a max_pending of at most {_MOST_PENDING_TRIED}: open the bus with a small one")
            crew = Crew(bus, tasks)
            async with bus.join("g") as consumer:
                await bus.publish("x a")
                given_up = await _give_up(bus, consumer, "failed")
                async with anyio.create_task_group() as publishers:
                    publishers.start_soon(partial(bus.fill, "y", most + 1, published=[]))
                    for _ in range(_TURNS + 40 * most):
                        await checkpoint()
                    publishers.cancel_scope.cancel()
                tasks.start_soon(bus.redeliver, "g", [given_up])
                await crew.settle()  # it may wait for room
                await consumer.drain()
                await bus.dead_letters("g")

    @promise("EB-38", _MANY, seeds=0)
    async def test_eb_38_hundreds(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer, bus.join("h") as other:
            _need_few_deliveries(harness, bus)
            count = max(_MANY_LETTERS, _MANY_DELIVERIES // bus.capabilities.max_deliveries)
            part = max(1, bus.capabilities.max_pending // 4)
            events = [harness.record(f"e{number}", stream_id(f"s{number % part}")) for number in range(count)]
            for first in range(0, count, part):
                await bus.publish_events(events[first : first + part])
                while not consumer.model.is_drained:
                    await consumer.nack(await consumer.receive(), "failed")
                await other.finish()
            for limit in (None, count, count + 1, 10 * count):
                await bus.dead_letters("g", limit=limit)
            await bus.redeliver("g", events)
            await consumer.drain()
            await bus.dead_letters("g")

    @promise("EB-28", _AGAIN)
    async def test_eb_28_while_nobody_is_there(self, harness: BusHarness) -> None:
        async with harness.open() as bus:
            _need_few_deliveries(harness, bus)
            events = harness.events("x a b c")
            async with bus.join("g") as consumer:
                await bus.publish("x a b c")
                for _ in events:
                    await _give_up(bus, consumer, "failed")
            await bus.redeliver("g", [events[2], events[0]])
            await bus.dead_letters("g")
            await bus.publish("x d")
            async with bus.join("g") as consumer:
                await consumer.drain()
            await bus.redeliver("g", events)
            await bus.dead_letters("g")
            async with bus.join("g") as consumer:
                await consumer.drain()


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


def _unlike_their_order(harness: BusHarness, count: int) -> list[RecordedEvent]:
    """Return events, each of its own stream, whose times, positions and versions run against the order of publication."""
    events = [harness.record(f"d{number}", stream_id(f"s{count - number}")) for number in range(count)]
    return [
        attrs.evolve(event, recorded_at=event.recorded_at - number * timedelta(days=2), position=1_000 - number, version=90 - number)
        for number, event in enumerate(events)
    ]


async def _give_up(bus: TestedBus, consumer: TestedSubscription, reason: str) -> RecordedEvent:
    """Refuse one event until it is a dead letter. Other events that come meanwhile are refused no further than necessary."""
    dead = len(consumer.model.dead)
    for number in range(1, 1_000):
        delivery = await consumer.receive()
        is_last = delivery.attempt >= bus.capabilities.max_deliveries
        await consumer.nack(delivery, reason if is_last else f"failure {number}")
        if len(consumer.model.dead) > dead:
            return delivery.event
    raise MismatchError(expected="a dead letter", got="none after 1,000 failures", meaning="an event that fails for ever is given up")


def _is_same(before: Sequence[object], after: Sequence[object]) -> None:
    if list(before) != list(after):
        raise MismatchError(expected=f"the same dead letters as before: {before}", got=str(after), meaning="reading changes nothing")


def _need_few_deliveries(harness: BusHarness, bus: TestedBus) -> None:
    most = bus.capabilities.max_deliveries
    if most > _MOST_DELIVERIES_TRIED:
        harness.run.not_declared(f"a max_deliveries of at most {_MOST_DELIVERIES_TRIED}: open the bus with a small one")
