"""ES-46, ES-95: what is left of a store after its close, and what other instances go on with."""

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.ports import StreamCatalogue, StreamWrite
from inventory_es.testing.event_store.bench import StoreBench
from inventory_es.testing.event_store.calls import Calls
from inventory_es.testing.event_store.comparison import Comparison
from inventory_es.testing.event_store.interruption import is_closed
from inventory_es.testing.event_store.reference_model import ReferenceModel
from inventory_es.testing.event_store.tested_store import TestedStore
from inventory_es.testing.failure import MismatchError
from inventory_es.testing.labels import event_id, stream_id
from inventory_es.testing.promise import promise

_ANSWERS = "An answer is its caller's for ever: what was read before the close is read after it; other instances go on with what they do."
_CALLS = 3
_STEPS = 4


class ClosingCases:
    """A closed store."""

    @promise("ES-46", "Closing twice is fine; use after close is StoreClosedError, whatever is asked.")
    async def test_es_46_use_after_close(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a")
            await store.close()
            await store.close()
            for name, use in _uses(store).items():
                await is_closed(name, use)

    @promise("ES-95", _ANSWERS, seeds=0)
    async def test_es_95_answers_outlive_the_store(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            comparison = Comparison(bench, store, ReferenceModel())
            for name in ("x", "y"):
                for version in range(2):
                    await comparison.append([StreamWrite(stream_id(name), version, bench.labels.events(f"{name}{version}"))])
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
                    expected=str([*map(bench.labels.show, read)]),
                    got=str([*map(bench.labels.show, kept)]),
                    meaning="a page that was read before the close has changed",
                )

    @promise("ES-95", _ANSWERS, seeds=1)
    async def test_es_95_other_instances_go_on(self, bench: StoreBench) -> None:
        async with bench.open() as survivor:
            if not survivor.capabilities.multi_process or survivor.capabilities.durability == "none":
                bench.run.not_declared("multi_process, and durability above none")
            calls = Calls(bench, survivor, "w")
            await calls.prepare()
            for number in range(_CALLS):
                async with bench.open() as store, anyio.create_task_group() as tasks:
                    await store.page("x")
                    if survivor.has_feed:
                        wait = partial(survivor.wait, await survivor.head() + 1, timeout=10 * bench.contract.patience)
                        tasks.start_soon(calls.bounded, wait, "another instance was closed, and a wait of this one does not go on")
                    for kind in calls.kinds():
                        tasks.start_soon(calls.answers, kind, "another instance was closed meanwhile")
                    for _ in range(number * _STEPS):
                        await checkpoint()
                    await store.close()
                    await survivor.append(f"after{number}@0 after{number}")
                await calls.all_answer("after another instance was closed")


def _uses(store: TestedStore) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return uses of every method, also those that could be answered without the backend."""
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
