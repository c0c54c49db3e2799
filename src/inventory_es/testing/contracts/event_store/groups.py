"""ES-69, ES-87: the appends of a group end as if sent one by one, however many, however large, and with other writers."""

from collections.abc import Sequence

import anyio
import attrs

from inventory_es.ports import AppendResult, StreamWrite
from inventory_es.ports.errors import AppendTooLargeError, ConcurrencyError, UnsupportedCapabilityError
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.comparison import Comparison
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.reference_model import ReferenceModel
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, show_outcomes
from inventory_es.testing.promise import MismatchError, promise

_MANY = 300
_STREAMS = 3
_CONFLICT_EVERY = 7
_AGAIN_EVERY = 11
_MOST_EVENTS_TRIED = 10_000
_MOST_BYTES_TRIED = 4 << 20
_ROUNDS = 12
_CALLERS = 6
_GROUPS = 4


class GroupCases:
    """Cases of many appends in one commit."""

    @promise(
        "ES-69",
        "A group of any number of appends, each of any size and to any streams that one append may have, ends as if they had been sent "
        "one by one: the maxima are of each append, and a refusal is an outcome of its append alone.",
        seeds=0,
    )
    async def test_es_69_as_if_sent_one_by_one(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            _need_group_commit(harness, store)
            comparison = Comparison(harness, store, ReferenceModel())
            await comparison.append_group(_many_groups(comparison))
            if store.capabilities.multi_stream and store.capabilities.max_append_events > 1:
                await comparison.append_group(_several_streams(comparison))
            await comparison.everything(limits=(1_000,))
            await _over_the_maxima_together(comparison)
            await _refused_alone(harness, store)

    @promise(
        "ES-87",
        "Groups race like appends: of all that expect one version, through whatever method, one wins; the same append sent at once "
        "through both methods is written once and answered to all; callers of groups each get their own outcomes.",
        seeds=1,
    )
    async def test_es_87_groups_race_like_appends(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            _need_group_commit(harness, store)
            race = _GroupRace(harness, [store, *others])
            for number in range(_ROUNDS):
                await race.one_winner(f"x{number}", 0)
                await race.one_winner(f"x{number}", 1)
                await race.same_append(f"y{number}")
            await race.own_outcomes()


@attrs.define
class _GroupRace:
    """Appends and groups that begin at once, distributed over the instances of a site."""

    harness: StoreHarness
    instances: Sequence[TestedStore]

    async def one_winner(self, name: str, version: int) -> None:
        """Race for one version of a stream: one append wins, and the others get the version that the winner left."""
        labels = [f"{name}v{version}n{number}" for number in range(_CALLERS)]
        outcomes = await self._at_once([[self.instances[0].write(f"{name}@{version} {label}")] for label in labels])
        won = [label for label, outcome in zip(labels, outcomes, strict=True) if isinstance(outcome, AppendResult)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, ConcurrencyError)]
        expect(
            that=len(won) == 1 and len(lost) == _CALLERS - 1 and all(error.actual == version + 1 for error in lost),
            expected=f"one winner, and {_CALLERS - 1} conflicts with actual {version + 1}",
            got=show_outcomes(outcomes),
            meaning="appends and groups of one append raced for a version, and it is not one of them that has it",
        )
        for store in self.instances:
            page = await store.page(name, after=version)
            shown = [self.harness.labels.label(event) for event in page.events]
            expect(that=shown == won, expected=f"{won}", got=shown, meaning="the stream does not hold what the winner of a race wrote")

    async def same_append(self, name: str) -> None:
        """Send one append many times at once: one caller writes it, and the others get the answer that it is stored."""
        write = self.instances[0].write(f"{name}@0 {name}a")
        outcomes = await self._at_once([[write]] * _CALLERS)
        answers = [outcome for outcome in outcomes if isinstance(outcome, AppendResult)]
        expect(
            that=len(answers) == _CALLERS and [answer.replayed for answer in answers].count(False) == 1,
            expected="one answer as new, and the others as replayed",
            got=show_outcomes(outcomes),
            meaning="callers sent the same append at once, some in a group: it is their own append that is stored",
        )
        await self.harness.holds(self.instances[-1], name, f"{name}a", meaning="an append that was sent by several callers is stored twice")

    async def own_outcomes(self) -> None:
        """Send groups at once, each to its own streams: each caller gets the outcomes of its own group, in order."""
        outcomes: dict[int, Sequence[AppendResult | Exception]] = {}

        async def call(caller: int, store: TestedStore) -> None:
            groups = [[f"z{caller}n{number}@{number % 2} z{caller}n{number}a"] for number in range(_GROUPS + caller)]
            outcomes[caller] = await store.append_group(*groups)

        async with anyio.create_task_group() as tasks:
            for caller in range(_CALLERS):
                tasks.start_soon(call, caller, self.instances[caller % len(self.instances)])
        for caller, found in outcomes.items():
            for number, outcome in enumerate(found):
                expect(
                    that=isinstance(outcome, ConcurrencyError if number % 2 else AppendResult),
                    expected="a conflict for each second append of a group, and an answer for each other one",
                    got=show_outcomes(found),
                    meaning=f"caller {caller} of {_CALLERS} at once got other outcomes than those of its group",
                )

    async def _at_once(self, appends: Sequence[Sequence[StreamWrite]]) -> list[AppendResult | Exception]:
        """Send all appends at once, every other one in a group, and return the answers in order."""
        outcomes: list[AppendResult | Exception] = [LookupError("no answer")] * len(appends)
        barrier = anyio.Event()

        async def call(number: int, store: TestedStore, writes: Sequence[StreamWrite]) -> None:
            await barrier.wait()
            try:
                if number % 2:
                    (outcomes[number],) = await store.outcomes("append_group of one append", [writes])
                else:
                    outcomes[number] = await store.append(*writes)
            except MismatchError:
                raise
            except Exception as error:  # noqa: BLE001  # every error is judged
                outcomes[number] = error

        async with anyio.create_task_group() as tasks:
            for number, writes in enumerate(appends):
                tasks.start_soon(call, number, self.instances[number // 2 % len(self.instances)], writes)
            barrier.set()
        return outcomes


def _need_group_commit(harness: StoreHarness, store: TestedStore) -> None:
    if not store.has_group_commit:
        harness.run.not_declared("group_commit")


def _many_groups(comparison: Comparison) -> list[list[StreamWrite]]:
    """Return appends of one event each to a few streams, with conflicts and repeats."""
    label = comparison.harness.labels.event
    groups: list[list[StreamWrite]] = []
    versions = dict.fromkeys((stream_id(f"m{number}") for number in range(_STREAMS)), 0)
    sent: list[StreamWrite] = []
    for number in range(_MANY):
        stream = stream_id(f"m{number % _STREAMS}")
        write = StreamWrite(stream, versions[stream], [label(f"m{number}")])
        if number % _CONFLICT_EVERY == 1:
            write = attrs.evolve(write, expected_version=write.expected_version + 1)
        elif sent and number % _AGAIN_EVERY == 2 and comparison.store.capabilities.unique_event_ids:  # any place will do
            write = sent[number % len(sent)]
        else:
            versions[stream] += 1
            sent.append(write)
        groups.append([write])
    return groups


def _several_streams(comparison: Comparison) -> list[list[StreamWrite]]:
    """Return appends to two streams each. One conflicts, one is a repeat, and others build on them."""

    def writes(*texts: str) -> list[StreamWrite]:
        return [comparison.store.write(text) for text in texts]

    return [
        writes("p@0 p1", "q@0 q1"),
        writes("p@1 p2", "q@0 no1"),
        writes("p@0 no2", "q@1 q2"),
        writes("r@0 r1", "p@1 p3"),
        writes("q@1 q3", "p@2 p4"),
        writes("p@0 p1", "q@0 q1"),
        writes("q@0 no3"),
        writes("r@1 r2", "q@2 q4"),
    ]


async def _over_the_maxima_together(comparison: Comparison) -> None:
    """Send groups whose appends are each within the maxima, while their sum is not."""
    labels, declared = comparison.harness.labels, comparison.store.capabilities
    most = declared.max_append_events
    if most <= _MOST_EVENTS_TRIED:
        size = most // 2 + 1
        events = [labels.events(" ".join(f"{name}{number}" for number in range(size))) for name in "ef"]
        if all(sum(event.size for event in part) <= declared.max_append_bytes for part in events):
            await comparison.append_group([[StreamWrite(stream_id(f"e{at}"), 0, part)] for at, part in enumerate(events)])
    size = min(declared.max_event_bytes, declared.max_append_bytes)
    count = declared.max_append_bytes // size + 1
    if declared.max_append_bytes <= _MOST_BYTES_TRIED and count <= _MANY:
        big = [labels.sized(f"big{number}", size) for number in range(count)]
        await comparison.append_group([[StreamWrite(stream_id(f"b{at}"), 0, [event])] for at, event in enumerate(big)])


async def _refused_alone(harness: StoreHarness, store: TestedStore) -> None:
    """Send an append that every state refuses between two valid ones."""
    declared, write = store.capabilities, store.write
    refused: list[tuple[str, Sequence[StreamWrite], type[Exception]]] = [
        ("no writes", [], ValueError),
        ("a write without events", [StreamWrite(stream_id("k"), 1, [])], ValueError),
        ("one id twice", [write("k@1 k1 k1")], ValueError),
    ]
    size = min(declared.max_event_bytes, declared.max_append_bytes)
    if size <= _MOST_BYTES_TRIED:
        refused.append(
            ("an event over a maximum", [StreamWrite(stream_id("k"), 1, [harness.labels.sized("over", size + 1)])], AppendTooLargeError)
        )
    if not declared.multi_stream:
        refused.append(("several streams", [write("k@1 k2"), write("l@0 l1")], UnsupportedCapabilityError))
    kept: list[str] = []
    for number, (reason, writes, kind) in enumerate(refused):
        groups = [[write(f"k@{len(kept)} before{number}")], writes, [write(f"k@{len(kept) + 1} behind{number}")]]
        outcomes = await store.outcomes(f"append_group of an append, one with {reason}, and another", groups)
        kinds: tuple[type, ...] = (AppendResult, kind, AppendResult)
        is_right = [isinstance(outcome, wanted) for outcome, wanted in zip(outcomes, kinds, strict=True)]
        expect(
            that=all(is_right),
            expected=f"an answer, {kind.__name__}, and an answer",
            got=show_outcomes(outcomes),
            meaning=f"the second append of a group has {reason}, which is no concern of its neighbours",
        )
        kept += [f"before{number}", f"behind{number}"]
        await harness.holds(store, "k", " ".join(kept), meaning=f"a group with an append that has {reason} did not write its neighbours")
