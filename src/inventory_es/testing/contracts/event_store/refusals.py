"""ES-68, ES-85, ES-86: refused appends: their errors, their effects, and misuse in every place."""

from collections import UserList
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, NewEvent, StreamWrite
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, EventIdCollisionError, UnsupportedCapabilityError
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.append_answers import Asked, check_answer
from inventory_es.testing.contracts.event_store.calls import Calls
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, Way, show_error, show_result
from inventory_es.testing.promise import MismatchError, promise

_TIMES = 24
_TIMES_OF_LARGE_ONES = 12
_LARGE = 500
_MOST_EVENTS_TRIED = 20_000
_MOST_BYTES_TRIED = 32 << 20
_FAR = (2**31 - 1, 2**31, 2**32 + 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 + 1, 10**30)
"""Versions that a column or a number of a backend may not hold. Cut to 32 or 64 bits, some of them are 1."""
_X, _Y, _Z = stream_id("x"), stream_id("y"), stream_id("z")


@attrs.frozen
class Refusal:
    """An append that has to be refused while x holds the event a, and its error."""

    reason: str
    writes: Sequence[StreamWrite]
    error: type[Exception]


class RefusalCases:
    """Cases of appends that the store refuses."""

    @promise(
        "ES-68",
        "Every answer and every refusal of an append has the facts of that append: its streams, versions, ids, numbers and maxima, "
        "as the types that the port names.",
        seeds=0,
    )
    async def test_es_68_facts(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            await store.append("x@0 a", meaning="the same append again is answered")
            for refusal in _refusals(harness, store):
                for way in store.ways:
                    error = await _refused(store, refusal, way)
                    check_answer(Asked.of(refusal.writes), error, store.capabilities)
            if store.capabilities.multi_stream and store.capabilities.max_append_events > 1:
                await store.append("x@1 b", "y@0 p")
                await store.append("y@0 p", "x@1 b", meaning="the same append again is answered, whatever the order of its writes")
            if store.has_group_commit:
                await store.append_group(["z@0 s"], ["z@1 t"], ["z@0 s"], ["z@0 u"])

    @promise(
        "ES-85",
        "An append that is refused, for whatever reason and however often, leaves nothing behind: no connection, no lock, no event, "
        "and no mark on its ids.",
        seeds=0,
    )
    async def test_es_85_refused_many_times(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            calls = Calls(harness, store, "w")
            await calls.prepare()
            await store.append("x@0 a")
            refusals = list(_refusals(harness, store))
            for refusal in refusals:
                count = sum(len(write.events) for write in refusal.writes)
                for way in store.ways:
                    for number in range(_TIMES if count < _LARGE else _TIMES_OF_LARGE_ONES):
                        meaning = f"after {number} appends that were refused ({refusal.reason}) the next one must end"
                        await calls.bounded(partial(_refused, store, refusal, way), meaning)
                await calls.all_answer(f"after many appends that were refused: {refusal.reason}")
            await harness.holds(store, "x", "a", meaning="a refused append is there")
            await harness.holds(store, "y", "", meaning="a refused append is there")
            await _appends_what_was_refused(harness, store, refusals)

    @promise(
        "ES-86",
        "Misuse is ValueError wherever in an append it stands; an expected version of any size is compared; "
        "writes and events may be any sequence.",
        seeds=0,
    )
    async def test_es_86_misuse_anywhere(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            for refusal in _misuses(harness, store):
                for way in store.ways:
                    await _refused(store, refusal, way)
            for version in _FAR:
                for write in (
                    StreamWrite(_X, version, harness.labels.events("far")),
                    StreamWrite(_Y, version, harness.labels.events("far")),
                ):
                    for way in store.ways:
                        refusal = Refusal(f"the expected version {version}", [write], ConcurrencyError)
                        check_answer(Asked.of([write]), await _refused(store, refusal, way), store.capabilities)
            await harness.holds(store, "x", "a", meaning="a refused append changed the stream")
            for name in "yz":
                await harness.holds(store, name, "", meaning="a refused append created a stream")
            await _takes_any_sequence(harness, store)


async def _refused(store: TestedStore, refusal: Refusal, way: Way) -> Exception:
    """Send an append that has to be refused, and return the error."""
    outcome: AppendResult | Exception
    note = f"{way} of what has to be refused: {refusal.reason}"
    try:
        if way == "append":
            outcome = await store.call(note, store.raw.append(refusal.writes), show_result)
        else:
            (outcome,) = await store.outcomes(note, [refusal.writes])
    except MismatchError:
        raise
    except Exception as error:
        if way == "append_group":
            raise MismatchError(
                expected=f"{refusal.error.__name__} as the outcome of the append",
                got=f"append_group raises {show_error(error)}",
                meaning=f"{refusal.reason}: that concerns this append alone, and not its neighbours",
            ) from error
        outcome = error
    if isinstance(outcome, refusal.error):
        return outcome
    raise MismatchError(
        expected=refusal.error.__name__,
        got=show_result(outcome) if isinstance(outcome, AppendResult) else show_error(outcome),
        meaning=f"{way} of this append has to be refused: {refusal.reason}",
    )


def _refusals(harness: StoreHarness, store: TestedStore) -> Iterator[Refusal]:
    """Yield one append per reason to refuse it, for a store whose stream x holds the event a. Each has its own ids."""
    declared, events = store.capabilities, harness.labels.events
    yield Refusal("no writes", [], ValueError)
    yield Refusal("a write without events", [StreamWrite(_X, 1, [])], ValueError)
    yield Refusal("one id twice", [StreamWrite(_X, 1, events("m1 m1"))], ValueError)
    yield Refusal("a negative version", [StreamWrite(_X, -1, events("m2"))], ValueError)
    yield Refusal("two writes to one stream", [StreamWrite(_X, 1, events("m3")), StreamWrite(_X, 2, events("m4"))], ValueError)
    yield Refusal("a version that was passed", [StreamWrite(_X, 0, events("c1"))], ConcurrencyError)
    yield Refusal("a version that is to come", [StreamWrite(_X, 7, events("c2"))], ConcurrencyError)
    yield Refusal("a stream that is not there", [StreamWrite(_Y, 3, events("c3"))], ConcurrencyError)
    yield Refusal("an id with another payload", [StreamWrite(_X, 0, events("a'"))], EventIdCollisionError)
    several = [StreamWrite(_X, 1, events("s1")), StreamWrite(_Y, 0, events("s2"))]
    if not declared.multi_stream:
        yield Refusal("several streams", several, UnsupportedCapabilityError)
    elif declared.max_append_events > 1:
        yield Refusal("the first of two streams", [StreamWrite(_X, 0, events("c4")), StreamWrite(_Y, 0, events("c5"))], ConcurrencyError)
        yield Refusal("the second of two streams", [StreamWrite(_Y, 0, events("c6")), StreamWrite(_X, 3, events("c7"))], ConcurrencyError)
        yield Refusal("both of two streams", [StreamWrite(_Y, 1, events("c8")), StreamWrite(_X, 3, events("c9"))], ConcurrencyError)
        if declared.unique_event_ids:
            for name, writes in (
                ("in the first of two streams", [StreamWrite(_X, 1, events("a")), StreamWrite(_Y, 0, events("i1"))]),
                ("in the second of two streams", [StreamWrite(_Y, 0, events("i2")), StreamWrite(_X, 1, events("a"))]),
            ):
                yield Refusal(f"an id that is stored {name}", writes, EventIdCollisionError)
    if declared.unique_event_ids and declared.max_append_events > 1:
        yield Refusal("ids that are stored in part", [StreamWrite(_X, 1, events("a i3"))], EventIdCollisionError)
        yield Refusal("ids that are stored in part, the last", [StreamWrite(_X, 1, events("i4 a"))], EventIdCollisionError)
    yield from _too_large(harness, store)


def _too_large(harness: StoreHarness, store: TestedStore) -> Iterator[Refusal]:
    declared = store.capabilities
    event_size = min(declared.max_event_bytes, declared.max_append_bytes)
    if event_size <= _MOST_BYTES_TRIED:
        event = harness.labels.sized("l1", event_size + 1)
        yield Refusal("an event over a maximum", [StreamWrite(_X, 1, [event])], AppendTooLargeError)
        if declared.multi_stream and declared.max_append_events > 1:
            writes = [StreamWrite(_X, 1, harness.labels.events("l2")), StreamWrite(_Y, 0, [event])]
            yield Refusal("an event over a maximum in the second of two streams", writes, AppendTooLargeError)
    if declared.max_append_events <= _MOST_EVENTS_TRIED:
        many = harness.labels.events(" ".join(f"n{number}" for number in range(declared.max_append_events + 1)))
        yield Refusal("more events than the maximum", [StreamWrite(_X, 1, many)], AppendTooLargeError)
        if declared.multi_stream:
            writes = [StreamWrite(_X, 1, many[:-1]), StreamWrite(_Y, 0, many[-1:])]
            yield Refusal("more events than the maximum in two streams", writes, AppendTooLargeError)


def _misuses(harness: StoreHarness, store: TestedStore) -> Iterator[Refusal]:
    """Yield appends that every store refuses, each with its misuse in another place."""
    events = harness.labels.events
    room = min(store.capabilities.max_append_events, _LARGE)
    many = events(" ".join(f"q{number}" for number in range(room - 1)))
    if many:
        again = [*many, attrs.evolve(many[0], event_id=UUID(int=many[0].event_id.int))]
        yield Refusal(f"the first id of {room} again at the end", [StreamWrite(_X, 1, again)], ValueError)
    same = StreamId.parse(_X.text)
    yield Refusal("one stream, in two objects", [StreamWrite(_X, 1, events("d")), StreamWrite(same, 1, events("e"))], ValueError)
    if not (store.capabilities.multi_stream and store.capabilities.max_append_events > 2):
        return
    good = [StreamWrite(_X, 1, events("d")), StreamWrite(_Y, 0, events("e")), StreamWrite(_Z, 0, events("f"))]
    no_versions: Sequence[tuple[str, Any]] = (
        ("negative", -1),
        ("far below zero", -(2**63)),
        ("a fraction", 0.5),
        ("a text", "0"),
        ("nothing", None),
    )
    for place in range(len(good)):
        for name, version in no_versions:
            bad = attrs.evolve(good[place], expected_version=version)
            yield Refusal(f"the version of write {place + 1} of 3 is {name}", [*good[:place], bad, *good[place + 1 :]], ValueError)
        empty = attrs.evolve(good[place], events=[])
        yield Refusal(f"write {place + 1} of 3 has no events", [*good[:place], empty, *good[place + 1 :]], ValueError)
    apart = [good[0], good[1], StreamWrite(same, 2, events("g"))]
    yield Refusal("two writes to one stream, with another one between", apart, ValueError)
    yield Refusal("the second write has one id twice", [good[0], StreamWrite(_Y, 0, events("e e"))], ValueError)


async def _appends_what_was_refused(harness: StoreHarness, store: TestedStore, refusals: Sequence[Refusal]) -> None:
    """Append the events of each refused append that no stream holds: their ids are free."""
    kept = harness.labels.events("a")
    most = min(store.capabilities.max_event_bytes, store.capabilities.max_append_bytes // 2)
    for refusal in refusals:
        known = {event.event_id for event in kept}
        new: dict[UUID, NewEvent] = {}
        for write in refusal.writes:
            new |= {event.event_id: event for event in write.events if event.event_id not in known and event.size <= most}
        events = list(new.values())[: store.capabilities.max_append_events]
        if not events:
            continue
        write, meaning = StreamWrite(_X, len(kept), events), f"an append with these ids was refused ({refusal.reason}), so they are free"
        result = await store.append(write, meaning=meaning)
        expect(that=not result.replayed, expected="a new append", got=show_result(result), meaning=meaning)
        kept += events
    await harness.holds(store, "x", kept, meaning="what was refused first and appended later is not what is read")


async def _takes_any_sequence(harness: StoreHarness, store: TestedStore) -> None:
    """Append through sequences of other types than a list."""
    version = 1
    for kind in (tuple, UserList):
        for way in store.ways:
            (event,) = harness.labels.events(f"{kind.__name__}{way}")
            writes: Sequence[StreamWrite] = kind([StreamWrite(_X, version, kind([event]))])
            note, meaning = f"{way} of a {kind.__name__}", f"writes and events are sequences, and a {kind.__name__} is one"
            try:
                if way == "append":
                    await store.call(note, store.raw.append(writes), show_result)
                else:
                    groups: Sequence[Sequence[StreamWrite]] = kind([writes])
                    (outcome,) = await store.outcomes(note, groups)
                    if isinstance(outcome, Exception):
                        raise outcome  # noqa: TRY301  # an outcome is judged like a raised error
            except Exception as error:
                raise MismatchError(expected="an answer", got=show_error(error), meaning=meaning) from error
            version += 1
            page = await store.page("x", after=version - 1)
            expect(that=len(page.events) == 1, expected="one event", got=len(page.events), meaning=meaning)
