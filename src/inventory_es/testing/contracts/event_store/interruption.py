"""ES-44, ES-46, ES-47, ES-57, ES-65, ES-66: cancelling, closing, and many appends in one commit."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.ports import AppendResult, StreamWrite
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    ConcurrencyError,
    EventIdCollisionError,
    StoreClosedError,
    StoreUnavailableError,
)
from inventory_es.testing.contracts.core.await_points import cancel_at
from inventory_es.testing.contracts.core.event_labels import event_id, stream_name
from inventory_es.testing.contracts.core.schedule import AtSuspension
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.calls import UNKNOWN_OUTCOMES, Call, Calls
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, show_error, show_outcomes, show_result
from inventory_es.testing.promise import MismatchError, promise

T = TypeVar("T")
_MOST_POINTS = 60
_TIMES = 40
_DELAYS = 3
_POINTS = 6
_CROWD = 8
_EVERY = 20
_TURNS = 10
"""Turns of the event loop for which a call is held, so that a close in progress can go on."""


_WHOLE = (
    "An append to several streams, cancelled at any await point, is wholly there or wholly absent, in every stream and in the feed; "
    "the same ids again converge."
)
_NOTHING_LEFT = (
    "A call that is cancelled at any await point, however often, leaves nothing behind: every call goes on, with its own answer."
)
_CLOSED = (
    "Closing ends what is under way in bounded time, with an answer or StoreClosedError; two closes at once, and a close after a "
    "cancelled one, end; other instances go on."
)


class InterruptionCases:
    """Cases of callers that give up, and of closing during a call."""

    @promise(
        "ES-44",
        "An append cancelled at any await point is there whole or not at all; locks are free; the same ids again converge.",
        seeds=1,
    )
    async def test_es_44_cancelled_at_every_await_point(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            kept = ["a"]
            for point in range(_MOST_POINTS):
                reached = await _cancelled(store, point, f"x@{len(kept)} b{point} c{point}", busy=False)
                await _converges(harness, store, kept, f"b{point} c{point}", point)
                if not reached:
                    break

    @promise("ES-44", "An append cancelled while it waits for another is there whole or not at all; locks are free; the same ids converge.")
    async def test_es_44_cancelled_while_another_append_runs(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            kept: list[str] = []
            for point in range(_MOST_POINTS):
                reached = await _cancelled(store, point, f"x@{len(kept)} b{point} c{point}", busy=True)
                await _converges(harness, store, kept, f"b{point} c{point}", point)
                if not reached:
                    break

    @promise("ES-57", _WHOLE, seeds=1)
    async def test_es_57_several_streams(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as other:
            _need_multi_stream(harness, store)
            streams = _Streams(harness, [store, *other])
            await streams.begin()
            for busy in (False, True):
                for point in range(_MOST_POINTS):
                    writes = streams.writes(f"{'b' if busy else 'a'}{point}")
                    reached = await _cancelled(store, point, *writes, busy=busy, delay=point % _DELAYS if busy else 0)
                    await streams.converge(writes, f"an append that was cancelled at await point {point}")
                    if not reached:
                        break

    @promise("ES-57", _WHOLE, seeds=0)
    async def test_es_57_while_others_wait(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as other:
            _need_multi_stream(harness, store)
            streams = _Streams(harness, [store, *other])
            await streams.begin()
            for steps in range(_CROWD):
                writes = streams.writes(f"c{steps}")
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_keep_busy, store, f"before{steps}")
                    async with anyio.create_task_group() as given_up:
                        given_up.start_soon(partial(store.append, *writes))
                        given_up.start_soon(_keep_busy, store, f"with{steps}")
                        await checkpoint()
                        tasks.start_soon(_keep_busy, store, f"behind{steps}")
                        for _ in range(steps):
                            await checkpoint()
                        given_up.cancel_scope.cancel()
                await streams.converge(writes, f"an append whose task group was cancelled after {steps} steps")
            writes = streams.writes("late")
            with anyio.move_on_after(-1):
                await store.append(*writes)
            await streams.converge(writes, "an append whose time was over before it began")

    @promise("ES-57", "Each append of a group that is cancelled is wholly there or wholly absent; the same ids again converge.")
    async def test_es_57_a_group(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.has_group_commit:
                harness.run.not_declared("group_commit")
            streams = _Streams(harness, [store])
            await streams.begin()
            for point in range(_MOST_POINTS):
                writes = streams.writes(f"g{point}")
                groups = [[write] for write in writes]
                reached = await cancel_at(point, lambda count: _driven(store, store.append_group(*groups), count))  # noqa: B023  # called now
                for write in writes:
                    await streams.converge([write], f"a group that was cancelled at await point {point}")
                if not reached:
                    break

    @promise("ES-65", _NOTHING_LEFT, seeds=0)
    async def test_es_65_cancelled_many_times(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            calls = Calls(harness, store, "w")
            await calls.prepare()
            for kind in calls.kinds():
                for point in range(_POINTS):
                    if not await _cancelled_many_times(calls, kind, point):
                        break
                await calls.all_answer(f"after calls of {kind} that were cancelled {_TIMES} times at each of their await points")
                for other in others:
                    elsewhere = Calls(harness, other, f"o{kind.replace(' ', '').replace('_', '')}")
                    await elsewhere.bounded(elsewhere.prepare, f"calls of {kind} that were cancelled keep another instance from writing")
            if store.has_feed:
                await _waits_cancelled_many_times(calls)
                await calls.all_answer("after waits that were cancelled many times")

    @promise("ES-65", _NOTHING_LEFT, seeds=1)
    async def test_es_65_cancelled_in_a_crowd(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            calls = Calls(harness, store, "w")
            await calls.prepare()
            kinds = calls.kinds()
            meaning = "a call whose neighbours were cancelled must get its own answer"
            for steps in range(2 * _DELAYS):
                async with anyio.create_task_group() as tasks, anyio.create_task_group() as given_up:
                    for kind in kinds:
                        given_up.start_soon(calls.call(kind).ask)
                    for kind in kinds:
                        tasks.start_soon(calls.answers, kind, meaning)
                    for kind in kinds:
                        given_up.start_soon(calls.call(kind).ask)
                    for _ in range(steps):
                        await checkpoint()
                    given_up.cancel_scope.cancel()
                await calls.all_answer(f"after calls of every kind that were cancelled together after {steps} steps")

    @promise("ES-66", _CLOSED, seeds=0)
    async def test_es_66_closing_during_any_call(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            kinds = Calls(harness, store, "k").kinds()
        for kind in kinds:
            for point in range(1, _POINTS):
                name = f"{kind.replace(' ', '').replace('_', '')}{point}"
                async with harness.open() as store:
                    calls = Calls(harness, store, name)
                    await calls.prepare()
                    if not await _ends_when_closed(calls, calls.call(kind), point):
                        break

    @promise("ES-66", _CLOSED, seeds=0)
    async def test_es_66_closing_during_waits(self, harness: StoreHarness) -> None:
        for number in range(_DELAYS):
            async with harness.open() as store, harness.another(store) as others:
                calls = Calls(harness, store, f"w{number}")
                await calls.prepare()
                makers: list[Callable[[], Call]] = [calls.wait] * 3 if store.has_feed else []
                makers += [partial(calls.call, kind) for kind in calls.kinds()]
                async with anyio.create_task_group() as tasks:
                    for make in makers:
                        tasks.start_soon(_ends, calls, make())
                    for _ in range(number * _DELAYS):
                        await checkpoint()
                    tasks.start_soon(_closes, calls, "closing while calls of every kind are under way, twice at once, must end")
                    tasks.start_soon(_closes, calls, "closing while calls of every kind are under way, twice at once, must end")
                await is_closed("read_stream", lambda: store.page("x"))  # called now
                for other in others:
                    await Calls(harness, other, f"o{number}").prepare()

    @promise("ES-66", _CLOSED, seeds=0)
    async def test_es_66_a_cancelled_close(self, harness: StoreHarness) -> None:
        for point in range(_POINTS):
            async with harness.open() as store, harness.another(store) as others:
                calls = Calls(harness, store, f"c{point}")
                await calls.prepare()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_ends, calls, calls.call("append"))
                    tasks.start_soon(_ends, calls, calls.call("read_stream"))
                    await checkpoint()
                    reached = await cancel_at(point, lambda count: _driven(store, store.close(), count))
                    await _closes(calls, f"after a close that was cancelled at await point {point}, the next one must end")
                await is_closed("read_stream", lambda: store.page("x"))  # called now
                for other in others:
                    await Calls(harness, other, f"o{point}").prepare()
            if not reached:
                break

    @promise("ES-46", "Closing during an append waits for it, or the append says that its outcome is unknown.", seeds=1)
    async def test_es_46_closing_during_an_append(self, harness: StoreHarness) -> None:
        kept: list[str] = []
        for point in range(1, _MOST_POINTS):
            async with harness.open() as store:
                survives = store.capabilities.durability != "none"
                outcome, reached = await _closed_during(store, point, f"x@{len(kept)} b{point}")
            if not reached or not survives:
                break
            async with harness.open() as store:
                labels = await _as_answered(harness, store, kept, f"b{point}", outcome)
                kept[:] = labels.split()

    @promise("ES-47", "append_group: each append has its own outcome, one conflict sinks no neighbour, results stand in argument order.")
    async def test_es_47_group_commit(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            if not store.has_group_commit:
                harness.run.not_declared("group_commit")
            await store.append("x@0 a")
            groups = (["y@0 p"], ["x@0 no"], ["x@1 b c"], ["x@1 no"], ["x@3 d"], ["x@0 a"], ["y@0 p'"], ["z@0"], ["y@1 q"])
            outcomes = await store.append_group(*groups)
            wanted = (1, ConcurrencyError, 3, ConcurrencyError, 4, "replayed", EventIdCollisionError, ValueError, 2)
            expect(
                that=len(outcomes) == len(wanted) and all(map(_is_outcome, outcomes, wanted)),
                expected="1, a conflict, 3, a conflict, 4, 1 replayed, a collision, a ValueError, 2",
                got=show_outcomes(outcomes),
                meaning="each append must end as if the others had been sent before it, one by one",
            )
            await harness.holds(store, "x", "a b c d", meaning="a neighbour's failure sank an append, or a refused one was written")
            await harness.holds(store, "y", "p q", meaning="a neighbour's failure sank an append, or a refused one was written")
            await harness.feed_holds(store, "a p b c d q", meaning="the feed must show the appends in argument order")
            expect(
                that=[error.actual for error in outcomes if isinstance(error, ConcurrencyError)] == [1, 3],
                expected="conflicts with actual 1 and 3",
                got=show_outcomes(outcomes),
                meaning="a conflict tells the version that it met: with what the appends before it in the group wrote",
            )
            expect(that=not await store.append_group(), expected="no outcomes", got="some", meaning="no appends, no outcomes")


async def _cancelled(store: TestedStore, point: int, *writes: str | StreamWrite, busy: bool, delay: int = 0) -> bool:
    """Append, cancel at the ``point``-th suspension (0: before it begins), and return True if it was reached."""
    reached = False
    async with anyio.create_task_group() as tasks:
        if busy:
            tasks.start_soon(_keep_busy, store, f"before{point}")
            await checkpoint()
            tasks.start_soon(_keep_busy, store, f"behind{point}")
        reached = await cancel_at(point, lambda count: store.append(*writes, at_suspension=count), delay=delay)
    return reached  # noqa: RET504  # a task group may swallow an error, so that its block returns nothing


async def _keep_busy(store: TestedStore, name: str) -> None:
    for number in range(3):
        await store.append(f"{name}@{number} {name}k{number}")


async def _driven(store: TestedStore, call: Coroutine[Any, Any, T], count: AtSuspension) -> T:
    return await store.run.schedule.drive(call, count)


async def _kept(call: Coroutine[Any, Any, object], answers: list[object]) -> None:
    answers.append(await call)


async def _cancelled_many_times(calls: Calls, kind: str, point: int) -> bool:
    """Cancel calls at one await point, again and again; return True if it was reached."""
    for number in range(_TIMES):
        call = calls.call(kind)
        answers: list[object] = []

        async def cancel(call: Call = call, number: int = number, answers: list[object] = answers) -> bool:
            return await cancel_at(point, lambda count: _kept(_driven(calls.store, call.ask(), count), answers), delay=number % _DELAYS)

        if not await calls.bounded(cancel, f"after {number} calls of {kind} that were cancelled at await point {point}, one must end"):
            return False
        for answer in answers:
            call.judge(answer, "a call that is cancelled is answered rightly, or not at all")
        if number % _EVERY == 0:
            await calls.answers(kind, f"the answer after one that was cancelled at await point {point}")
    return True


async def _waits_cancelled_many_times(calls: Calls) -> None:
    """Cancel waits for a position that never comes, each after some turns of the event loop."""

    async def give_up(steps: int) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(calls.wait().ask)
            for _ in range(steps):
                await checkpoint()
            tasks.cancel_scope.cancel()

    for number in range(_POINTS * _TIMES):
        await calls.bounded(partial(give_up, number % _POINTS), "a wait that is cancelled must end")


async def _ends(calls: Calls, call: Call) -> None:
    """Expect the right answer of a call during which the store is closed, or the error that says so."""

    async def ask() -> None:
        allowed = (StoreClosedError, *UNKNOWN_OUTCOMES) if call.writes else (StoreClosedError,)
        try:
            answer = await call.ask()
        except allowed:
            return
        except Exception as error:
            raise MismatchError(
                expected="an answer, or StoreClosedError",
                got=show_error(error),
                meaning=f"{call.kind} of a store that is closed meanwhile must say so",
            ) from error
        call.judge(answer, f"the store was closed during {call.kind}, which must answer rightly or say so")

    await calls.bounded(ask, f"{call.kind} of a store that is closed meanwhile must end")


async def _closes(calls: Calls, meaning: str) -> None:
    await calls.bounded(calls.store.close, meaning)


async def _ends_when_closed(calls: Calls, call: Call, point: int) -> bool:
    """Close from another task at the ``point``-th suspension of a call; return True if it was reached."""
    suspensions = 0
    now = anyio.Event()

    def count() -> None:
        nonlocal suspensions
        suspensions += 1
        if suspensions == point:
            now.set()

    def held() -> Iterable[object]:
        return range(_TURNS) if suspensions == point else ()

    async def close() -> None:
        await now.wait()
        await _closes(calls, f"closing during {call.kind} must end")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(close)
        counted = attrs.evolve(call, ask=lambda: calls.store.run.schedule.drive(call.ask(), count, held))
        await _ends(calls, counted)
        now.set()
    return suspensions >= point


def _need_multi_stream(harness: StoreHarness, store: TestedStore) -> None:
    if not store.capabilities.multi_stream:
        harness.run.not_declared("multi_stream")


@attrs.define
class _Streams:
    """Three streams that are written together, and their events. All instances over one site are asked."""

    harness: StoreHarness
    instances: Sequence[TestedStore]
    kept: dict[str, list[str]] = attrs.field(factory=lambda: {"x": [], "y": [], "z": []})

    async def begin(self) -> None:
        """Write to the first stream, so that it exists and the others do not."""
        await self.instances[0].append("x@0 a")
        self.kept["x"] = ["a"]

    def writes(self, label: str) -> list[str]:
        """Return an append to all three streams."""
        parts = {"x": f"{label}x1 {label}x2", "y": f"{label}y1 {label}y2", "z": f"{label}z"}
        return [f"{name}@{len(self.kept[name])} {parts[name]}" for name in parts]

    async def converge(self, writes: Sequence[str], after: str) -> None:
        """Expect the append to be there whole or not at all, everywhere, and once after it was sent again."""
        await self.harness.contract.settle()
        new = {write.partition("@")[0]: write.split()[1:] for write in writes}
        is_there = await self._is_there(new, after)
        if list(is_there) == [False, True]:
            is_there = await self._is_there(new, after)  # the append was written during the search
        if len(is_there) > 1:
            raise MismatchError(
                expected="all of it or nothing, in every stream and instance",
                got=", ".join(f"{'there' if found else 'absent'} in {', '.join(places)}" for found, places in is_there.items()),
                meaning=f"{after} is there in a part of its streams",
            )
        store = self.instances[-1]
        result = await store.append(*writes, meaning=f"after {after}, the same events again must be answered or written")
        if True in is_there and not result.replayed:
            raise MismatchError(expected="replayed", got=show_result(result), meaning=f"{after} was there, and was written again")
        for name, labels in new.items():
            self.kept[name] = [*self.kept[name], *labels]
            await self.harness.holds(store, name, " ".join(self.kept[name]), meaning=f"{after}: its streams do not hold it whole and once")
        await self._feed_holds(store, new, after)
        await self.instances[0].append(
            *(f"{name}@{len(self.kept[name])} {labels[0]}next" for name, labels in new.items()),
            meaning=f"after {after}, the next one to the same streams must work, through any instance",
        )
        for name, labels in new.items():
            self.kept[name] = [*self.kept[name], f"{labels[0]}next"]

    async def _is_there(self, new: Mapping[str, Sequence[str]], after: str) -> dict[bool, list[str]]:
        """Return the places where the append is, and where it is not, in the order of looking."""
        found: dict[bool, list[str]] = {}
        label = self.harness.labels.label
        for store in self.instances:
            for name, labels in new.items():
                sought = [label(event) for event in await store.find(name, [event_id(one) for one in labels])]
                shown = [label(event) for event in (await store.whole(name)).events]
                if shown not in (self.kept[name], [*self.kept[name], *labels]) or sought not in ([], list(labels)):
                    raise MismatchError(
                        expected=f"{self.kept[name]}, and {list(labels)} or not",
                        got=f"{shown}, and found by id {sought}",
                        meaning=f"{after} is there half, in stream {name}",
                    )
                for is_there, how in ((bool(sought), "by id"), (len(shown) > len(self.kept[name]), "read")):
                    found.setdefault(is_there, []).append(f"{store.name}{name} {how}")
        return found

    async def _feed_holds(self, store: TestedStore, names: Iterable[str], after: str) -> None:
        """Expect the feed to show the same events as each stream."""
        if not store.has_feed:
            return
        shown: dict[str, list[str]] = {name: [] for name in names}
        for event in await store.whole_feed():
            if (name := stream_name(event.stream)) in shown:
                shown[name].append(self.harness.labels.label(event))
        for name, labels in shown.items():
            expect(
                that=labels == self.kept[name],
                expected=f"{self.kept[name]} of stream {name} in the feed",
                got=labels,
                meaning=f"{after}: the feed shows otherwise than its streams",
            )


async def _converges(harness: StoreHarness, store: TestedStore, kept: list[str], labels: str, point: int) -> None:
    """Expect the append to be there whole or not at all, once after it was sent again, and the stream to go on."""
    before = " ".join(kept)
    await harness.contract.settle()
    page = await store.whole("x")
    shown = harness.labels.show(page.events)
    whole = harness.labels.show(harness.labels.events(f"{before} {labels}"))
    absent = harness.labels.show(harness.labels.events(before))
    expect(
        that=shown in {whole, absent},
        expected=f"{whole} or {absent}",
        got=shown,
        meaning=f"an append that was cancelled at await point {point} is there half",
    )
    write = f"x@{len(kept)} {labels}"
    await store.append(write, meaning="after a cancelled append, the same events again must be answered or written")
    kept += labels.split()
    await harness.holds(store, "x", " ".join(kept), meaning="an append that was cancelled and sent again is not there exactly once")
    await store.append(f"x@{len(kept)} next{point}", meaning="after a cancelled append, the next one must work")
    kept.append(f"next{point}")


async def is_closed(name: str, use: Callable[[], Awaitable[object]]) -> None:
    """Expect StoreClosedError of a call."""
    try:
        result = await use()
    except StoreClosedError:
        return
    except Exception as error:
        raise MismatchError(
            expected="StoreClosedError", got=show_error(error), meaning=f"{name} of a closed store must say that it is closed"
        ) from error
    raise MismatchError(expected="StoreClosedError", got=repr(result), meaning=f"{name} works on a closed store")


async def _closed_during(store: TestedStore, point: int, write: str) -> tuple[AppendResult | Exception | None, bool]:
    """Append, close from another task at the ``point``-th suspension, and return the answer, and True if it was reached."""
    suspensions = 0
    now = anyio.Event()
    outcome: AppendResult | Exception | None = None

    def count() -> None:
        nonlocal suspensions
        suspensions += 1
        if suspensions == point:
            now.set()

    async def close() -> None:
        await now.wait()
        await store.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(close)
        try:
            outcome = await store.append(write, at_suspension=count)
        except (AppendOutcomeUnknownError, StoreClosedError, StoreUnavailableError) as error:
            outcome = error
        except Exception as error:
            expected = "an answer, AppendOutcomeUnknownError, or a refusal before anything was written"
            raise MismatchError(
                expected=expected, got=show_error(error), meaning="the caller can't tell what became of its append"
            ) from error
        now.set()
    return outcome, suspensions >= point


async def _as_answered(
    harness: StoreHarness, store: TestedStore, kept: list[str], label: str, outcome: AppendResult | Exception | None
) -> str:
    """Return the labels in the stream, which must agree with the answer of the append during which the store was closed."""
    page = await store.whole("x")
    before, after = " ".join(kept), " ".join([*kept, label])
    allowed: tuple[str, ...]
    match outcome:
        case AppendResult():
            allowed = (after,)
        case AppendOutcomeUnknownError():
            allowed = (before, after)
        case _:
            allowed = (before,)
    for labels in allowed:
        if harness.labels.show(page.events) == harness.labels.show(harness.labels.events(labels)):
            return labels
    answered = show_result(outcome) if isinstance(outcome, AppendResult) else type(outcome).__name__
    raise MismatchError(
        expected=f"[{' or '.join(allowed)}]",
        got=harness.labels.show(page.events),
        meaning=f"the append answered {answered} when the store was closed under it, and the stream says otherwise",
    )


def _is_outcome(outcome: AppendResult | Exception, wanted: object) -> bool:
    if isinstance(outcome, AppendResult):
        version = next(iter(outcome.versions.values()))
        return outcome.replayed if wanted == "replayed" else version == wanted and not outcome.replayed
    return isinstance(wanted, type) and isinstance(outcome, wanted)
