"""EB-01 … EB-07, EB-19, EB-22, EB-23, EB-25: recipients, order and content of deliveries, and their answers."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from uuid import uuid5

import anyio
import attrs

from inventory_es.ports import Delivery, NewEvent, RecordedEvent
from inventory_es.ports.errors import AppendTooLargeError, StoreClosedError
from inventory_es.testing.contracts.core.difference import difference
from inventory_es.testing.contracts.core.event_labels import EVENT_TYPE, recorded, stream_id
from inventory_es.testing.contracts.event_bus.consumers import Crew
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus, TestedSubscription
from inventory_es.testing.contracts.event_store.hostile_values import PAYLOADS
from inventory_es.testing.promise import MismatchError, promise

_CONSUMERS = 4
_MOST_BYTES_TRIED = 16 << 20
_MOST_STREAMS = 7
_SERIAL = 1.0
_ONE_AT_A_TIME = (
    "While a delivery is unanswered, nothing else of its stream comes to its group; a bus that delivers on meanwhile does so for every "
    "other stream."
)
_OWN_ANSWER = "An answer counts for its own delivery only, and only the first one: a second, a late or a contradicting one changes nothing."


class DeliveryCases:
    """Cases of publishing and receiving."""

    @promise("EB-01", "What is published is received, field by field, as attempt 1.")
    async def test_eb_01_publish_and_receive(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            await bus.publish("x a")
            delivery = await consumer.receive()
            (published,) = harness.events("x a")
            unchanged(published, delivery)
            if delivery.attempt != 1:
                raise MismatchError(expected="attempt 1", got=f"attempt {delivery.attempt}", meaning="attempts are counted from 1")
            await consumer.ack(delivery)
            await consumer.ack(delivery)
            await bus.publish("x b")
            await consumer.take("b", meaning="an acknowledged event came again")

    @promise("EB-02", "Nobody has to listen: publishing to no group is fine.")
    async def test_eb_02_nobody_listens(self, harness: BusHarness) -> None:
        async with harness.open() as bus:
            await bus.publish("x a b", "y p")
            await bus.publish_events([])
            letters = await bus.dead_letters("nobody")
            if letters or await bus.redeliver("nobody", harness.events("x a")):
                raise MismatchError(expected="no dead letters", got=str(letters), meaning="a group that never was has dead letters")

    @promise("EB-03", "Within a stream, events are delivered in the order of their publication.")
    async def test_eb_03_order_within_a_stream(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            for text in ("x a", "y p", "x b", "x c", "y q", "x d"):
                await bus.publish(text)
            deliveries = await _take(consumer, 6)
            _in_order(harness, deliveries, "x", "a b c d")
            _in_order(harness, deliveries, "y", "p q")

    @promise("EB-04", "A batch is delivered in its order, whole.")
    async def test_eb_04_a_batch_in_order(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            await bus.publish("x a b c", "y p", "x d e")
            deliveries = await _take(consumer, 6)
            _in_order(harness, deliveries, "x", "a b c d e")
            _in_order(harness, deliveries, "y", "p")

    @promise("EB-22", "Other events at places that were published before are delivered: a store that was restored gives its places again.")
    async def test_eb_22_places_given_again(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            await bus.publish("x a b c")
            await consumer.take("a b c", meaning="what was published is not delivered")
            again = [attrs.evolve(event, event_id=uuid5(event.event_id, "again")) for event in harness.events("x a b c")[:2]]
            await bus.publish_events(again)
            for expected in again:
                delivery = await consumer.receive()
                if delivery.event.event_id != expected.event_id:
                    got = f"event {delivery.event.event_id}"
                    meaning = "an event was left out, since another one had its place before: after a restore, consumers miss it for ever"
                    raise MismatchError(expected=f"event {expected.event_id}", got=got, meaning=meaning)
                await consumer.ack(delivery)

    @promise("EB-05", "Every group gets everything.")
    async def test_eb_05_every_group_gets_everything(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as one, bus.join("h") as other:
            await bus.publish("x a b")
            await one.take("a b", meaning="a group missed an event that another group gets too")
            await bus.publish("x c")
            await other.take("a b c", meaning="a group missed an event because another group had taken it")
            await one.take("c", meaning="a group missed an event because another group had taken it")

    @promise("EB-06", "Within a group, each event goes to one consumer, and stays in order within its stream.", seeds=6)
    async def test_eb_06_one_consumer_of_a_group(self, harness: BusHarness) -> None:
        streams = ("x", "y", "z")
        taken: list[str] = []
        total = 12

        async def consume(consumer: TestedSubscription, scope: anyio.CancelScope) -> None:
            while True:
                delivery = await consumer.receive()
                taken.append(harness.labels.label(delivery.event))
                await consumer.ack(delivery)
                if len(taken) >= total:
                    scope.cancel()

        async with harness.open() as bus, AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            for _ in range(_CONSUMERS):
                tasks.start_soon(consume, await stack.enter_async_context(bus.join("g")), tasks.cancel_scope)
            for number in range(4):
                await bus.publish(*(f"{stream} {stream}{number}" for stream in streams))
        if sorted(taken) != sorted(f"{stream}{number}" for stream in streams for number in range(4)):
            raise MismatchError(expected="each of 12 events once", got=str(taken), meaning="an event went to two consumers, or to none")
        for stream in streams:
            mine = [label for label in taken if label.startswith(stream)]
            if mine != sorted(mine):
                raise MismatchError(expected=f"{stream} in order", got=str(mine), meaning="two consumers overtook each other in one stream")

    @promise("EB-07", "A group may take only some types, or only some streams.")
    async def test_eb_07_filters(self, harness: BusHarness) -> None:
        other = harness.labels.event("other")
        odd = harness.labels.add("odd", type(other)(other.event_id, "OtherEvent", 1, other.recorded_at, other.data))
        async with (
            harness.open() as bus,
            bus.join("by type", types=[EVENT_TYPE]) as by_type,
            bus.join("by stream", streams=["y", "z"]) as by_stream,
            bus.join("by both", types=["OtherEvent"], streams=["y"]) as by_both,
            bus.join("all") as everything,
        ):
            await bus.publish("x a")
            await bus.publish("y p")
            await bus.publish_events([recorded(stream_id("y"), 2, 99, odd)])
            await bus.publish("x b", "z s")
            await by_type.take("a p b s", in_order=False, meaning="a filter by type let another type through, or held its own back")
            await by_stream.take("p odd s", in_order=False, meaning="a filter by stream let another stream through, or held its own back")
            await by_both.take("odd", meaning="a filter by type and stream must hold both")
            await everything.take("a p odd b s", in_order=False, meaning="a group without a filter gets everything")

    @promise(
        "EB-19",
        "Events come back byte for byte; one above max_event_bytes is AppendTooLargeError, and nothing of the call is published.",
        seeds=0,
    )
    async def test_eb_19_bytes_and_size(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            await self._payloads(harness, bus.publish_events, consumer)
            most = bus.capabilities.max_event_bytes
            if most > _MOST_BYTES_TRIED:
                return
            for number, over in enumerate(_of_size(harness, "over", most + 1), 1):
                await _is_refused(bus, harness.events(f"x a{number} b{number} c{number}"), recorded(stream_id("y"), number, 900, over))
            large = [recorded(stream_id("y"), number, 901, event) for number, event in enumerate(_of_size(harness, "large", most), 4)]
            await bus.publish_events(large)
            await consumer.take("large1 large2 large3", meaning="an event of a refused call was published, or a largest legal one was not")

    async def _payloads(
        self, harness: BusHarness, publish: Callable[[Sequence[RecordedEvent]], Awaitable[None]], consumer: TestedSubscription
    ) -> None:
        for number, text in enumerate(PAYLOADS, 1):
            event = harness.labels.with_data(f"payload{number}", text.encode(), PAYLOADS[-number].encode())
            published = recorded(stream_id("p"), number, 500 + number, event)
            await publish([published])
            delivery = await consumer.receive()
            await consumer.ack(delivery)
            unchanged(published, delivery)


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


def _of_size(harness: BusHarness, label: str, size: int) -> tuple[NewEvent, ...]:
    """Return three events of so many bytes: in the data, in characters of several bytes, and in the metadata."""
    two_bytes, rest = divmod(size - 12, 2)
    return (
        harness.labels.sized(f"{label}1", size),
        harness.labels.with_data(f"{label}2", b'{"pad":"' + "é".encode() * two_bytes + b"x" * rest + b'"}'),
        harness.labels.with_data(f"{label}3", b"{}", b'{"pad":"' + b"x" * (size - 12) + b'"}'),
    )


async def _is_refused(bus: TestedBus, others: Sequence[RecordedEvent], over: RecordedEvent) -> None:
    """Publish an event that is too large, at every position within a call."""
    for place in range(len(others) + 1):
        try:
            await bus.publish_events([*others[:place], over, *others[place:]])
        except AppendTooLargeError:
            continue
        raise MismatchError(
            expected="AppendTooLargeError", got="no error", meaning=f"max_event_bytes is {bus.capabilities.max_event_bytes}"
        )


def unchanged(published: RecordedEvent, delivery: Delivery) -> None:
    """Expect a delivery to equal the published event, field by field."""
    problem = difference(published, delivery.event)
    if problem is not None:
        raise MismatchError(expected="every field as published", got=problem, meaning="a bus carries events: it changes nothing in them")


async def _take(consumer: TestedSubscription, count: int) -> list[Delivery]:
    deliveries: list[Delivery] = []
    for _ in range(count):
        delivery = await consumer.receive()
        await consumer.ack(delivery)
        deliveries.append(delivery)
    return deliveries


def _in_order(harness: BusHarness, deliveries: list[Delivery], stream: str, labels: str) -> None:
    shown = harness.labels.show(delivery.event for delivery in deliveries if delivery.event.stream == stream_id(stream))
    if shown != f"[{labels}]":
        raise MismatchError(expected=f"[{labels}] of {stream}", got=shown, meaning="a stream's events came in another order than published")


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
