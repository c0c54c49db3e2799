"""ES-16 … ES-21, ES-71, ES-72, ES-79: a repeated append is answered again, and never stored twice."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import anyio
import attrs

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import AppendResult, NewEvent, StreamWrite
from inventory_es.ports.errors import ConcurrencyError, EventIdCollisionError
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.append_program import (
    in_pieces,
    of_a_padded_type,
    of_another_payload,
    of_another_schema_version,
    of_another_type,
)
from inventory_es.testing.contracts.event_store.comparison import Comparison
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.reference_model import ReferenceModel
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, show_error, show_result
from inventory_es.testing.promise import MismatchError, promise

_MANY = 1_200
_VERY_MANY = 10_000
_APPENDS = 200
_CALLERS = 6
_X, _Y, _Z = stream_id("x"), stream_id("y"), stream_id("z")


class IdentityCases:
    """Cases of idempotent appends."""

    @promise("ES-16", "The same append again, with the same ids, gives the original result with replayed=True, and no duplicate.")
    async def test_es_16_the_same_append_again(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            first = await store.append("x@1 b c")
            again = await store.append("x@1 b c", meaning="a caller that missed the answer asks again; it must get that answer")
            _is_replay(again, first)
            await harness.holds(store, "x", "a b c", meaning="the append that was sent again is stored twice")
            await harness.feed_holds(store, "a b c", meaning="the append that was sent again is in the feed twice")
            await store.append("x@3 d", meaning="the stream goes on where it was")

    @promise("ES-17", "The same append again is recognised also after later appends.", seeds=1)
    async def test_es_17_the_same_append_after_later_ones(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            first = await store.append("x@0 a b")
            second = await store.append("x@2 c")
            await store.append("x@3 d e")
            later = await _append_many(store)
            _is_replay(await store.append("x@0 a b", meaning="the events stand at the versions that the append expects"), first)
            _is_replay(await store.append("x@2 c", meaning="the events stand at the versions that the append expects"), second)
            await harness.holds(store, "x", f"a b c d e {later}", meaning="an append that was sent again late is stored twice")
            harness.need(store, unique_event_ids=True)
            for version in (1, 5, 9_999):
                again = await store.append(f"x@{version} c", meaning="ids are known for ever, and checked before the expected version")
                _is_replay(again, second)
            await harness.holds(store, "x", f"a b c d e {later}", meaning="an append that was sent again late is stored twice")

    @promise("ES-18", "The same ids with another payload are EventIdCollisionError, nothing written.")
    async def test_es_18_the_same_id_with_another_payload(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b")
            error = await store.refused(EventIdCollisionError, "x@0 a' b", meaning="an event is not what is stored under its id")
            expect(
                that=error.event_id == harness.labels.event("a").event_id,
                expected="the id of a",
                got=error.event_id,
                meaning="the error names the event that collides",
            )
            await store.refused(EventIdCollisionError, "x@0 a b'", meaning="an event is not what is stored under its id")
            await harness.holds(store, "x", "a b", meaning="a collision changed what is stored")
            harness.need(store, unique_event_ids=True)
            await store.refused(EventIdCollisionError, "x@2 b'", meaning="the id of a stored event was used for another")
            await harness.holds(store, "x", "a b", meaning="a collision was written")

    @promise("ES-19", "Ids that are stored half, in another order or with a gap are EventIdCollisionError, nothing written.")
    async def test_es_19_half_an_append_again(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b c d")
            unique = store.capabilities.unique_event_ids
            for write in ("x@2 c d e", "x@0 b a", "x@0 a c", "x@0 a e", "x@1 b c d e", "x@4 d e", "x@4 e a"):
                outcome = await _outcome(store, write, collision_only=unique)
                if outcome is None:
                    break
                await harness.holds(store, "x", "a b c d", meaning=f"the append {write} has ids that are stored already, and was written")
            harness.need(store, unique_event_ids=True)
            await store.append("x@4 e", meaning="an id of a refused append may be used")

    @promise("ES-20", "One id twice in an append is ValueError, nothing written.")
    async def test_es_20_one_id_twice(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            await store.refused(ValueError, "x@1 b b", meaning="one id twice in an append was taken")
            await store.refused(ValueError, "x@1 b c b'", meaning="one id twice in an append was taken")
            await harness.holds(store, "x", "a", meaning="a refused append was written")

    @promise("ES-21", "The same append again is recognised also after the store was opened again.")
    async def test_es_21_the_same_append_after_reopening(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, durable=True)
            first = await store.append("x@0 a b")
            second = await store.append("x@2 c")
        async with harness.reopened() as store:
            _is_replay(await store.append("x@0 a b", meaning="what was stored before reopening is known"), first)
            _is_replay(await store.append("x@2 c", meaning="what was stored before reopening is known"), second)
            await store.refused(EventIdCollisionError, "x@2 c'", meaning="ids that were stored before reopening are taken")
            await harness.holds(store, "x", "a b c", meaning="an append that was sent again after reopening is stored twice")

    @promise(
        "ES-71",
        "An append is the same if every event of it is stored with its id, type, schema version and data, in order and without a gap, "
        "whatever their metadata, their times and the appends that they came in; otherwise its ids collide.",
        seeds=1,
    )
    async def test_es_71_the_same_by_the_rule(self, harness: StoreHarness) -> None:
        model = ReferenceModel()
        async with harness.open() as store:
            comparison = Comparison(harness, store, model)
            await _append_apart(comparison)
            await _sent_again(comparison)
            survives = store.capabilities.durability != "none"
        if survives:
            async with harness.open() as store:
                await _sent_again(Comparison(harness, store, model))

    @promise(
        "ES-72",
        "An append of the declared maximum is recognised, and so is each event among 10,000 of its stream, reopened or not.",
        seeds=0,
    )
    async def test_es_72_among_many(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            declared = store.capabilities
            events = harness.labels.events(
                " ".join(f"m{number}" for number in range(min(_VERY_MANY, _APPENDS * declared.max_append_events)))
            )
            writes = list(in_pieces(_X, 0, events, declared, most=_VERY_MANY))
            for write in writes:
                await store.append(write)
            for write in (writes[0], writes[-1]):
                again = await store.append(write, meaning=f"{len(write.events)} events are stored as they are sent")
                version = write.expected_version + len(write.events)
                expect(
                    that=again.replayed and dict(again.versions) == {_X: version},
                    expected=f"version {version}, replayed",
                    got=show_result(again),
                    meaning="a large append that was sent again gets another answer than the first time",
                )
                changed = [*write.events[:-1], of_another_schema_version(write.events[-1])]
                other = attrs.evolve(write, events=changed)
                await store.refused(EventIdCollisionError, other, meaning="the last event has another schema version than what is stored")
            harness.need(store, unique_event_ids=True)
            for place in (0, 1, len(events) // 2, len(events) - 1):
                one = StreamWrite(_X, len(events), [events[place]])
                again = await store.append(one, meaning=f"event {place + 1} of {len(events)} is stored as it is sent")
                expect(
                    that=again.replayed and dict(again.versions) == {_X: place + 1},
                    expected=f"version {place + 1}, replayed",
                    got=show_result(again),
                    meaning="an event among many that was sent again gets another answer",
                )
                other = attrs.evolve(one, events=[of_another_payload(events[place])])
                await store.refused(EventIdCollisionError, other, meaning=f"the id of event {place + 1} of {len(events)} is taken")
                found = await store.find(_X, [events[place].event_id])
                expect(
                    that=[event.version for event in found] == [place + 1],
                    expected=f"version {place + 1}",
                    got=harness.labels.show(found),
                    meaning=f"event {place + 1} of {len(events)} is not found by its id",
                )
            survives = declared.durability != "none"
        if survives:
            async with harness.reopened() as store:
                for place in (0, len(events) // 2):
                    one = StreamWrite(_X, len(events), [events[place]])
                    again = await store.append(
                        one, meaning=f"event {place + 1} of {len(events)} was stored before the store was opened again"
                    )
                    expect(
                        that=again.replayed and dict(again.versions) == {_X: place + 1},
                        expected=f"version {place + 1}, replayed",
                        got=show_result(again),
                        meaning="an event among many that was sent again after reopening gets another answer",
                    )

    @promise(
        "ES-79",
        "The same append sent by many callers at once is written once and answered to all; another under its ids collides for all but one.",
        seeds=4,
    )
    async def test_es_79_the_same_append_at_once(self, harness: StoreHarness) -> None:
        async with harness.open() as store, AsyncExitStack() as others:
            instances = [store]
            if store.capabilities.durability != "none" and store.capabilities.multi_process:
                instances.append(await others.enter_async_context(harness.open()))
            room = store.capabilities.max_append_events
            same = StreamWrite(_X, 0, harness.labels.events("a b c")[:room])
            answers = await _at_once([(instances[number % len(instances)], same) for number in range(_CALLERS)])
            for answer in answers:
                if not isinstance(answer, AppendResult):
                    raise MismatchError(
                        expected="the answer of the one that was written",
                        got=show_error(answer),
                        meaning="callers that send the same append at once are told that another writer was there: it is their own append",
                    )
            _is_written_once([answer for answer in answers if isinstance(answer, AppendResult)])
            await harness.holds(store, _X, same.events, meaning="an append that was sent several times at once is stored twice")
            unlike = [attrs.evolve(same, stream=_Y, events=[_numbered(harness, number)]) for number in range(_CALLERS)]
            answers = await _at_once([(instances[number % len(instances)], write) for number, write in enumerate(unlike)])
            for answer in answers:
                if not isinstance(answer, AppendResult | EventIdCollisionError):
                    raise MismatchError(
                        expected="a result or EventIdCollisionError",
                        got=show_error(answer),
                        meaning="the id was stored meanwhile with another payload; ids are compared before versions",
                    )
            _is_written_once([answer for answer in answers if isinstance(answer, AppendResult)])
            page = await store.whole(_Y)
            written = [write.events[0].data for write, answer in zip(unlike, answers, strict=True) if isinstance(answer, AppendResult)]
            expect(
                that=len(written) == 1 and [event.data for event in page.events] == written,
                expected="one append of several under one id, the one that was answered",
                got=f"{len(written)} answered, {len(page.events)} events stored",
                meaning="two appends under one id were told that they are stored",
            )


async def _at_once(calls: Sequence[tuple[TestedStore, StreamWrite]]) -> list[AppendResult | Exception]:
    """Send all appends at once, and return the answers in order."""
    answers: list[AppendResult | Exception] = [LookupError()] * len(calls)

    async def call(number: int, store: TestedStore, write: StreamWrite) -> None:
        try:
            answers[number] = await store.append(write)
        except Exception as error:  # noqa: BLE001  # the case judges every error
            answers[number] = error

    async with anyio.create_task_group() as tasks:
        for number, (store, write) in enumerate(calls):
            tasks.start_soon(call, number, store, write)
    return answers


def _is_written_once(answers: Sequence[AppendResult]) -> None:
    shown = {(tuple(answer.versions.items()), answer.position) for answer in answers}
    expect(
        that=len(shown) == 1 and [answer.replayed for answer in answers].count(False) == 1,
        expected="one answer, to one caller as new and to the others as replayed",
        got=", ".join(f"{show_result(answer)} at position {answer.position}" for answer in answers),
        meaning="the callers of one append get different answers, or more than one of them wrote it",
    )


def _numbered(harness: StoreHarness, number: int) -> NewEvent:
    """Return an event with a payload of its own, and the same id for all numbers."""
    event = harness.labels.event("same")
    return harness.labels.add(f"same{number}", attrs.evolve(event, data=b'{"number":%d}' % number))


async def _append_apart(comparison: Comparison) -> None:
    """Append eight events to x, one by one and together, two to y, and events to both at once."""
    labels, most = comparison.harness.labels, comparison.store.capabilities.max_append_events
    for names in ("a", "b", "c d e", "f g h"):
        events = labels.events(names)
        size = min(most, 3)
        for start in range(0, len(events), size):
            await comparison.append([StreamWrite(_X, comparison.model.version(_X), events[start : start + size])])
    for name in "pq":
        await comparison.append([StreamWrite(_Y, comparison.model.version(_Y), labels.events(name))])
    if _takes_several(comparison):
        await comparison.append([StreamWrite(_X, 8, labels.events("i")), StreamWrite(_Y, 2, labels.events("r"))])


async def _sent_again(comparison: Comparison) -> None:
    """Send stored events again in other pieces, and with one change each, and expect the answers of the reference.

    Where the store does not know ids forever, only whole appends are sent again.
    """
    labels, declared = comparison.harness.labels, comparison.store.capabilities
    stored = labels.events("a b c d e f g h")
    as_sent = {(0, 1), (1, 2), (2, 5), (5, 8)} if declared.max_append_events > 2 else set[tuple[int, int]]()
    for change in _CHANGES:
        for first, last in ((1, 2), (3, 4), (0, 2), (2, 5), (0, 8)):
            events = stored[first:last]
            if len(events) > declared.max_append_events or not (declared.unique_event_ids or (first, last) in as_sent):
                continue
            for place in {0, len(events) - 1}:
                changed = [*events[:place], change(events[place]), *events[place + 1 :]]
                await comparison.append([StreamWrite(_X, first, changed)])
                if declared.unique_event_ids:
                    await comparison.append([StreamWrite(_X, 99, changed)])
                if comparison.store.has_group_commit:
                    await comparison.append_group([[StreamWrite(_X, first, events)], [StreamWrite(_X, first, changed)]])
                await comparison.stream(_X)
    for first in range(8):
        for last in range(first + 1, min(8, first + declared.max_append_events) + 1):
            if declared.unique_event_ids or (first, last) in as_sent:
                await comparison.append([StreamWrite(_X, first, stored[first:last])])
            if declared.unique_event_ids:
                await comparison.append([StreamWrite(_X, last, stored[first:last])])
    if _takes_several(comparison):
        await _several_sent_again(comparison)
    await comparison.everything()


async def _several_sent_again(comparison: Comparison) -> None:
    """Send events of two streams together, in the order in which they came. All, some or none of them are stored."""
    labels = comparison.harness.labels

    def write(stream: StreamId, version: int, name: str) -> StreamWrite:
        return StreamWrite(stream, version, labels.events(name))

    y, x, new_y = write(_Y, 2, "r"), write(_X, 8, "i"), write(_Y, comparison.model.version(_Y), "s")
    for writes in (
        [x, y],
        [y, x],
        [x],
        [y],
        [x, write(_Z, 0, "t")],
        [write(_Z, 0, "t"), x],
        [new_y, x],
        [write(_X, comparison.model.version(_X), "u"), y],
        [x, attrs.evolve(y, events=[of_another_schema_version(y.events[0])])],
        [attrs.evolve(x, events=[of_another_type(x.events[0])]), y],
        [write(_X, 0, "a"), write(_Y, 0, "p")],
    ):
        await comparison.append(writes)
        if comparison.store.has_group_commit:
            await comparison.append_group([writes])


def _takes_several(comparison: Comparison) -> bool:
    declared = comparison.store.capabilities
    return declared.multi_stream and declared.unique_event_ids and declared.max_append_events > 1


def _with_other_metadata(event: NewEvent) -> NewEvent:
    return attrs.evolve(event, metadata=b'{"other":"metadata","number":0}')


def _at_another_time(event: NewEvent) -> NewEvent:
    return attrs.evolve(event, recorded_at=event.recorded_at.replace(year=2001))


def _with_another_envelope(event: NewEvent) -> NewEvent:
    return _at_another_time(_with_other_metadata(event))


_CHANGES = (
    of_another_type,
    of_a_padded_type,
    of_another_schema_version,
    of_another_payload,
    _with_other_metadata,
    _at_another_time,
    _with_another_envelope,
)


async def _append_many(store: TestedStore) -> str:
    """Append more events than any small window of ids, and return their labels."""
    labels = [f"m{number}" for number in range(_MANY)]
    batch = min(400, store.capabilities.max_append_events)
    for start in range(0, _MANY, batch):
        await store.append(f"x@{5 + start} {' '.join(labels[start : start + batch])}")
    return " ".join(labels)


def _is_replay(again: AppendResult, first: AppendResult) -> None:
    if not again.replayed:
        raise MismatchError(expected="replayed=True", got=show_result(again), meaning="the caller can't tell an old answer from a new one")
    if (again.versions, again.position) != (first.versions, first.position):
        raise MismatchError(
            expected=f"{show_result(first)} at position {first.position}",
            got=f"{show_result(again)} at position {again.position}",
            meaning="the append that was sent again gets another answer than the first time",
        )


async def _outcome(store: TestedStore, write: str, *, collision_only: bool) -> Exception | None:
    """Return the refusal; ``None`` where a store that forgets ids accepted the append."""
    meaning = "some of its ids are stored already, yet not as this append"
    store.need_room([store.write(write)])
    try:
        result = await store.append(write)
    except EventIdCollisionError as error:
        return error
    except ConcurrencyError as error:
        if collision_only:
            raise MismatchError(expected="EventIdCollisionError", got=show_error(error), meaning=meaning) from error
        return error
    if collision_only or result.replayed:
        raise MismatchError(expected="EventIdCollisionError", got=show_result(result), meaning=meaning)
    return None
