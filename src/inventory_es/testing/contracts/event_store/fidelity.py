"""ES-28 … ES-30, ES-70, ES-76 … ES-78: events come back byte for byte, and every stream id is a stream of its own."""

import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import NewEvent, StreamCatalogue, StreamWrite
from inventory_es.ports.errors import AppendTooLargeError
from inventory_es.testing.contracts.core.event_labels import event_id, stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.append_program import AppendProgram, in_pieces
from inventory_es.testing.contracts.event_store.comparison import Comparison
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.hostile_values import EVENT_TYPES, INSTANTS, OBJECTS, PAYLOADS, SCHEMA_VERSIONS, STREAMS
from inventory_es.testing.contracts.event_store.reference_model import ReferenceModel
from inventory_es.testing.contracts.event_store.tested_store import ALL, TestedStore
from inventory_es.testing.promise import promise

_MEBIBYTE = 1 << 20
_MOST_BYTES_TRIED = 16 << 20
_STEPS = 40
_LONG = 1_050
_MOST = 2**63 - 1
"""The largest limit and place of a request."""
_ROUND = (10, 16, 20, 25, 32, 50, 64, 100, 128, 200, 250, 256, 500, 512, 1_000, 1_024)
"""Page lengths that backends and their authors like to use."""
_SHAPES = ("data", "metadata", "letters")


class FidelityCases:
    """Cases of bytes and names."""

    @promise("ES-28", "Payload and metadata come back byte for byte: separators, NUL escaped, astral, empty, ±2^53, zoned times.")
    async def test_es_28_payloads_come_back_byte_for_byte(self, harness: StoreHarness) -> None:
        events = [
            harness.labels.with_data(f"payload{number}", text.encode(), PAYLOADS[-1 - number].encode())
            for number, text in enumerate(PAYLOADS)
        ]
        async with harness.open() as store:
            events = [event for event in events if event.size <= store.capabilities.max_event_bytes]
            await store.append(StreamWrite(stream_id("x"), 0, events), meaning="every JSON object is a payload")
            await harness.holds(store, "x", events, meaning="a store keeps bytes: it does not read, normalise or print them again")
            if store.has_feed:
                labels = " ".join(harness.labels.label(event) for event in events)
                await harness.feed_holds(store, labels, meaning="the feed gives other bytes than the stream")
            found = await store.find("x", [event.event_id for event in events])
            expect(
                that=[event.data for event in found] == [event.data for event in events],
                expected="the bytes as written",
                got="others",
                meaning="find_events gives other bytes than the stream",
            )
            survives = store.capabilities.durability != "none"
        if survives:
            async with harness.open() as store:
                await harness.holds(store, "x", events, meaning="after reopening, the bytes are others")

    @promise("ES-29", "An event of 1 MiB comes back, or of the declared maximum; above the maximum is AppendTooLargeError.", seeds=0)
    async def test_es_29_a_large_event(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            most = store.capabilities.max_event_bytes
            fitting = min(most, _MEBIBYTE, store.capabilities.max_append_bytes)
            large = harness.labels.sized("large", fitting)
            await store.append(StreamWrite(stream_id("x"), 0, [large]), meaning=f"{fitting} bytes are within what the store declares")
            await harness.holds(store, "x", "large", meaning="a large event did not come back whole")
            if most <= _MOST_BYTES_TRIED:
                over = StreamWrite(stream_id("x"), 1, [harness.labels.event("a"), harness.labels.sized("over", most + 1)])
                error = await store.refused(AppendTooLargeError, over, meaning=f"max_event_bytes is {most}")
                expect(that=error.actual > error.limit, expected="actual above limit", got=error, meaning="the refusal says what to change")
                await harness.holds(store, "x", "large", meaning="an append with an event over the maximum was written")

    @promise(
        "ES-30",
        "Hostile stream ids round-trip and stay distinct: case, normal form, dashes, percent, dots, slashes, reserved names.",
        seeds=0,
    )
    async def test_es_30_hostile_stream_ids(self, harness: StoreHarness) -> None:
        streams = list(STREAMS)
        async with harness.open() as store:
            for number, stream in enumerate(streams):
                event = harness.labels.event(f"h{number}")
                await store.append(StreamWrite(stream, 0, [event]), meaning="another stream id, another stream, which is new")
            await _all_distinct(harness, store, streams)
            survives = store.capabilities.durability != "none"
        if survives:
            async with harness.open() as store:
                await _all_distinct(harness, store, streams)

    @promise(
        "ES-70",
        "After any program of appends, every way of reading shows the same records, field by field, type by type and flag by flag.",
        seeds=1,
    )
    async def test_es_70_every_way_of_reading(self, harness: StoreHarness) -> None:
        model = ReferenceModel()
        async with harness.open() as store, AsyncExitStack() as others:
            instances = [Comparison(harness, store, model)]
            survives = store.capabilities.durability != "none"
            if survives and store.capabilities.multi_process:
                instances.append(Comparison(harness, await others.enter_async_context(harness.open()), model))
            await AppendProgram(instances, random.Random(f"ES-70:{harness.run.seed}")).run(_STEPS)
            for comparison in instances:
                await comparison.everything()
        if survives:
            async with harness.open() as store:
                await Comparison(harness, store, model).everything()

    @promise(
        "ES-70",
        "Each legal value of a field comes back as it was, in every way of reading: type, schema version, time, payload, metadata.",
        seeds=0,
    )
    async def test_es_70_every_field(self, harness: StoreHarness) -> None:
        model = ReferenceModel()
        async with harness.open() as store:
            comparison = Comparison(harness, store, model)
            events = [event for event in _events_of_every_field(harness) if event.size <= store.capabilities.max_event_bytes]
            for write in in_pieces(stream_id("x"), 0, events, store.capabilities):
                await comparison.append([write])
            await comparison.everything(limits=(7, ALL))
            survives = store.capabilities.durability != "none"
        if survives:
            async with harness.open() as store:
                await Comparison(harness, store, model).everything(limits=(ALL,))

    @promise(
        "ES-76",
        "What a caller passed or got is the caller's: what it does with it later changes nothing stored, and a page does not change.",
    )
    async def test_es_76_nothing_is_shared(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            room = min(2, store.capabilities.max_append_events)
            comparison = Comparison(harness, store, ReferenceModel())
            passed = harness.labels.events("a b")[:room]
            writes = [StreamWrite(stream_id("x"), 0, passed)]
            await comparison.append([StreamWrite(stream_id("x"), 0, tuple(passed))])
            await comparison.append(writes)
            passed[:] = harness.labels.events("p q r")
            writes[:] = [StreamWrite(stream_id("y"), 0, passed)]
            await comparison.everything()
            fresh = harness.labels.events("c d")[:room]
            result = await store.append(StreamWrite(stream_id("x"), room, fresh))
            comparison.model.append([StreamWrite(stream_id("x"), room, tuple(fresh))])
            fresh.clear()
            await comparison.everything()
            page, back = await store.page("x", limit=100), await store.page_backwards("x", limit=100)
            found = await store.find("x", [event_id("a"), event_id("c")])
            fed = (await store.feed_page(limit=100)).events if store.has_feed else ()
            before = [*page.events], [*back.events], [*found], [*fed], dict(result.versions)
            await comparison.append([StreamWrite(stream_id("x"), 2 * room, harness.labels.events("e"))])
            await comparison.append([StreamWrite(stream_id("z"), 0, harness.labels.events("s"))])
            after = [*page.events], [*back.events], [*found], [*fed], dict(result.versions)
            for name, one, other in zip(("page", "page backwards", "find", "feed page", "answer"), before, after, strict=True):
                expect(that=one == other, expected=f"{len(one)} as before", got=len(other), meaning=f"a {name} changes under its reader")
            page, back = await store.page("x"), await store.page_backwards("x")
            for events in (page.events, back.events, await store.find("x", [event_id("a"), event_id("c")]), fed):
                if isinstance(events, list):
                    events.reverse()
                    del events[-1:]
            await comparison.everything()

    @promise(
        "ES-78",
        "A size is bytes of data and metadata: an event and an append of exactly a declared maximum are taken, of one byte more refused.",
        seeds=0,
    )
    async def test_es_78_sizes_are_bytes(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            declared, comparison = store.capabilities, Comparison(harness, store, ReferenceModel())
            most = min(declared.max_event_bytes, declared.max_append_bytes)
            if most <= _MOST_BYTES_TRIED:
                for number, shape in enumerate(_SHAPES):
                    event = harness.labels.add(f"exact{number}", _of_size(shape, event_id(f"exact{number}"), most))
                    await comparison.append([StreamWrite(stream_id("x"), number, [event])])
                    await comparison.append([StreamWrite(stream_id("x"), number, [event])])
                    for place in (3, len(event.data) // 2, len(event.data) - 3):
                        other = attrs.evolve(event, data=_with_another_letter(event.data, place))
                        await comparison.append([StreamWrite(stream_id("x"), number, [other])])
                    over = StreamWrite(stream_id("y"), 0, [_of_size(shape, event_id(f"over{number}"), most + 1)])
                    await store.refused(AppendTooLargeError, over, meaning=f"the event has {most + 1} bytes, {most} is the most")
                await comparison.stream(stream_id("x"), limits=(1, ALL))
                await comparison.ids(stream_id("x"))
                await comparison.feed()
            if declared.max_append_bytes <= _MOST_BYTES_TRIED and declared.max_append_events > 1 and most < declared.max_append_bytes:
                await self._whole_append(store, most)
            await harness.holds(store, "y", "", meaning="an append over a declared maximum was written")

    async def _whole_append(self, store: TestedStore, most: int) -> None:
        """Fill an append to its last byte, with events of one or of two streams."""
        declared = store.capabilities
        count = declared.max_append_bytes // most + 1
        if count > declared.max_append_events:
            return  # the other maximum comes first
        each = declared.max_append_bytes // count
        sizes = [each] * (count - 1) + [declared.max_append_bytes - each * (count - 1)]
        for number, more in enumerate((0, 1)):
            events = [
                _of_size(_SHAPES[at % len(_SHAPES)], event_id(f"fill{number}.{at}"), size + (more if at == 0 else 0))
                for at, size in enumerate(sizes)
            ]
            writes = [StreamWrite(stream_id("v"), 0, events)]
            if declared.multi_stream:
                writes = [StreamWrite(stream_id("v"), 0, events[:1]), StreamWrite(stream_id("w"), 0, events[1:])]
            if not more:
                await store.append(*writes, meaning=f"{declared.max_append_bytes} bytes are what the store declares")
                again = await store.append(*writes, meaning="a full append is stored as it is sent")
                expect(that=again.replayed, expected="replayed", got=again, meaning="a full append that was sent again is not recognised")
            elif max(sizes) < most:
                await store.refused(AppendTooLargeError, *writes, meaning=f"one byte more than {declared.max_append_bytes}")

    @promise(
        "ES-77",
        "Any limit, range and number of ids may be asked for: far above a page, far past the end, and thousands of ids at once.",
        seeds=0,
    )
    async def test_es_77_large_questions(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            comparison = Comparison(harness, store, ReferenceModel())
            events = [harness.labels.event(f"n{number}") for number in range(_LONG if store.capabilities.max_append_events > 5 else 200)]
            for write in in_pieces(stream_id("x"), 0, events, store.capabilities):
                await comparison.append([write])
            await comparison.append([StreamWrite(stream_id("y"), 0, harness.labels.events("n7"))])
            for limit in (1_001, 2**32 + 1):
                await comparison.stream(stream_id("x"), limits=(limit,))
            for limit in (2**31, _MOST):
                await comparison.forward(stream_id("x"), after=0, limit=limit)
                await comparison.backwards(stream_id("x"), before=None, limit=limit)
            await comparison.feed(limits=(2**32 + 1, _MOST))
            await self._many_streams(comparison)
            await _round_numbers(comparison)
            await comparison.feed(after=comparison.model.positions.get((stream_id("y"), 1), 0), limits=(2**31,))
            for limit in (1_000, 1_001, 2**32 + 1, _MOST):
                await comparison.catalogue("", limit=limit)
            for far in (len(events), len(events) + 1, 10_000, 2**31, 2**32 + 1, 2**53 + 1, _MOST):
                await comparison.forward(stream_id("x"), after=far, limit=3)
                await comparison.backwards(stream_id("x"), before=far, limit=2**31, pages=1)
                if store.has_feed:
                    head = await store.head()
                    await comparison.feed(after=min(head + far, _MOST), limits=(3,))
            asked = [event.event_id for event in events]
            for ids in (asked[::-1], asked[:999], asked[:1_001], [*asked, *asked, *map(event_id, "abc"), asked[0]]):
                await comparison.ids(stream_id("x"), ids)
                await comparison.ids(stream_id("y"), ids)

    async def _many_streams(self, comparison: Comparison) -> None:
        """Append to as many streams at once as one append may, so that the catalogue is longer than a page."""
        declared = comparison.store.capabilities
        if not declared.multi_stream:
            return
        events = [comparison.harness.labels.event(f"s{number}") for number in range(min(_LONG, declared.max_append_events))]
        writes = [StreamWrite(stream_id(f"s{number}"), 0, [event]) for number, event in enumerate(events)]
        if comparison.store.fits(writes):
            await comparison.append(writes)
            await comparison.append(writes[:150])
            await comparison.stream(stream_id("s7"))


async def _round_numbers(comparison: Comparison) -> None:
    """Ask for as many of the last events and streams as a backend's page may hold. A full page at the end says that it is the end."""
    model, x = comparison.model, stream_id("x")
    await comparison.feed()
    names = sorted(model.streams)
    for left in (left for left in _ROUND if left < model.version(x)):
        await comparison.page(x, after=model.version(x) - left, limit=ALL)
        await comparison.page_backwards(x, before=left + 1, limit=ALL)
        before = model.feed[-1 - left]
        if comparison.store.has_feed:
            await comparison.feed_page(after=model.positions[before.stream, before.version], limit=ALL)
        if isinstance(comparison.store.raw, StreamCatalogue) and left < len(names):
            await comparison.catalogue_page("", after=names[-1 - left], limit=ALL)


def _with_another_letter(data: bytes, place: int) -> bytes:
    """Return the payload with one ASCII letter changed, the last one up to an index, so that it has the same size."""
    while not data[place : place + 1].isalpha():
        place -= 1
    return data[:place] + (b"y" if data[place : place + 1] != b"y" else b"z") + data[place + 1 :]


def _of_size(shape: str, event_id: UUID, size: int) -> NewEvent:
    """Return an event of exactly ``size`` bytes: in its data, in its metadata, or in letters of four bytes."""
    data, metadata = b'{"pad":""}', b'{"pad":""}'
    room = size - len(data) - len(metadata)
    if shape == "metadata":
        metadata = b'{"pad":"' + b"x" * room + b'"}'
    else:
        letters = "\U0001f600" * (room // 4) + "x" * (room % 4) if shape == "letters" else "x" * room
        data = b'{"pad":"' + letters.encode() + b'"}'
    return NewEvent(event_id, "ContractCheckedEvent", 1, INSTANTS[0], data, metadata)


def _events_of_every_field(harness: StoreHarness) -> Iterator[NewEvent]:
    """Yield events with different values in every field. The last ones have fields of subclasses, as hosts and their tests make them."""
    base = harness.labels.event("base")
    changes: list[dict[str, Any]] = [{"event_type": name} for name in EVENT_TYPES]
    changes += [{"schema_version": version} for version in dict.fromkeys(SCHEMA_VERSIONS)]
    changes += [{"recorded_at": at} for at in INSTANTS]
    changes += [{"data": text, "metadata": OBJECTS[-1 - number]} for number, text in enumerate(OBJECTS)]
    changes += [{"event_id": UUID(int=number)} for number in (0, 1, 1 << 127, (1 << 128) - 1, 1 << 64, 1 << 63)]
    changes += [{"event_type": _Text("ATypeOfASubclass")}, {"data": _Bytes(b'{"of":"a subclass"}'), "metadata": _Bytes(b"{}")}]
    changes += [{"recorded_at": _Instant(2026, 1, 5, 9, 0, 0, 123_456, tzinfo=UTC)}]
    for number, change in enumerate(changes):
        name = f"f{number}"
        yield harness.labels.add(name, attrs.evolve(base, **({"event_id": event_id(name)} | change)))


class _Text(str):
    __slots__ = ()


class _Bytes(bytes):
    __slots__ = ()


class _Instant(datetime): ...


async def _all_distinct(harness: StoreHarness, store: TestedStore, streams: list[StreamId]) -> None:
    for number, stream in enumerate(streams):
        await harness.holds(store, stream, f"h{number}", meaning="two stream ids are one stream, or an id did not come back as it was")
