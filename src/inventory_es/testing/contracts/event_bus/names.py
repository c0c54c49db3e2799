"""EB-29, EB-30, EB-36, EB-39, EB-01: groups, filters, streams, ids and fields are distinguished exactly."""

from collections.abc import Collection
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import anyio
import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent
from inventory_es.testing.contracts.core.event_labels import EVENT_TYPE, event_id, stream_id
from inventory_es.testing.contracts.event_bus.consumers import Crew
from inventory_es.testing.contracts.event_bus.harness import BusHarness, TestedBus
from inventory_es.testing.promise import MismatchError, promise

_GROUPS = (
    "g", "G", "g ", " g", "gg", "g.", "g:1", "g*", "*", ">", "g>", "#", "a/b", "a\\b", "../g", "%", "%67", "é", "e\u0301", "É",
    "ｇ", "g\n", "-", "g\0", "g\0x", "a_b", "a:b", "a.b", "a-b", "🜁", "null", "0", "x" * 128, "x" * 127 + "y", "X" * 128, "🜁" * 128,
)  # fmt: skip
_MOST_PUBLISHED_TRIED = 2_000
_MOST_IN_FILTER = 100
_LONG_TYPE = "T" * 127
_TYPES = (
    EVENT_TYPE,
    EVENT_TYPE.lower(),
    EVENT_TYPE + "V2",
    EVENT_TYPE[:-5],
    "*",
    _LONG_TYPE + "a",
    _LONG_TYPE + "b",
    _LONG_TYPE + "A",
    " ",
    EVENT_TYPE + " ",
    f"{EVENT_TYPE},{EVENT_TYPE}V2",
    *(f"{EVENT_TYPE[:3]}{wildcard}{EVENT_TYPE[4:]}" for wildcard in "_.?"),
)
_STREAMS = (
    StreamId("contract", "a"), StreamId("contract", "A"), StreamId("contract", "a", "b"), StreamId("contract", "a-b"),
    StreamId("contract", "ab"), StreamId("contract_2", "a"), StreamId("contract", "*"), StreamId("contract", ">"),
    StreamId("contract", "a "),
    StreamId("contract", "é"), StreamId("contract", "e\u0301"), StreamId("contract", "%"), StreamId("contract", *("x" * 128,) * 16),
    StreamId("contract", *("x" * 128,) * 15, "x" * 127 + "y"), StreamId("c", "0f8fad5b-d9cb-469f-a165-70867728950e"),
)  # fmt: skip
_TIMES = (
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2999, 12, 31, 23, 59, 59, 100_000, tzinfo=UTC),
)
_FIELDS = "What is published is received, field by field, as attempt 1."
_NAMES = (
    "Names are exact: groups, types and streams that differ in case, length, form or wildcards are others; an empty filter takes nothing."
)
_THE_CALLERS = "What a call is given stays as it was, and may change after the call; what it answered stays as it is."
_TWO_STREAMS = (
    "An event is told by its stream and id: one id in two streams is two events, delivered, answered and given up each for itself."
)


class NameCases:
    """Cases of names and fields."""

    @promise("EB-01", _FIELDS)
    async def test_eb_01_every_field(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g") as consumer:
            for number, stream in enumerate(_STREAMS):
                time, large = _TIMES[number % len(_TIMES)], (number + 1, 2**31 + number, 2**53 + 1 + 2 * number)[number % 3]
                event = harness.record(f"f{number}", stream, event_type=_TYPES[number % len(_TYPES)], recorded_at=time)
                event = attrs.evolve(event, version=large, position=(0, large)[number % 2], schema_version=number % 4 + 1)
                await bus.publish_events([event])
                await consumer.take(f"f{number}", meaning="every stream id and type can be published")

    @promise("EB-29", _NAMES, seeds=1)
    async def test_eb_29_groups(self, harness: BusHarness) -> None:
        async with harness.open() as bus, AsyncExitStack() as stack:
            consumers = [await stack.enter_async_context(bus.join(name)) for name in _GROUPS]
            await bus.publish("x a b")
            for number, consumer in enumerate(consumers):
                delivery = await consumer.receive()
                for attempt in range(1, bus.capabilities.max_deliveries + 1 if number % 2 else 1):
                    await consumer.nack(delivery, f"failure {attempt}")
                    delivery = await consumer.receive()
                await consumer.ack(delivery)
            for consumer in consumers:
                await consumer.finish()
                await bus.dead_letters(consumer.group)
            for consumer in consumers[::3]:
                await bus.redeliver(consumer.group, harness.events("x a b"))
            await bus.publish("x c")
            for consumer in reversed(consumers):
                await bus.dead_letters(consumer.group)
                await consumer.finish()

    @promise("EB-29", _NAMES, seeds=0)
    async def test_eb_29_types(self, harness: BusHarness) -> None:
        filters: list[Collection[str]] = [[kind] for kind in _TYPES]
        filters += [[*(f"Type{number}" for number in range(_MOST_IN_FILTER)), *_TYPES[::2]]]
        filters += [[], (), set(_TYPES[:3]), frozenset(_TYPES[3:]), (_TYPES[0], _TYPES[0]), dict.fromkeys(_TYPES)]
        events = [harness.record(f"t{number}", stream_id("x"), event_type=kind) for number, kind in enumerate((*_TYPES, *_TYPES[::-1]))]
        async with harness.open() as bus, anyio.create_task_group() as tasks:
            crew = Crew(bus, tasks)
            for number, kinds in enumerate(filters):
                await crew.join(f"types {number}", types=kinds)
            await crew.join("types and streams", types=_TYPES[:2], streams=[stream_id("y")])
            await _come_where_they_must(bus, crew, events)

    @promise("EB-29", _NAMES, seeds=0)
    async def test_eb_29_streams(self, harness: BusHarness) -> None:
        filters: list[Collection[StreamId]] = [[stream] for stream in _STREAMS]
        filters += [[*(stream_id(f"nobody {number}") for number in range(_MOST_IN_FILTER)), *_STREAMS[::2]]]
        filters += [[], set(_STREAMS[:5]), _STREAMS[5:], [stream_id("nobody publishes here")]]
        events = [harness.record(f"s{number}", stream) for number, stream in enumerate((*_STREAMS, *_STREAMS[::-1]))]
        async with harness.open() as bus, anyio.create_task_group() as tasks:
            crew = Crew(bus, tasks)
            for number, streams in enumerate(filters):
                await crew.join(f"streams {number}", streams=streams)
            await _come_where_they_must(bus, crew, events)

    @promise("EB-29", _NAMES, seeds=0)
    async def test_eb_29_what_is_held_by_a_filter_fills_no_group(self, harness: BusHarness) -> None:
        async with harness.open() as bus, bus.join("g", types=["OtherEvent"]) as consumer:
            most = bus.capabilities.max_pending
            if most > _MOST_PUBLISHED_TRIED:
                harness.run.not_declared(f"a max_pending of at most {_MOST_PUBLISHED_TRIED}: open the bus with a small one")
            with anyio.move_on_after(harness.contract.patience_for_delivery) as scope:
                for number in range(most + 3):
                    await bus.publish(f"x a{number}")
            if scope.cancelled_caught:
                expected = f"{most + 3} publishes of a type that the only group does not take"
                raise MismatchError(expected=expected, got="one waits", meaning="max_pending counts what a group has still to get")
            await bus.publish_events([harness.record("odd", stream_id("x"), event_type="OtherEvent")])
            await consumer.take("odd", meaning="what the filter takes comes after what it does not")

    @promise("EB-30", _TWO_STREAMS)
    async def test_eb_30_one_id_in_two_streams(self, harness: BusHarness) -> None:
        streams = (stream_id("x"), stream_id("X"), StreamId("contract_2", "x"))
        events = [
            harness.record(f"i{number}{place}", stream, event_id=event_id(f"shared {number}"))
            for number in range(3)
            for place, stream in enumerate(streams)
        ]
        async with harness.open() as bus, bus.join("g") as consumer, bus.join("one", streams=streams[1:2]) as one:
            for batch in (events[:2], events[2:3], events[3:6]):
                await bus.publish_events(batch)
            await consumer.drain()
            await one.drain()
            await bus.publish_events(events[6:])
            while not consumer.model.is_drained:
                delivery = await consumer.receive()
                await (consumer.ack(delivery) if delivery.event.stream == streams[1] else consumer.nack(delivery, "failed"))
            await bus.dead_letters("g")
            await bus.redeliver("g", events[6:])
            await consumer.drain()
            await one.drain()
            await bus.dead_letters("g")

    @promise("EB-39", "Two buses at two sites know nothing of each other, whatever has the same name.")
    async def test_eb_39_another_site(self, harness: BusHarness) -> None:
        async with harness.open() as bus, harness.open_elsewhere() as elsewhere:
            async with bus.join("g"), elsewhere.join("g"):
                pass
            for each, text in ((bus, "x a b"), (elsewhere, "x c d")):
                await each.publish(text)
            for each in (bus, elsewhere):
                async with each.join("g") as consumer:
                    for _ in range(each.capabilities.max_deliveries):
                        await consumer.nack(await consumer.receive(), "failed")
                    await consumer.drain()
            for each in (bus, elsewhere):
                await each.dead_letters("g")
            await elsewhere.redeliver("g", harness.events("x a c"))
            await elsewhere.close()
            await bus.redeliver("g", harness.events("x a c"))
            async with bus.join("g") as consumer:
                await consumer.drain()

    @promise("EB-36", _THE_CALLERS)
    async def test_eb_36_arguments_and_answers(self, harness: BusHarness) -> None:
        """Empty the lists of each call after it, and compare each answer once more at the end."""
        async with harness.open() as bus, bus.join("g", types=[EVENT_TYPE], streams=["x", "y"]) as consumer, bus.join("h") as other:
            for number in range(3):
                await bus.publish(f"x a{number} b{number}", f"y p{number}", f"z s{number}")
                await bus.dead_letters("g")
                for _ in range(bus.capabilities.max_deliveries):
                    await consumer.nack(await consumer.receive(), "failed")
                await consumer.finish()
                await other.finish()
                await bus.dead_letters("g")
                await bus.redeliver("g", harness.events(f"x a{number} b{number}") + harness.events(f"y p{number}"))
                await consumer.finish()


async def _come_where_they_must(bus: TestedBus, crew: Crew, events: list[RecordedEvent]) -> None:
    most = max(1, bus.capabilities.max_pending // 4)
    for first in range(0, len(events), most):
        await bus.publish_events(events[first : first + most])
        await crew.drain()
    await crew.leave_all()
