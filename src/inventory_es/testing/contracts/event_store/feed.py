"""ES-33 … ES-36, ES-73 … ES-75: the order of the feed. Subscriptions over it have their own cases (ES-37 …)."""

import random
from contextlib import AsyncExitStack

import anyio

from inventory_es.ports import RecordedEvent, StreamWrite
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.testing.contracts.core.event_labels import stream_id, stream_name
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.append_program import of_another_schema_version
from inventory_es.testing.contracts.event_store.comparison import Comparison
from inventory_es.testing.contracts.event_store.harness import StoreHarness, wrong_positions
from inventory_es.testing.contracts.event_store.hostile_values import STREAMS, some_streams
from inventory_es.testing.contracts.event_store.reference_model import ReferenceModel
from inventory_es.testing.contracts.event_store.tested_store import ALL, TestedStore
from inventory_es.testing.promise import MismatchError, promise

_WRITERS = 8
_ROUNDS = 4
_WASTED = 6
_LONGEST_WAIT = 10.0
_SOME = 40


class FeedCases:
    """Cases of the feed."""

    @promise("ES-33", "Positions strictly increase over the whole store, each event once, by any page size.")
    async def test_es_33_positions_increase(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.has_feed:
                result = await store.append("x@0 a")
                position = (await store.page("x")).events[0].position
                expect(
                    that=(result.position, position) == (0, 0),
                    expected="position 0 everywhere",
                    got=f"result {result.position}, event {position}",
                    meaning="a store without a feed has no positions to show",
                )
                harness.run.not_declared("feed='total'")
            expect(that=await store.head() == 0, expected="head 0", got="another", meaning="0 is before everything")
            await _is_value_error(store)
            await store.append("x@0 a b")
            await store.append("y@0 p")
            await store.append("x@2 c d")
            await harness.feed_holds(store, "a b p c d", meaning="the feed has every event once, in the order of the appends")
            whole = await store.whole_feed()
            expect(
                that=await store.head() == whole[-1].position,
                expected=f"head {whole[-1].position}",
                got=await store.head(),
                meaning="the head is the position of the newest event",
            )
            await _pages_join(harness, store, whole)
            await _streams_show_positions(store, whole)
            await _is_value_error(store)
            seen = await store.feed.wait_for_position(whole[-1].position, timeout=harness.contract.patience)
            expect(that=seen, expected="True at once", got=seen, meaning="the position is there already")

    @promise("ES-34", "No skips under concurrent writers: whoever follows the feed gets exactly what was appended.", seeds=8)
    async def test_es_34_a_reader_that_follows_skips_nothing(self, harness: StoreHarness) -> None:
        async with harness.open() as store, AsyncExitStack() as instances:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            writers = [store]
            if store.capabilities.multi_process:
                writers.append(await instances.enter_async_context(harness.open()))
            written: list[str] = []
            followed: list[RecordedEvent] = []
            all_written = anyio.Event()

            async def write_all() -> None:
                async with anyio.create_task_group() as tasks:
                    for number in range(_WRITERS):
                        tasks.start_soon(_write, writers[number % len(writers)], f"s{number}", written)
                all_written.set()

            async def follow() -> None:
                after = 0
                while True:
                    last_round = all_written.is_set()
                    page = await store.feed_page(after=after, limit=3)
                    followed.extend(page.events)
                    after = page.next_after
                    if page.is_end and last_round:
                        return
                    await harness.run.schedule.pause()
                    await anyio.lowlevel.checkpoint()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                tasks.start_soon(write_all)
            _followed_all(harness, followed, written)

    @promise("ES-35", "Stream order agrees with feed order.", seeds=6)
    async def test_es_35_stream_order_agrees_with_feed_order(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            written: list[str] = []
            async with anyio.create_task_group() as tasks:
                for number in range(4):
                    tasks.start_soon(_write, store, f"s{number % 2}", written, f"w{number}")
            versions: dict[str, int] = {}
            for event in await store.whole_feed():
                name = stream_name(event.stream)
                expect(
                    that=event.version == versions.get(name, 0) + 1,
                    expected=f"version {versions.get(name, 0) + 1} of {name} next",
                    got=f"version {event.version} at position {event.position}",
                    meaning="a projection would apply a stream's events in another order than they happened",
                )
                versions[name] = event.version

    @promise("ES-36", "Positions stay valid after reopening.")
    async def test_es_36_positions_after_reopening(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            harness.need(store, durable=True)
            await store.append("x@0 a b")
            await store.append("y@0 p")
            before = await store.whole_feed()
        async with harness.reopened() as store:
            after = await store.whole_feed()
            expect(
                that=after == before,
                expected=str([event.position for event in before]),
                got=str([event.position for event in after]),
                meaning="a checkpoint kept from before reopening points elsewhere",
            )
            await store.append("x@2 c")
            rest = await store.whole_feed(after=before[-1].position)
            expect(
                that=harness.labels.show(rest) == "[c]",
                expected="[c]",
                got=harness.labels.show(rest),
                meaning="who goes on from a checkpoint kept from before reopening misses or repeats an event",
            )

    @promise(
        "ES-73",
        "The feed goes on, page by page and from every position, after refused, replayed and cancelled appends and over gaps in positions.",
        seeds=0,
    )
    async def test_es_73_over_refusals_and_gaps(self, harness: StoreHarness) -> None:
        model = ReferenceModel()
        async with harness.open() as store:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            comparison = Comparison(harness, store, model)
            cursor = 0
            for number in range(2):
                await _new(comparison, f"x{number}", f"a{number}")
                await _waste_positions(comparison, f"n{number}")
                await _new(comparison, "y", f"b{number}")
                cursor = await comparison.feed(after=cursor, limits=(1,))
            await _from_everywhere(comparison)
            if store.capabilities.durability != "none" and store.capabilities.multi_process:
                async with harness.open() as other:
                    await _new(Comparison(harness, other, model), "x0", "other")
                    await comparison.feed(after=cursor)
                    await _from_everywhere(Comparison(harness, other, model))
            survives = store.capabilities.durability != "none"
        if survives:
            async with harness.open() as store:
                comparison = Comparison(harness, store, model)
                await _from_everywhere(comparison)
                await _waste_positions(comparison, "again")
                await _new(comparison, "y", "late")
                await comparison.feed(after=cursor, limits=(1, 2))

    @promise("ES-74", "A wait for a position is over by its timeout if nothing comes, and before it if the position is reached.", seeds=0)
    async def test_es_74_waiting(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            await _waited(harness, store, 0, timeout=harness.contract.patience, meaning="0 is before everything, and the wait does not end")
            for timeout in (0, 0.01, 0.1):
                await _waited(harness, store, 1, timeout=timeout, meaning="nothing comes, and the wait outlasts its timeout")
            await store.append("x@0 a")
            head = await store.head()
            for position in (head + 1, head + 1_000):
                await _waited(harness, store, position, timeout=0.1, meaning="nothing comes, and the wait outlasts its timeout")
            writers = [store]
            async with AsyncExitStack() as instances:
                if store.capabilities.durability != "none" and store.capabilities.multi_process:
                    writers.append(await instances.enter_async_context(harness.open()))
                version = 1
                for writer in writers:
                    for ahead in (1, 3):
                        version = await _reached_while_waiting(harness, store, writer, ahead, version)

    @promise("ES-75", "The feed and every read hold each legal stream id and category, and an id that two streams hold twice.", seeds=0)
    async def test_es_75_every_stream_id(self, harness: StoreHarness) -> None:
        model = ReferenceModel()
        streams = [*STREAMS, *some_streams(random.Random("ES-75"), _SOME)]
        async with harness.open() as store:
            comparison = Comparison(harness, store, model)
            shared = harness.labels.event("shared")
            for number, stream in enumerate(streams):
                event = shared if number % 3 == 0 else harness.labels.event(f"h{number}")
                await comparison.append([StreamWrite(stream, 0, [event])])
            await comparison.append([StreamWrite(streams[-1], 1, harness.labels.events("more"))])
            await comparison.everything(limits=(7, ALL))
            survives = store.capabilities.durability != "none"
        if survives:
            async with harness.open() as store:
                await Comparison(harness, store, model).everything(limits=(ALL,))


async def _new(comparison: Comparison, name: str, label: str) -> None:
    """Append two events where an append may have two."""
    count = min(2, comparison.store.capabilities.max_append_events)
    events = [comparison.harness.labels.event(f"{label}{letter}") for letter in "ab"[:count]]
    await comparison.append([StreamWrite(stream_id(name), comparison.model.version(stream_id(name)), events)])


async def _waste_positions(comparison: Comparison, name: str) -> None:
    """Send more appends without new events than a small page has places: conflicts, collisions, replays, cancelled ones."""
    store, model, labels, y = comparison.store, comparison.model, comparison.harness.labels, stream_id("y")
    first = next(iter(model.streams))
    (stored,) = model.streams[first][:1]
    for number in range(_WASTED):
        await comparison.append([StreamWrite(first, model.version(first) + 1, [labels.event(f"{name}c{number}")])])
        await comparison.append([StreamWrite(first, 0, [of_another_schema_version(stored)])])
        await comparison.append([StreamWrite(first, 0, [stored])])
        if store.capabilities.multi_stream and store.capabilities.max_append_events > 1:
            new = StreamWrite(y, model.version(y), [labels.event(f"{name}m{number}")])
            conflict = StreamWrite(first, model.version(first) + 2, [labels.event(f"{name}k{number}")])
            await comparison.append([new, conflict])
        if store.has_group_commit:
            lost = StreamWrite(y, model.version(y) + 2, [labels.event(f"{name}g{number}")])
            await comparison.append_group([[lost], [StreamWrite(first, 0, [stored])]])
        await comparison.feed(limits=(100,))
    for point in range(_WASTED):
        await comparison.cancel([StreamWrite(y, model.version(y), [labels.event(f"{name}x{point}")])], point)


async def _from_everywhere(comparison: Comparison) -> None:
    """Compare the feed with several page sizes, from each position, and from within each gap."""
    await comparison.feed(limits=(1, 2, 3, 5, 100))
    positions = sorted(comparison.model.positions.values())
    within_gaps = {place for one in positions for place in (one - 1, one + 1)} - set(positions)
    for after in (*positions, *within_gaps):
        await comparison.feed(after=after, limits=(100,))


async def _waited(harness: StoreHarness, store: TestedStore, position: int, *, timeout: float, meaning: str) -> bool:
    """Wait for a position, and expect an end. Both answers are right, because a wait is a hint."""
    seen: object = None
    longest = min(_LONGEST_WAIT, harness.contract.patience / 2)
    with anyio.move_on_after(longest) as scope:
        call = store.feed.wait_for_position(position, timeout=timeout)
        seen = await store.call(f"wait for {position} at most {timeout} s", call, str)
    expected = "an end of the wait" + (f" after {timeout} s" if timeout < longest else "")
    expect(that=not scope.cancelled_caught, expected=expected, got=f"none after {longest:g} s", meaning=meaning)
    expect(that=type(seen) is bool, expected="True or False", got=repr(seen), meaning="a wait says whether the position was seen")
    return seen is True


async def _reached_while_waiting(harness: StoreHarness, store: TestedStore, writer: TestedStore, ahead: int, version: int) -> int:
    """Wait for a position that another task's appends reach, and return the version of x afterwards."""
    position = await store.head() + ahead

    async def follow() -> None:
        while await store.head() < position:
            await _waited(
                harness, store, position, timeout=harness.contract.patience, meaning="the position is reached, and the wait does not notice"
            )
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow)
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        while await store.head() < position:
            await writer.append(f"x@{version} v{version}")
            version += 1
    return version


async def _write(store: TestedStore, name: str, written: list[str], writer: str = "") -> None:
    version = 0
    for number in range(_ROUNDS):
        labels = f"{name}{writer}n{number} {name}{writer}m{number}"
        while True:
            try:
                await store.append(f"{name}@{version} {labels}")
            except ConcurrencyError as error:
                version = error.actual
            else:
                break
        version += 2
        written += labels.split()


def _followed_all(harness: StoreHarness, followed: list[RecordedEvent], written: list[str]) -> None:
    seen = [harness.labels.label(event) for event in followed]
    missed = [label for label in written if label not in set(seen)]
    if missed:
        raise MismatchError(
            expected=f"{len(written)} events",
            got=f"{len(seen)}, without {missed}",
            meaning="an event became visible behind the reader: skipped",
        )
    expect(
        that=len(seen) == len(written),
        expected=f"{len(written)} events",
        got=f"{len(seen)}",
        meaning="the reader got an event twice, or one that nobody appended",
    )
    difference = wrong_positions(followed)
    if difference is not None:
        raise MismatchError(expected="increasing positions", got=difference, meaning="who follows the feed goes backwards")


async def _pages_join(harness: StoreHarness, store: TestedStore, whole: list[RecordedEvent]) -> None:
    for size in (1, 2, 3, 5, 7):
        joined = await store.whole_feed(limit=size)
        expect(
            that=joined == whole,
            expected=harness.labels.show(whole),
            got=harness.labels.show(joined),
            meaning=f"pages of {size} do not join to the feed",
        )
    for number, event in enumerate(whole):
        rest = await store.whole_feed(after=event.position)
        expect(
            that=rest == whole[number + 1 :],
            expected=harness.labels.show(whole[number + 1 :]),
            got=harness.labels.show(rest),
            meaning=f"reading on after position {event.position} starts elsewhere",
        )
    page = await store.feed_page(after=whole[-1].position + 1_000)
    expect(that=not page.events and page.is_end, expected="nothing, is_end", got=page, meaning="nothing is there past the end")


async def _streams_show_positions(store: TestedStore, whole: list[RecordedEvent]) -> None:
    events = [*(await store.whole("x")).events, *(await store.whole("y")).events]
    events.sort(key=lambda event: event.position)
    expect(
        that=events == whole,
        expected="the same events, positions and all, in streams and feed",
        got=[event.position for event in events],
        meaning="a stream shows other positions than the feed",
    )


async def _is_value_error(store: TestedStore) -> None:
    for after, limit in ((0, 0), (0, -1), (-1, 1)):
        try:
            await store.feed_page(after=after, limit=limit)
        except ValueError:
            continue
        raise MismatchError(
            expected="ValueError", got="a page", meaning=f"after {after} with limit {limit} is a mistake of the caller, not a question"
        )
