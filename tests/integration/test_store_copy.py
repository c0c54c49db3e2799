"""A copy is the same history in any store, resumed from wherever it was left, and nothing else is ever taken for one."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import attrs
import pytest

from inventory_es.adapters.file import open_file_event_store
from inventory_es.adapters.memory import MemoryEventLog, MemoryEventStore
from inventory_es.adapters.postgresql import open_postgresql_event_store
from inventory_es.adapters.sqlite import open_sqlite_event_store
from inventory_es.adapters.threads import in_threads
from inventory_es.application.store_copy import CopyOutcome, CopyProgress, copy_store
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import (
    AppendResult,
    EventStore,
    FeedPage,
    RecordedEvent,
    StreamHead,
    StreamsPage,
    StreamWrite,
)
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    AppendTooLargeError,
    NotACopyError,
    StoreUnavailableError,
    UnsupportedCapabilityError,
)
from inventory_es.testing import ManualClock
from inventory_es.testing.contracts.core.event_labels import EventLabels, stream_id
from inventory_es.testing.faults import FaultKind, Faults, faulty_event_store
from tests.contract.stores.plain_store import PlainStreams, Shelf
from tests.contract.stores.sqlite_store import SqliteStore
from tests.integration.killed_copies import kill_again_and_again
from tests.integration.read_side import trade
from tests.servers.postgresql import own_database, url_of

KINDS = ("memory", "file", "sqlite", "threaded", "postgresql")
LABELS = EventLabels()


@pytest.fixture(scope="module", autouse=True)
def on_a_server() -> Iterator[None]:
    with own_database():
        yield


@asynccontextmanager
async def opened(kind: str, place: Path) -> AsyncIterator[EventStore]:
    """A store with everything that it can do; the threaded one knows one append at a time and no catalogue."""
    place.parent.mkdir(exist_ok=True)
    if kind == "memory":
        async with MemoryEventStore(page_size=7) as memory:
            yield memory
    elif kind == "file":
        async with open_file_event_store(place, segment_bytes=20_000) as file:
            yield file
    elif kind == "sqlite":
        async with open_sqlite_event_store(place) as sqlite:
            yield sqlite
    elif kind == "postgresql":
        async with open_postgresql_event_store(url_of(f"s_{sha256(str(place).encode()).hexdigest()[:20]}")) as postgresql:
            yield postgresql
    else:
        threaded = in_threads(SqliteStore(str(place)))
        yield threaded
        await threaded.aclose()


async def feed_of(store: object) -> list[RecordedEvent]:
    """Every event."""
    events: list[RecordedEvent] = []
    is_end = False
    while not is_end:
        page = await cast("MemoryEventStore", store).read_all(after=events[-1].position if events else 0, limit=100)
        events += page.events
        is_end = page.is_end
    return events


async def write(store: EventStore, *appends: str) -> None:
    """Append the writes of each text: ``x@0 a b`` is two events for stream x, which is empty."""
    for text in appends:
        await store.append([LABELS.write(one) for one in text.split(", ")])


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_any_store_into_any_store(source: str, target: str, backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with opened(source, tmp_path / "from" / "x") as original, opened(target, tmp_path / "to" / "x") as copy:
            await trade(original, ManualClock(), steps=80)
            await write(original, "x@0 [a b], y@0 [c]", "y@1 [d], x@2 [e f]")
            outcome = await copy_store(original, copy)
            events = await feed_of(original)
            assert await feed_of(copy) == events
            assert outcome == CopyOutcome(
                events=len(events),
                events_now=len(events),
                streams=None if "threaded" in {source, target} else len({event.stream for event in events}),
                position=events[-1].position,
                keeps_positions=True,
            )
            assert await copy_store(original, copy) == attrs.evolve(outcome, events_now=0)
            await write(original, "x@4 [g]", "z@0 [h]")
            assert (await copy_store(original, copy)).events_now == 2
            assert await feed_of(copy) == await feed_of(original)

    anyio.run(body, backend=backend)


def test_what_it_tells_on_the_way(backend: str) -> None:
    async def body() -> None:
        told: list[CopyProgress] = []
        async with MemoryEventStore(page_size=2) as original, MemoryEventStore() as copy:
            await write(original, "x@0 a b c d e")
            await write(copy, "x@0 a")
            await copy_store(original, copy, advanced=told.append)
        assert told == [
            *(CopyProgress("comparing", position, 5) for position in (0, 1)),
            *(CopyProgress("copying", position, 5) for position in (1, 3, 5)),
            *(CopyProgress("verifying", position, 5) for position in (1, 3, 5)),
        ]

    anyio.run(body, backend=backend)


class Busy(MemoryEventStore):
    """A source to which somebody appends whenever it is read."""

    appended = 0

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        self.appended += 1
        await self.append([LABELS.write(f"{'xn'[self.appended % 2]}{self.appended}@0 n{self.appended}")])
        if self.appended == 1:
            await self.append([LABELS.write("x@5 f")])
        return page


def test_a_copy_of_a_store_in_use_ends_where_that_was_and_the_next_run_goes_on(backend: str) -> None:
    async def body() -> None:
        log = MemoryEventLog()
        async with Busy(log, page_size=2) as original, MemoryEventStore() as copy:
            await write(original, "x@0 a b c d e")
            outcome = await copy_store(original, copy)
            assert (outcome.events, outcome.position, outcome.streams) == (5, 5, 1)
            async with MemoryEventStore(log) as still:
                assert (await copy_store(still, copy)).events_now == original.appended + 1
                assert await feed_of(copy) == await feed_of(still)

    anyio.run(body, backend=backend)


class Sparse(MemoryEventStore):
    """A feed that numbers by tens, with pages that have nothing."""

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        if after % 10 == 0:
            return FeedPage([], after + 5, is_end=False)
        page = await super().read_all(after=after // 10, limit=limit)
        events = [attrs.evolve(event, position=10 * event.position) for event in page.events]
        return FeedPage(events, max(after, 10 * page.next_after), page.is_end)

    async def head(self) -> int:
        return 10 * await super().head()


def test_a_copy_that_follows_has_every_event_when_it_is_told_to_stop(backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with opened("memory", tmp_path / "x") as original, opened("postgresql", tmp_path / backend) as copy:
            told: list[CopyProgress] = []
            outcomes: list[CopyOutcome] = []
            stop = anyio.Event()

            async def follow() -> None:
                outcomes.append(await copy_store(original, copy, advanced=told.append, stop=stop))

            await write(original, "x@0 a b")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follow)
                for number in range(2, 40):
                    while number in {5, 20} and (not told or told[-1].position < number):  # it has caught up in between
                        await anyio.lowlevel.checkpoint()
                    await write(original, f"x@{number} e{number}")
                stop.set()
            assert await feed_of(copy) == await feed_of(original)
            assert [(one.events, one.events_now, one.position) for one in outcomes] == [(40, 40, 40)]
            assert [one.position for one in told if one.phase == "comparing"] == [0], "what was compared once is not compared again"

    anyio.run(body, backend=backend)


class Held(MemoryEventStore):
    """A store whose appends wait until they are released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = anyio.Event()

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        await self.released.wait()
        return await super().append(writes)

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        await self.released.wait()
        return await super().append_group(groups)


def test_a_copy_that_is_told_to_stop_while_it_copies_has_what_came_before_that(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as original, Held() as copy:
            stop, is_copying = anyio.Event(), anyio.Event()
            await write(original, "x@0 a b")

            def advanced(progress: CopyProgress) -> None:
                if progress.phase == "copying":
                    is_copying.set()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(copy_store, original, copy, advanced=advanced, stop=stop))
                await is_copying.wait()
                await write(original, "x@2 c")  # behind the head that the copy has seen
                stop.set()
                copy.released.set()
            assert LABELS.show(await feed_of(copy)) == "[a b c]"

    anyio.run(body, backend=backend)


def test_positions_with_gaps_keep_their_order_and_the_outcome_says_that_they_differ(backend: str) -> None:
    async def body() -> None:
        async with Sparse() as original, MemoryEventStore() as copy:
            await write(original, "x@0 a", "y@0 b", "x@1 c")
            outcome = await copy_store(original, copy)
            assert (outcome.position, outcome.events, outcome.keeps_positions) == (30, 3, False)
            assert LABELS.show(await feed_of(copy)) == "[a b c]"
            assert (await copy_store(copy, original)).events_now == 0

    anyio.run(body, backend=backend)


@pytest.mark.parametrize(
    "there, words",
    [
        (["z@0 z"], "event 1 of its feed is not that of the source: another stream and event id and recorded at and data and metadata"),
        (["x@0 a", "x@1 z"], "event 2 of its feed is not that of the source: another event id"),
        (["x@0 a b", "y@0 d"], "event 3 of its feed is not that of the source"),
        (["x@0 a b c, y@0 d e"], "event 5 of its feed is not in the source"),
    ],
)
def test_a_target_that_holds_something_else_is_refused_and_untouched(there: list[str], words: str, backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as original, MemoryEventStore() as copy:
            await write(original, "x@0 a b c, y@0 d")
            await write(copy, *there)
            before = await feed_of(copy)
            with pytest.raises(NotACopyError, match=words):
                await copy_store(original, copy)
            assert await feed_of(copy) == before

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("field", ["data", "metadata", "schema_version", "recorded_at"])
def test_an_event_that_differs_in_anything_is_another(field: str) -> None:
    async def body() -> None:
        event = LABELS.event("a")
        later = LABELS.event("b").recorded_at
        other: dict[str, Any] = {"data": b'{"x":1}', "metadata": b'{"x":1}', "schema_version": 2, "recorded_at": later}
        async with MemoryEventStore() as original, MemoryEventStore() as copy:
            await original.append([StreamWrite(stream_id("x"), 0, [event])])
            await copy.append([StreamWrite(stream_id("x"), 0, [attrs.evolve(event, **{field: other[field]})])])
            with pytest.raises(NotACopyError, match=f"another {field.replace('_', ' ')};"):
                await copy_store(original, copy)

    anyio.run(body)


class Taken(MemoryEventStore):
    """A target to which somebody else appends just before the copy does."""

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        await self.append([LABELS.write("x@0 z")])
        return await super().append_group(groups)

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        if writes[0].events[0] is not LABELS.event("z"):
            await super().append([LABELS.write("x@0 z")])
        return await super().append(writes)


@pytest.mark.parametrize("appends", [["x@0 a"], ["x@0 a", "y@0 b", "x@1 c"]])
def test_somebody_else_who_writes_to_the_target_is_noticed(appends: list[str], backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as original, Taken() as copy:
            await write(original, *appends)
            with pytest.raises(NotACopyError, match="stream contract-x was written by somebody else meanwhile"):
                await copy_store(original, copy)

    anyio.run(body, backend=backend)


class Cut(MemoryEventStore):
    """A store that does not show its last event."""

    async def read_all(self, *, after: int, limit: int) -> FeedPage:
        page = await super().read_all(after=after, limit=limit)
        events = [event for event in page.events if event.position < 3]
        return FeedPage(events, events[-1].position if events else after, is_end=True)


class Listed(MemoryEventStore):
    """A store whose list of streams is wrong.

    Attributes:
        lie: what it says of each stream.
    """

    lie: Callable[[StreamHead], list[StreamHead]]

    async def streams(self, prefix: str = "", /, *, after: StreamId | None = None, limit: int) -> StreamsPage:
        page = await super().streams(prefix, after=after, limit=limit)
        return StreamsPage([told for head in page.heads for told in self.lie(head)], page.is_end)


LIES: dict[str, tuple[Callable[[StreamHead], list[StreamHead]], str]] = {
    "higher": (lambda head: [attrs.evolve(head, version=head.version + 1)], "stream contract-x has version 3 there and 2 in the source"),
    "lower": (lambda head: [attrs.evolve(head, version=head.version - 1)], "stream contract-x has version 1 there and 2 in the source"),
    "less": (lambda head: [head] if head.stream == stream_id("y") else [], "its list of streams counts 1 events where its feed has 3"),
    "more": (
        lambda head: [head, StreamHead(stream_id("xx"), 1)] if head.stream == stream_id("x") else [head],
        "stream contract-xx has version 1 there and 0 in the source",
    ),
}


@pytest.mark.parametrize("lie, words", LIES.values(), ids=LIES)
def test_a_list_of_streams_that_does_not_agree_is_found(lie: Callable[[StreamHead], list[StreamHead]], words: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as original, Listed() as copy:
            copy.lie = lie
            await write(original, "x@0 a b, y@0 c")
            with pytest.raises(NotACopyError, match=words):
                await copy_store(original, copy)

    anyio.run(body)


def test_what_the_target_does_not_show_was_not_copied(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore() as original, Cut() as copy:
            await write(original, "x@0 a b, y@0 c")
            with pytest.raises(NotACopyError, match="event 3 of its feed is missing"):
                await copy_store(original, copy)
        async with Cut() as original, MemoryEventStore() as copy:
            await write(original, "x@0 a b, y@0 c")
            with pytest.raises(NotACopyError, match="the source ended before position 3, where its head was"):
                await copy_store(original, copy)

    anyio.run(body, backend=backend)


def test_a_store_without_a_feed_can_not_be_copied() -> None:
    async def body() -> None:
        async with MemoryEventStore() as memory:
            plain = cast("EventStore", PlainStreams(Shelf()))
            for source, target in ((memory, plain), (plain, memory)):
                with pytest.raises(UnsupportedCapabilityError, match="PlainStreams has no feed: "):
                    await copy_store(source, target)

    anyio.run(body)


def test_an_event_that_is_too_large_for_the_target_ends_the_copy_before_it() -> None:
    async def body() -> None:
        async with MemoryEventStore() as original, MemoryEventStore(max_event_bytes=100) as copy:
            await original.append([StreamWrite(stream_id("x"), 0, [LABELS.event("a"), LABELS.sized("large", 101)])])
            with pytest.raises(AppendTooLargeError, match="event 2 of stream contract-x: 101"):
                await copy_store(original, copy)

    anyio.run(body)


@pytest.mark.parametrize("kind", ["fail_before", "fail_after", "drop"])
def test_wherever_a_call_fails_the_next_run_comes_to_the_same(kind: FaultKind, backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore(page_size=3) as original:
            await write(original, "x@0 a b, y@0 c", "x@2 d", "y@1 e", "x@3 f, z@0 g", "x@4 h i j k")
            events = await feed_of(original)
            faulted = dict.fromkeys(("append", "append_group", "read_all", "streams"), 0)
            for operation, number in product(faulted, range(1, 20)):
                faults = Faults.by_plan({operation: {number: kind}})
                async with MemoryEventStore(page_size=3) as copy:
                    with suppress(StoreUnavailableError, AppendOutcomeUnknownError):
                        await copy_store(original, faulty_event_store(copy, faults))
                    faulted[operation] += len(faults.injected)
                    left = await feed_of(copy)
                    assert left == events[: len(left)]
                    await copy_store(original, copy)
                    assert await feed_of(copy) == events
            assert faulted == {"append": 3, "append_group": 1, "read_all": 6, "streams": 1}

    anyio.run(body, backend=backend)


def test_wherever_it_is_cancelled_the_next_run_comes_to_the_same(backend: str) -> None:
    async def body() -> None:
        async with MemoryEventStore(page_size=3) as original:
            await write(original, "x@0 a b, y@0 c", "x@2 d", "y@1 e", "x@3 f, z@0 g", "x@4 h i j k")
            events = await feed_of(original)
            turns, is_done = 0, False
            while not is_done:
                async with MemoryEventStore(page_size=3) as copy:
                    is_done = await cancelled_after(turns, lambda copy=copy: copy_store(original, copy))  # type: ignore[misc]
                    left = await feed_of(copy)
                    assert left == events[: len(left)]
                    await copy_store(original, copy)
                    assert await feed_of(copy) == events
                turns += 1
            assert turns > 10

    anyio.run(body, backend=backend)


async def cancelled_after(turns: int, call: Callable[[], Awaitable[Any]]) -> bool:
    """Cancel a call after some turns of the event loop; whether it had ended before."""
    ended: list[object] = []

    async def run() -> None:
        ended.append(await call())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    return bool(ended)


@pytest.mark.parametrize("direction", ["file sqlite", "sqlite file"])
def test_a_copy_that_is_killed_comes_to_the_same(direction: str, tmp_path: Path) -> None:
    source, target = direction.split()
    assert kill_again_and_again(tmp_path, source, target, seed=1) > 3
