"""ES-46, ES-58, ES-59, ES-95: closing, and data that is moved away or lost while the store is open."""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.ports import StreamCatalogue, StreamWrite
from inventory_es.ports.errors import AppendOutcomeUnknownError, CorruptStoreError, StoreClosedError, StoreUnavailableError
from inventory_es.testing.contracts.core.event_labels import event_id, stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.calls import Calls
from inventory_es.testing.contracts.event_store.comparison import Comparison
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.interruption import is_closed
from inventory_es.testing.contracts.event_store.reference_model import ReferenceModel
from inventory_es.testing.contracts.event_store.tested_store import TestedStore, Way, show_error
from inventory_es.testing.promise import MismatchError, promise

_ANSWERS = "An answer is its caller's for ever: what was read before the close is read after it; other instances go on with what they do."
_POINTS = 6
_TURNS = 10
"""Turns of the event loop for which an append is held, so that a close that does not wait for it ends first."""
_CALLS = 3
_STEPS = 4
_APPENDS = 8
_REFUSES = "A store whose place was taken away refuses to write, with StoreClosedError: nobody who opens the place would find it."


class ClosingCases:
    """Cases of a closed store."""

    @promise("ES-46", "Closing twice is fine; use after close is StoreClosedError, whatever is asked.")
    async def test_es_46_use_after_close(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a")
            await store.close()
            await store.close()
            for name, use in _uses(store).items():
                await is_closed(name, use)

    @promise("ES-46", "When a close has ended, the first one or another at once, nothing is written any more.", seeds=0)
    async def test_es_46_nothing_is_written_after_a_close(self, harness: StoreHarness) -> None:
        async with harness.open() as store, harness.another(store) as others:
            if not others:
                harness.run.not_declared("durability above none and multi_process")
            ways = store.ways
        for way in ways:
            for is_behind in (False, True):
                for point in range(1, _POINTS):
                    async with harness.open() as store, harness.another(store) as others:
                        name = f"{way}{'behind' if is_behind else ''}{point}"
                        if not await _Closing(harness, store, others[0], way, name).run(point, is_behind=is_behind):
                            break

    @promise("ES-95", _ANSWERS, seeds=0)
    async def test_es_95_answers_outlive_the_store(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            comparison = Comparison(harness, store, ReferenceModel())
            for name in ("x", "y"):
                for version in range(2):
                    await comparison.append([StreamWrite(stream_id(name), version, harness.labels.events(f"{name}{version}"))])
            pages = [await store.page("x"), await store.page_backwards("x")]
            answers = [*(page.events for page in pages), await store.find("x", [event_id("x0"), event_id("x1")])]
            if store.has_feed:
                answers.append((await store.feed_page()).events)
            heads = (await store.streams(limit=2)).heads if isinstance(store.raw, StreamCatalogue) else ()
            again = [*(page.events for page in [await store.page("x"), await store.page_backwards("x")])]
            read = [*map(list, again), *map(list, answers[2:])]
            await store.close()
            try:
                kept = [*map(list, answers)]
                names = [head.stream.text for head in heads]
            except Exception as error:
                raise MismatchError(
                    expected="the events of a page that was read before the close",
                    got=f"{type(error).__name__}: {error}",
                    meaning="a page asks the store for its events when it is looked at",
                ) from error
            if kept != read or names != sorted(names):
                raise MismatchError(
                    expected=str([*map(harness.labels.show, read)]),
                    got=str([*map(harness.labels.show, kept)]),
                    meaning="a page that was read before the close has changed",
                )

    @promise("ES-95", _ANSWERS, seeds=1)
    async def test_es_95_other_instances_go_on(self, harness: StoreHarness) -> None:
        async with harness.open() as survivor:
            if not survivor.capabilities.multi_process or survivor.capabilities.durability == "none":
                harness.run.not_declared("multi_process, and durability above none")
            calls = Calls(harness, survivor, "w")
            await calls.prepare()
            for number in range(_CALLS):
                async with harness.open() as store, anyio.create_task_group() as tasks:
                    await store.page("x")
                    if survivor.has_feed:
                        wait = partial(survivor.wait, await survivor.head() + 1, timeout=10 * harness.contract.patience)
                        tasks.start_soon(calls.bounded, wait, "another instance was closed, and a wait of this one does not go on")
                    for kind in calls.kinds():
                        tasks.start_soon(calls.answers, kind, "another instance was closed meanwhile")
                    for _ in range(number * _STEPS):
                        await checkpoint()
                    await store.close()
                    await survivor.append(f"after{number}@0 after{number}")
                await calls.all_answer("after another instance was closed")


@attrs.define
class _Closing:
    """One append that is held while its store is closed twice, and the readings of another instance after each close."""

    harness: StoreHarness
    store: TestedStore
    other: TestedStore
    way: Way
    name: str
    _suspensions: int = 0
    _reached: anyio.Event = attrs.field(factory=anyio.Event)
    _seen: list[int] = attrs.field(factory=list[int])

    async def run(self, point: int, *, is_behind: bool) -> bool:
        """Close at the ``point``-th suspension of the append; return True if it was reached."""

        def count() -> None:
            self._suspensions += 1
            if self._suspensions == point:
                self._reached.set()

        def held() -> Iterable[object]:
            return range(_TURNS) if self._suspensions == point else ()

        async with anyio.create_task_group() as tasks:
            if is_behind:
                tasks.start_soon(self._append_before)
            tasks.start_soon(self._close)
            tasks.start_soon(self._close)
            await checkpoint()
            is_unknown = False
            try:
                with suppress(StoreClosedError, StoreUnavailableError):
                    await self.store.run.schedule.drive(self.store.append_by(self.way, f"{self.name}@0 {self.name}a"), count, held)
            except AppendOutcomeUnknownError:
                is_unknown = self.store.capabilities.settles_within != 0
            self._reached.set()
        await self.harness.contract.settle()
        if is_unknown:
            return True  # it may still be on its way to the backend
        version = (await self.other.page(self.name, limit=1)).version
        expect(
            that=self._seen == [version, version],
            expected=f"version {version} after each of two closes, as it is now",
            got=f"versions {self._seen}",
            meaning=f"an {self.way} that was under way was written after a close had ended; who closes a store goes on without it",
        )
        return self._suspensions >= point

    async def _append_before(self) -> None:
        try:
            await self.store.append(f"{self.name}first@0 {self.name}b")
        except (StoreClosedError, StoreUnavailableError, AppendOutcomeUnknownError):
            return

    async def _close(self) -> None:
        await self._reached.wait()
        await self.store.close()
        self._seen.append((await self.other.page(self.name, limit=1)).version)


class PlaceCases:
    """Cases of a store whose data was moved away, with the hook ``take_away``, or is incomplete, with ``lose``."""

    @promise("ES-58", _REFUSES, seeds=0)
    async def test_es_58_moved_away(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            await store.append("x@0 a b")
            await _take_away(harness)
            for _ in range(2):
                await _is_refused(store, "x@2 c", "what is written now is lost to everybody who opens the place")
                await _is_refused(store, "y@0 p", "a new stream is lost likewise")
        if store.capabilities.durability != "none":
            async with harness.open() as store:
                await harness.holds(store, "x", "", meaning="the place is empty: what was there was moved away")
                await store.append("x@0 d", meaning="the place can be used again")

    @promise("ES-58", _REFUSES, seeds=0)
    async def test_es_58_replaced(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, durable=True)
            await store.append("x@0 a b")
            await _take_away(harness)
            async with harness.open() as other:
                await other.append("y@0 p", meaning="whoever opens the place gets a new store")
                await _is_refused(store, "x@2 c", "the place has another store now, which does not get what this one writes")
                await _is_refused(store, "y@0 q", "the place has another store now, whose streams this one does not know")
                await other.append("y@1 r", meaning="the other store is untouched")
        async with harness.open() as other:
            await harness.holds(other, "y", "p r", meaning="the store that was replaced wrote into its successor")
            await harness.holds(other, "x", "", meaning="the store that was replaced wrote into its successor")
            await harness.feed_holds(other, "p r", meaning="the store that was replaced wrote into its successor")

    @promise("ES-59", "A part of the history that is missing is not passed over: whatever would show it is CorruptStoreError.", seeds=0)
    async def test_es_59_lost_in_the_middle(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, durable=True)
            for number in range(_APPENDS):
                await store.append(f"x@{2 * number} a{number} b{number}")
                await store.append(f"y@{number} c{number}")
        if not await harness.contract.lose(harness.run.site, stream_id("x")):
            harness.run.not_declared("lose: the hook that removes a part of a stored stream, but not its end")
        try:
            async with harness.open() as store:
                await _is_corrupt("read_stream", store.whole("x"))
                await _is_corrupt("read_stream_backwards", store.page_backwards("x"))
                await _is_corrupt("read_stream, page by page,", _page_by_page(store))
                await _is_corrupt("read_stream_backwards, page by page,", _page_by_page_backwards(store))
                if store.has_feed:
                    await _is_corrupt("read_all", store.whole_feed())
                    await _is_corrupt("read_all, page by page,", store.whole_feed(limit=1))
        except CorruptStoreError:
            return


def _uses(store: TestedStore) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return calls of every method, including those that need no backend to answer."""
    uses: dict[str, Callable[[], Awaitable[object]]] = {
        "append": lambda: store.append("x@1 b"),
        "append again": lambda: store.append("x@0 a"),
        "read_stream": lambda: store.page("x"),
        "read_stream of a missing stream": lambda: store.page("y"),
        "read_stream past the end": lambda: store.page("x", after=1),
        "read_stream_backwards": lambda: store.page_backwards("x"),
        "read_stream_backwards before the first event": lambda: store.page_backwards("x", before=1),
        "find_events": lambda: store.find("x", [event_id("a")]),
        "find_events of no ids": lambda: store.find("x", []),
    }
    if store.has_feed:
        uses["read_all"] = store.feed_page
        uses["read_all past the end"] = lambda: store.feed_page(after=1 << 40)
        uses["head"] = store.head
        uses["wait_for_position"] = lambda: store.wait(1, timeout=1.0)
        uses["wait_for_position of 0"] = lambda: store.wait(0, timeout=0)
        uses["wait_for_position without time"] = lambda: store.wait(1 << 40, timeout=0)
    if isinstance(store.raw, StreamCatalogue):
        uses["streams"] = lambda: store.streams(limit=1)
        uses["streams behind the last"] = lambda: store.streams("none", after=stream_id("z"), limit=1)
    if store.has_group_commit:
        uses["append_group"] = lambda: store.append_group(["x@1 b"])
    return uses


async def _page_by_page(store: TestedStore) -> int:
    """Read the stream x by one event at a time, and return the number of events."""
    after, is_end = 0, False
    while not is_end:
        page = await store.page("x", after=after, limit=1)
        after, is_end = after + len(page.events), page.is_end or not page.events
        await checkpoint()
    return after


async def _page_by_page_backwards(store: TestedStore) -> int:
    """Read the stream x backwards by one event at a time, and return the version at which that ended."""
    before: int | None = None
    is_end = False
    while not is_end:
        page = await store.page_backwards("x", before=before, limit=1)
        is_end = page.is_end or not page.events
        before = page.events[-1].version if page.events else before
        await checkpoint()
    return before or 0


async def _is_corrupt(name: str, read: Awaitable[object]) -> None:
    meaning = f"{name} answers from a history in which a part is missing"
    try:
        got = await read
    except CorruptStoreError:
        return
    except Exception as error:
        raise MismatchError(expected="CorruptStoreError", got=show_error(error), meaning=meaning) from error
    expect(that=False, expected="CorruptStoreError", got=got, meaning=meaning)


async def _take_away(harness: StoreHarness) -> None:
    if not await harness.contract.take_away(harness.run.site):
        harness.run.not_declared("take_away: the hook that moves what is stored to another place")


async def _is_refused(store: TestedStore, write: str, meaning: str) -> None:
    await store.refused(StoreClosedError, write, meaning=meaning)
    if store.has_group_commit:
        outcomes: object
        try:
            outcomes = await store.append_group([write])
        except StoreClosedError:
            return
        expect(that=False, expected="StoreClosedError", got=outcomes, meaning=meaning)
