"""ES-90 … ES-94: every answer is current, also when many callers and several processes ask again and again."""

import random
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import StreamCatalogue, StreamWrite
from inventory_es.testing.contracts.core.event_labels import event_id, stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.calls import Calls
from inventory_es.testing.contracts.event_store.comparison import Comparison
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.processes import need_other_processes
from inventory_es.testing.contracts.event_store.reference_model import ReferenceModel
from inventory_es.testing.contracts.event_store.tested_store import ALL, TestedStore
from inventory_es.testing.contracts.event_store.writer import STREAM
from inventory_es.testing.contracts.processes.other_process import other_process, task
from inventory_es.testing.promise import MismatchError, promise

_STEPS = 10
_POINTS = 6
_HELD = 60
"""Turns of the event loop for which an older request is held, so that an append and a younger request overtake it."""
_CALLERS = 64
_CROWD = 6
_ROUNDS = 5
_MEBIBYTE = 1 << 20
_LARGE_EVENTS = 6
_LONG_AGO = 4
_NAMES = ("x", "y", "z")
_X = stream_id("x")

Ask = Callable[[], Coroutine[Any, Any, object]]

_AT_ONCE = (
    "A question that is asked while others ask the same, give up, or append, is answered as of a moment after it was asked; "
    "the catalogue shows an append to several streams whole or not at all."
)


class QuestionCases:
    """Cases of answers, rows and requests that an adapter keeps for too long."""

    @promise(
        "ES-90",
        "What was asked before is answered anew: between any appends, through any instance, page after page, whatever the caller did "
        "with the answer that it got.",
        seeds=0,
    )
    async def test_es_90_asked_again(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            model = ReferenceModel()
            chance = random.Random(f"ES-90:{harness.run.seed}")
            readers = [_Reader(Comparison(harness, one, model)) for one in (store, *others)]
            for step in range(_STEPS):
                for reader in readers:
                    await reader.ask_everything(twice=step % 2 == 0)
                await _append_somewhere(chance.choice(readers).comparison, chance)
            for reader in readers:
                await reader.ask_everything(twice=True)

    @promise(
        "ES-91", "What another process appended is shown by every way of reading at once, also where it was asked for before.", seeds=0
    )
    async def test_es_91_another_process(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, durable=True)
            if not store.capabilities.multi_process:
                harness.run.not_declared("multi_process")
            arguments = need_other_processes(harness)
            await store.append(f"{STREAM}@0 first")
            shown = _Shown(harness, store)
            await shown.at_least(1)
            calls = Calls(harness, store, "w")
            async with (
                other_process([*arguments, task(harness.run, "there", _ROUNDS, size=1)]) as other,
                anyio.create_task_group() as tasks,
            ):
                if store.has_feed:
                    ask = partial(store.wait, await store.head() + 1, timeout=10 * harness.contract.patience)
                    tasks.start_soon(calls.bounded, ask, "a wait for a position that another process appends must end")
                await shown.at_least(1)
                await other.go()
                while (step := await other.hear()) is not None:
                    if "version" in step:
                        await shown.at_least(step["version"])
            await shown.at_least(1 + _ROUNDS)

    @promise("ES-92", _AT_ONCE, seeds=0)
    async def test_es_92_beside_an_older_question(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            comparison = Comparison(harness, store, ReferenceModel())
            await _append(comparison, "x")
            for kind in _questions(comparison, 0):
                for point in range(1, _POINTS):
                    if not await _overtaken(comparison, kind, point):
                        break

    @promise("ES-92", _AT_ONCE, seeds=1)
    async def test_es_92_many_at_once(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            comparison = Comparison(harness, store, ReferenceModel())
            for name in (*_NAMES, *_NAMES, *_NAMES):
                await _append(comparison, name)
            for kind in _questions(comparison, 0):
                async with anyio.create_task_group() as tasks:
                    for number in range(_CALLERS):
                        tasks.start_soon(_questions(comparison, number)[kind])
                for steps in range(_CROWD):
                    async with anyio.create_task_group() as tasks, anyio.create_task_group() as given_up:
                        for number in (0, 1, 2, 0, 0):
                            given_up.start_soon(_questions(comparison, number)[kind])
                            tasks.start_soon(_questions(comparison, number)[kind])
                        for _ in range(steps):
                            await checkpoint()
                        given_up.cancel_scope.cancel()

    @promise("ES-92", _AT_ONCE)
    async def test_es_92_the_catalogue_during_appends(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            if not isinstance(store.raw, StreamCatalogue):
                harness.run.not_declared("StreamCatalogue")
            if not store.capabilities.multi_stream:
                harness.run.not_declared("multi_stream")
            harness.need(store, together=2)
            writer = others[0] if others else store
            is_written = False

            async def watch() -> None:
                while not is_written:
                    listed = {head.stream.parts[0]: head.version for head in (await store.streams(limit=ALL)).heads}
                    expect(
                        that=len({listed.get("x", 0), listed.get("y", 0)}) == 1 or len(listed) == 1,
                        expected="x and y at one version, as every append writes to both",
                        got=listed,
                        meaning="a page of the catalogue shows a part of an append",
                    )
                    await checkpoint()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                for number in range(_STEPS):
                    await writer.append(f"x@{number} a{number}", f"y@{number} b{number}")
                is_written = True

    @promise("ES-93", "An answer may be of many mebibytes, in every way of reading, by one page or by several.", seeds=0)
    async def test_es_93_large_answers(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            declared = store.capabilities
            size = min(declared.max_event_bytes, declared.max_append_bytes, _MEBIBYTE)
            comparison = Comparison(harness, store, ReferenceModel())
            for number in range(_LARGE_EVENTS):
                await comparison.append([StreamWrite(_X, number, [harness.labels.sized(f"large{number}", size)])])
            await comparison.append([StreamWrite(_X, _LARGE_EVENTS, [harness.labels.event("small")])])
            await comparison.everything(limits=(2, ALL))

    @promise(
        "ES-94",
        "A position that is there is seen at once, by whatever timeout; a wait without an end ends when its position comes, at whatever "
        "moment of its beginning, and however many wait.",
        seeds=1,
    )
    async def test_es_94_waits(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            if not store.has_feed:
                harness.run.not_declared("feed='total'")
            calls = Calls(harness, store, "w")
            for number in range(_STEPS):
                writer = (store, *others)[number % (1 + len(others))]
                position = await store.head() + 1
                async with anyio.create_task_group() as tasks:
                    ask = partial(store.wait, position, timeout=float("inf") if number % 3 else 1e10)
                    tasks.start_soon(calls.bounded, ask, "a wait must end when its position comes, also right after it was looked for")
                    for _ in range(number):
                        await checkpoint()
                    await writer.append(f"x@{number} e{number}")
                await _is_seen(store, position)
            async with anyio.create_task_group() as waiters:
                for _ in range(_CALLERS):
                    waiters.start_soon(calls.wait().ask)
                await checkpoint()
                last = await store.head()
                far = partial(store.wait, last + (1 << 40), timeout=0.01)
                await calls.bounded(far, f"a wait must end at its timeout while {_CALLERS} others wait")
                async with anyio.create_task_group() as tasks:
                    ask = partial(store.wait, last + 1, timeout=float("inf"))
                    for _ in range(_LONG_AGO):
                        tasks.start_soon(calls.bounded, ask, f"a wait must end when its position comes while {_CALLERS} others wait")
                    for _ in range(_LONG_AGO):
                        await checkpoint()
                    await store.append(f"x@{_STEPS} last")
                await _is_seen(store, await store.head())
                waiters.cancel_scope.cancel()


@attrs.define(eq=False)
class _Reader:
    """One instance, the requests that are repeated on it, and how far it has read.

    Attributes:
        comparison: the instance, compared with the reference of all instances.
        after, before, position, stream: where the next page begins, one event or stream further each time.
    """

    comparison: Comparison
    after: int = 0
    before: int | None = None
    position: int = 0
    stream: StreamId | None = None

    async def ask_everything(self, *, twice: bool) -> None:
        """Repeat the earlier requests, spoil the answers, ask again, and read on by one page in each way."""
        await self.comparison.harness.contract.settle()
        for _ in range(1 + twice):
            for name in (*_NAMES, "never"):
                for ask in _questions(self.comparison, 0, name).values():
                    spoil(await ask())
                self.comparison.glance(stream_id(name))
            if self.comparison.store.has_feed:
                await self.comparison.head()
        await self._read_on()

    async def _read_on(self) -> None:
        comparison = self.comparison
        page = await comparison.page(_X, after=self.after, limit=1)
        self.after += len(page.events)
        page = await comparison.page_backwards(_X, before=self.before, limit=1)
        self.before = page.events[-1].version if page.events else None
        if comparison.store.has_feed:
            self.position = (await comparison.feed_page(after=self.position, limit=1)).next_after
        if isinstance(comparison.store.raw, StreamCatalogue):
            listed = await comparison.catalogue_page("", after=self.stream, limit=1)
            self.stream = None if listed.is_end else listed.heads[-1].stream


@attrs.frozen
class _Shown:
    """A stream that another process writes to, as an instance shows it."""

    harness: StoreHarness
    store: TestedStore

    async def at_least(self, version: int) -> None:
        """Expect every way of reading to show this version, or a newer one."""
        await self.harness.contract.settle()
        store, stream = self.store, stream_id(STREAM)
        back = await store.page_backwards(STREAM, limit=1)
        seen = {"read_stream": (await store.page(STREAM, after=version - 1, limit=1)).version, "read_stream_backwards": back.version}
        seen["the newest event backwards"] = back.events[0].version if back.events else 0
        asked = [event_id("first"), *(event_id(f"theren{number}e0") for number in range(_ROUNDS))]
        seen["find_events"] = len(await store.find(STREAM, asked))
        if store.has_feed:
            fed = await store.whole_feed()
            seen["read_all"] = len(fed)
            head = await store.head()
            seen["the head"] = sum(event.position <= head for event in fed)
        if isinstance(store.raw, StreamCatalogue):
            heads = (await store.streams(stream.text, limit=1)).heads
            seen["streams"] = heads[0].version if heads else 0
        for way, number in seen.items():
            expect(
                that=number >= version,
                expected=f"{version} events or more",
                got=f"{number} by {way}",
                meaning="another process had its answer before this was asked: an answer is kept from before",
            )


def spoil(answer: Any) -> None:
    """Empty the lists of an answer, as its caller may."""
    for name in ("events", "heads"):
        spoiled = getattr(answer, name, answer)
        if isinstance(spoiled, list):
            spoiled.clear()


def _questions(comparison: Comparison, number: int, name: str = "x") -> Mapping[str, Ask]:
    """Return a request for each way of reading, which depends on its number."""
    stream, limit = stream_id(name), (ALL, 1, 2, 3)[number % 4]
    ids = [event_id(f"{name}{version}") for version in range(1 + number % 3, _STEPS + 3)]
    asks: dict[str, Ask] = {
        "read_stream": lambda: comparison.page(stream, after=number % 3, limit=limit),
        "read_stream_backwards": lambda: comparison.page_backwards(stream, before=(None, 3, 2)[number % 3], limit=limit),
        "find_events": lambda: comparison.ids(stream, ids),
    }
    if comparison.store.has_feed:
        positions = [0, *comparison.model.positions.values()]
        asks["read_all"] = lambda: comparison.feed_page(after=positions[number % 3 % len(positions)], limit=limit)
        asks["head"] = comparison.head
    if isinstance(comparison.store.raw, StreamCatalogue):
        prefix = ("", stream.text, "contract-")[number % 3]
        asks["streams"] = lambda: comparison.catalogue_page(prefix, after=None, limit=limit)
    return asks


async def _append(comparison: Comparison, name: str, count: int = 1) -> None:
    """Append the next events of a stream, whose labels are its name and their versions."""
    version = comparison.model.version(stream_id(name))
    labels = " ".join(f"{name}{version + 1 + place}" for place in range(count))
    await comparison.append([StreamWrite(stream_id(name), version, comparison.harness.labels.events(labels))])


async def _append_somewhere(comparison: Comparison, chance: random.Random) -> None:
    await _append(comparison, chance.choice(_NAMES), chance.randint(1, min(2, comparison.store.capabilities.max_append_events)))


async def _overtaken(comparison: Comparison, kind: str, point: int) -> bool:
    """Hold a request at its ``point``-th suspension, append, and ask again; return True if the suspension was reached."""
    suspensions = 0
    is_held = anyio.Event()

    def look() -> int | None:
        nonlocal suspensions
        suspensions += 1
        if suspensions != point:
            return None
        is_held.set()
        return _HELD

    async def ask() -> None:
        with suppress(MismatchError):  # it may show the append or not
            await comparison.store.run.schedule.drive(_questions(comparison, 0)[kind](), look)
        is_held.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await is_held.wait()
        await _append(comparison, "x")
        await _questions(comparison, 0)[kind]()
    return suspensions >= point


async def _is_seen(store: TestedStore, position: int) -> None:
    for timeout in (0, 0.0, 0.01, 1e10, float("inf")):
        for place in {0, 1, position}:
            seen = await store.wait(place, timeout=timeout)
            expect(
                that=seen is True,
                expected="True at once",
                got=repr(seen),
                meaning=f"position {place} is there, and a wait of {timeout} s for it does not see it",
            )
