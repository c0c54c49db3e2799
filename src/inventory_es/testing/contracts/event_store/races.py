"""ES-41, ES-42, ES-63, ES-64: many tasks race for one version, in one instance and in two, and many call at once."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.ports.errors import ConcurrencyError
from inventory_es.testing.contracts.core.event_labels import stream_name
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.calls import Calls
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.linearizability import Operation, find_violation
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, show_error
from inventory_es.testing.promise import MismatchError, promise

_RACERS = 8
_ROUNDS = 4
_BARRIERS = 12
_MANY_BARRIERS = 120
_SWITCH = 1e-5
_CALLERS = 64
_CALLS = 3
_SHARED = (("x", "y"), ("y", "x"), ("z", "y"), ("x",), ("x", "z"), ("y",), ("w", "z"), ("z", "w"))
"""Streams of appends that race, each in the order of its writes: neighbours share streams in opposite orders."""


class RaceCases:
    """Cases of optimistic concurrency under load."""

    @promise(
        "ES-41", "N tasks race for one version: exactly one wins, losers see the actual version, the history is linearizable.", seeds=5
    )
    async def test_es_41_one_winner(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, together=2)
            await _one_winner([store] * _RACERS)
            await _race([store] * _RACERS)
            await _linearizable(store, store.operations)

    @promise("ES-42", "Two instances on one site: exactly one wins, losers see the actual version, the history is linearizable.", seeds=4)
    async def test_es_42_two_instances(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, durable=True, multi_process=True)
            async with harness.open() as other:
                await store.append("y@0 p")
                await harness.holds(other, "y", "p", meaning="what one instance acknowledged, the other does not see")
                await other.append("y@1 q", meaning="the version as the other instance left it")
                await harness.holds(store, "y", "p q", meaning="what one instance acknowledged, the other does not see")
                await _one_winner([store, other] * (_RACERS // 2))
                await _race([store, other] * (_RACERS // 2))
                operations = [o for o in (*store.operations, *other.operations) if o.name == "x"]
                await _linearizable(store, operations)
                if store.has_feed:
                    feeds = await store.whole_feed(), await other.whole_feed()
                    expect(that=feeds[0] == feeds[1], expected="one feed", got="two", meaning="the instances don't agree on the order")

    @promise("ES-42", "Two instances on one site that begin at once, again and again: one wins, and leaves its whole batch.", seeds=0)
    async def test_es_42_from_a_barrier(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            harness.need(store, durable=True, multi_process=True)
            race = _Race(harness, [store, *others])
            with _quick_switches():
                for number in range(_MANY_BARRIERS):
                    await race.run([(f"x{number // _ROUNDS}",)] * (2 * len(race.instances)))

    @promise("ES-63", "Of appends that race and share any one of their streams, one wins; the others are conflicts and leave nothing.")
    async def test_es_63_some_streams_are_shared(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            if not store.capabilities.multi_stream:
                harness.run.not_declared("multi_stream")
            harness.need(store, together=2)
            race = _Race(harness, [store, *others])
            for number in range(_BARRIERS):
                await race.run(_SHARED[number % 3 :: number % 2 + 1])

    @promise("ES-64", "64 callers at once all end, each with its own answer; 64 that wait for a position hold nobody up.", seeds=0)
    async def test_es_64_many_callers(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            calls = Calls(harness, store, "w")
            await calls.prepare()
            kinds = calls.kinds()

            async def answer(caller: int) -> None:
                for number in range(_CALLS):
                    await calls.answers(kinds[(caller + number) % len(kinds)], f"one of {_CALLERS} callers at once must get its own answer")

            for kind in kinds:
                async with anyio.create_task_group() as tasks:
                    for _ in range(_CALLERS // 4):
                        tasks.start_soon(calls.answers, kind, f"one of {_CALLERS // 4} callers at once must get its own answer")
            async with anyio.create_task_group() as tasks:
                for caller in range(_CALLERS):
                    tasks.start_soon(answer, caller)
            if store.has_feed:
                async with anyio.create_task_group() as waiters:
                    for _ in range(_CALLERS):
                        waiters.start_soon(calls.wait().ask)
                    await checkpoint()
                    await calls.all_answer(f"while {_CALLERS} callers wait for a position")
                    waiters.cancel_scope.cancel()
            await calls.all_answer(f"after {_CALLERS} callers at once")


@contextmanager
def _quick_switches() -> Iterator[None]:
    """Let threads switch after 10 microseconds instead of 5 milliseconds, so that those of two instances meet in every step."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@attrs.define
class _Race:
    """Appends that begin at once, distributed over the instances of a site, and the content of the streams afterwards."""

    harness: StoreHarness
    instances: Sequence[TestedStore]
    kept: dict[str, list[str]] = attrs.field(factory=dict[str, list[str]])
    _round: int = 0

    async def run(self, racers: Sequence[Sequence[str]]) -> None:
        """Race once: each racer appends to some streams at their current versions."""
        self._round += 1
        barrier = anyio.Event()
        won: dict[int, Mapping[str, list[str]]] = {}
        lost: dict[int, ConcurrencyError] = {}

        async def append(number: int, store: TestedStore, streams: Sequence[str]) -> None:
            first = 2 if store.capabilities.max_append_events > len(streams) else 1
            counts = [first, *[1] * (len(streams) - 1)]
            labels = {
                name: [f"r{self._round}n{number}{name}{place}" for place in range(count)]
                for name, count in zip(streams, counts, strict=True)
            }
            writes = [f"{name}@{len(self.kept.get(name, ()))} {' '.join(labels[name])}" for name in streams]
            await barrier.wait()
            try:
                await store.append(*writes)
            except ConcurrencyError as error:
                lost[number] = error
            except Exception as error:
                raise MismatchError(
                    expected="an answer or a conflict",
                    got=show_error(error),
                    meaning="an append that races with others is answered or refused",
                ) from error
            else:
                won[number] = labels

        async with anyio.create_task_group() as tasks:
            for number, streams in enumerate(racers):
                tasks.start_soon(append, number, self.instances[number % len(self.instances)], streams)
            await checkpoint()
            barrier.set()
        await self._judge(racers, won, lost)

    async def _judge(
        self, racers: Sequence[Sequence[str]], won: Mapping[int, Mapping[str, list[str]]], lost: Mapping[int, ConcurrencyError]
    ) -> None:
        taken: dict[str, int] = {}
        for number, labels in won.items():
            for name, added in labels.items():
                expect(
                    that=name not in taken,
                    expected=f"one winner of stream {name}",
                    got=f"{' '.join(racers[taken.get(name, number)])} and {' '.join(racers[number])}",
                    meaning="two appends that share a stream were told that the same version is theirs",
                )
                taken[name] = number
                self.kept[name] = [*self.kept.get(name, ()), *added]
        for number, error in lost.items():
            name = stream_name(error.stream)
            actual = len(self.kept.get(name, ()))
            expect(
                that=name in racers[number] and name in taken and error.actual == actual,
                expected=f"a conflict over one of {' '.join(racers[number])} that another append won, with its version now",
                got=f"{name} with actual {error.actual}, where the winners' streams are {' '.join(sorted(taken)) or 'none'}",
                meaning="an append was refused for a version that no stream of it has",
            )
        for name in sorted({name for streams in racers for name in streams}):
            for store in self.instances:
                meaning = "after a race, a stream does not hold what its winner wrote, or holds something of a loser"
                await self.harness.holds(store, name, " ".join(self.kept.get(name, ())), meaning=meaning)
        await self._stands_together(won.values())

    async def _stands_together(self, won: Iterable[Mapping[str, list[str]]]) -> None:
        if not self.instances[0].has_feed:
            return
        feed = [self.harness.labels.label(event) for event in await self.instances[0].whole_feed()]
        for labels in won:
            wanted = [label for added in labels.values() for label in added]
            start = feed.index(wanted[0]) if wanted[0] in feed else 0
            expect(
                that=feed[start : start + len(wanted)] == wanted,
                expected=f"{wanted} together in the feed",
                got=feed[start : start + len(wanted)],
                meaning="appends that raced are mixed in the feed",
            )


async def _one_winner(racers: Sequence[TestedStore]) -> None:
    """Expect one winner of racers that all append to a new stream at version 0."""
    won: list[str] = []

    async def run(store: TestedStore, name: str) -> None:
        try:
            await store.append(f"x@0 {name}1 {name}2")
        except ConcurrencyError as error:
            expect(
                that=error.actual == 2, expected="actual 2", got=error.actual, meaning="a loser is told a version that the stream never had"
            )
        else:
            won.append(name)

    async with anyio.create_task_group() as tasks:
        for number, store in enumerate(racers):
            tasks.start_soon(run, store, f"r{number}_")
    expect(
        that=len(won) == 1,
        expected=f"one winner of {len(racers)}",
        got=f"{len(won)}: {won}",
        meaning="two writers were told that the same version is theirs" if won else "nobody got through",
    )


async def _race(racers: Sequence[TestedStore]) -> None:
    """Race: each racer appends some batches after its last read, and reads."""

    async def run(store: TestedStore, name: str) -> None:
        version = 2
        for number in range(_ROUNDS):
            while True:
                try:
                    await store.append(f"x@{version} {name}n{number} {name}m{number}")
                except ConcurrencyError as error:
                    if error.actual <= version:
                        raise MismatchError(
                            expected=f"actual above {version}", got=str(error.actual), meaning="a loser is told an old version"
                        ) from error
                    version = (await store.whole("x")).version
                else:
                    version += 2
                    break

    async with anyio.create_task_group() as tasks:
        for number, store in enumerate(racers):
            tasks.start_soon(run, store, f"r{number}_")


async def _linearizable(store: TestedStore, operations: Sequence[Operation]) -> None:
    page = await store.whole("x")
    expected = 2 + 2 * _ROUNDS * _RACERS
    expect(
        that=page.version == expected, expected=f"version {expected}", got=page.version, meaning="acknowledged events are lost, or doubled"
    )
    violation = find_violation(operations, [event.event_id for event in page.events])
    if violation is not None:
        raise MismatchError(expected="a linearizable history", got=describe_operation(violation.operation), meaning=violation.problem)


def describe_operation(operation: Operation | None) -> str:
    """Return an operation of a history in the words of the report."""
    if operation is None:
        return "an impossible log"
    if not operation.events:
        return f"a read of {operation.name}: {operation.outcome}"
    return f"append {operation.name}@{operation.expected} of {len(operation.events)} events: {operation.outcome}"
