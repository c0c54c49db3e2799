"""ES-44, ES-46, ES-47: cancelling, closing, and many appends in one commit."""

from collections.abc import Awaitable, Callable

import anyio

from inventory_es.ports import AppendResult, StreamCatalogue
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    ConcurrencyError,
    EventIdCollisionError,
    StoreClosedError,
    StoreUnavailableError,
)
from inventory_es.testing.event_store.bench import StoreBench, expect
from inventory_es.testing.event_store.tested_store import TestedStore, show_error, show_outcomes, show_result
from inventory_es.testing.failure import MismatchError
from inventory_es.testing.labels import event_id
from inventory_es.testing.promise import promise

_MOST_POINTS = 60


class InterruptionCases:
    """What happens when a caller gives up, or the store is closed under it."""

    @promise(
        "ES-44",
        "An append cancelled at any await point is there whole or not at all; locks are free; the same ids again converge.",
        seeds=1,
    )
    async def test_es_44_cancelled_at_every_await_point(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a")
            kept = ["a"]
            for point in range(_MOST_POINTS):
                reached = await _cancelled(store, point, f"x@{len(kept)} b{point} c{point}", busy=False)
                await _converges(bench, store, kept, f"b{point} c{point}", point)
                if not reached:
                    break

    @promise("ES-44", "An append cancelled while it waits for another is there whole or not at all; locks are free; the same ids converge.")
    async def test_es_44_cancelled_while_another_append_runs(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            kept: list[str] = []
            for point in range(_MOST_POINTS):
                reached = await _cancelled(store, point, f"x@{len(kept)} b{point} c{point}", busy=True)
                await _converges(bench, store, kept, f"b{point} c{point}", point)
                if not reached:
                    break

    @promise("ES-46", "Closing twice is fine; use after close is StoreClosedError.")
    async def test_es_46_use_after_close(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            await store.append("x@0 a")
            await store.close()
            await store.close()
            uses: dict[str, Callable[[], Awaitable[object]]] = {
                "append": lambda: store.append("x@1 b"),
                "append again": lambda: store.append("x@0 a"),
                "read_stream": lambda: store.page("x"),
                "read_stream_backwards": lambda: store.page_backwards("x"),
                "find_events": lambda: store.find("x", [event_id("a")]),
            }
            if store.has_feed:
                uses["read_all"] = store.feed_page
                uses["head"] = store.head
                uses["wait_for_position"] = lambda: store.feed.wait_for_position(1, timeout=1.0)
            catalogue = store.raw
            if isinstance(catalogue, StreamCatalogue):
                uses["streams"] = lambda: catalogue.streams(limit=1)
            if store.has_group_commit:
                uses["append_group"] = lambda: store.append_group(["x@1 b"])
            for name, use in uses.items():
                await _is_closed(name, use)

    @promise("ES-46", "Closing during an append waits for it, or the append says that its outcome is unknown.", seeds=1)
    async def test_es_46_closing_during_an_append(self, bench: StoreBench) -> None:
        kept: list[str] = []
        for point in range(1, _MOST_POINTS):
            async with bench.open() as store:
                survives = store.capabilities.durability != "none"
                outcome, reached = await _closed_during(store, point, f"x@{len(kept)} b{point}")
            if not reached or not survives:
                break
            async with bench.open() as store:
                labels = await _as_answered(bench, store, kept, f"b{point}", outcome)
                kept[:] = labels.split()

    @promise("ES-47", "append_group: each append has its own outcome, one conflict sinks no neighbour, results stand in argument order.")
    async def test_es_47_group_commit(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            if not store.has_group_commit:
                bench.run.not_declared("group_commit")
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
            await bench.holds(store, "x", "a b c d", meaning="a neighbour's failure sank an append, or a refused one was written")
            await bench.holds(store, "y", "p q", meaning="a neighbour's failure sank an append, or a refused one was written")
            await bench.feed_holds(store, "a p b c d q", meaning="the feed must show the appends in argument order")
            expect(
                that=[error.actual for error in outcomes if isinstance(error, ConcurrencyError)] == [1, 3],
                expected="conflicts with actual 1 and 3",
                got=show_outcomes(outcomes),
                meaning="a conflict tells the version that it met: with what the appends before it in the group wrote",
            )
            expect(that=not await store.append_group(), expected="no outcomes", got="some", meaning="no appends, no outcomes")


async def _cancelled(store: TestedStore, point: int, write: str, *, busy: bool) -> bool:
    """Append and cancel at the ``point``-th suspension (0: before it begins); whether it was reached."""
    suspensions = 0
    async with anyio.create_task_group() as tasks:
        if busy:
            tasks.start_soon(_keep_busy, store, point)
            await anyio.lowlevel.checkpoint()
        with anyio.CancelScope() as scope:

            def count() -> None:
                nonlocal suspensions
                suspensions += 1
                if suspensions == point:
                    scope.cancel()

            if point == 0:
                scope.cancel()
            await store.append(write, at_suspension=count)
    return point == 0 or suspensions >= point


async def _keep_busy(store: TestedStore, point: int) -> None:
    for number in range(3):
        await store.append(f"busy{point}@{number} k{number}")


async def _converges(bench: StoreBench, store: TestedStore, kept: list[str], labels: str, point: int) -> None:
    """The append is there whole or not at all; sent again it is there once; and the stream goes on."""
    before = " ".join(kept)
    await bench.contract.settle()
    page = await store.whole("x")
    shown = bench.labels.show(page.events)
    whole = bench.labels.show(bench.labels.events(f"{before} {labels}"))
    absent = bench.labels.show(bench.labels.events(before))
    expect(
        that=shown in {whole, absent},
        expected=f"{whole} or {absent}",
        got=shown,
        meaning=f"an append that was cancelled at await point {point} is there half",
    )
    write = f"x@{len(kept)} {labels}"
    await store.append(write, meaning="after a cancelled append, the same events again must be answered or written")
    kept += labels.split()
    await bench.holds(store, "x", " ".join(kept), meaning="an append that was cancelled and sent again is not there exactly once")
    await store.append(f"x@{len(kept)} next{point}", meaning="after a cancelled append, the next one must work")
    kept.append(f"next{point}")


async def _is_closed(name: str, use: Callable[[], Awaitable[object]]) -> None:
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
    """Append, and close from another task at the ``point``-th suspension; what the append answered, and whether it was reached."""
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


async def _as_answered(bench: StoreBench, store: TestedStore, kept: list[str], label: str, outcome: AppendResult | Exception | None) -> str:
    """What the stream holds, which must be what the append answered when the store was closed under it."""
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
        if bench.labels.show(page.events) == bench.labels.show(bench.labels.events(labels)):
            return labels
    answered = show_result(outcome) if isinstance(outcome, AppendResult) else type(outcome).__name__
    raise MismatchError(
        expected=f"[{' or '.join(allowed)}]",
        got=bench.labels.show(page.events),
        meaning=f"the append answered {answered} when the store was closed under it, and the stream says otherwise",
    )


def _is_outcome(outcome: AppendResult | Exception, wanted: object) -> bool:
    if isinstance(outcome, AppendResult):
        version = next(iter(outcome.versions.values()))
        return outcome.replayed if wanted == "replayed" else version == wanted and not outcome.replayed
    return isinstance(wanted, type) and isinstance(outcome, wanted)
