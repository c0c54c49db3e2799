"""The fault wrappers: each kind of fault over each port, by plan and by seed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import get_args

import anyio
import pytest

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.ports import EventFeed, EventStore, GroupCommit, StreamCatalogue, TurnTaking, VersionGlance
from inventory_es.ports.errors import (
    AppendOutcomeUnknownError,
    CacheUnavailableError,
    EventBusUnavailableError,
    StoreClosedError,
    StoreUnavailableError,
)
from inventory_es.testing import (
    EventStoreContract,
    FaultKind,
    Faults,
    FaultyCache,
    FaultyEventBus,
    FaultySnapshotStore,
    Injected,
    Site,
    faulty_event_store,
)
from inventory_es.testing.clock import ManualClock
from inventory_es.testing.contracts.core.event_labels import EventLabels, recorded, stream_id
from inventory_es.testing.contracts.snapshot_store.harness import SCHEMA, STREAM, snapshot
from tests.contract.stores.plain_bus import PlainBus
from tests.contract.stores.plain_cache import PlainCache
from tests.contract.stores.plain_snapshots import PlainSnapshots
from tests.contract.stores.plain_store import PlainStore, PlainStreams, Shelf

HOUR = timedelta(hours=1)
X = stream_id("x")


class TestNoFaults(EventStoreContract):
    """Without faults, the wrapper keeps every promise of what it wraps."""

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        async with MemoryEventStore() as store:
            yield faulty_event_store(store, Faults.none())


class TestDelaysAlone(EventStoreContract):
    """Delays and overtaking break no promise: they are only slow."""

    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        async with MemoryEventStore() as store:
            operations = {"append", "read_stream", "read_all"}
            yield faulty_event_store(store, Faults.by_seed(3, rate=0.2, kinds=("delay", "reorder"), operations=operations, turns=3))


def in_loop(backend: str, body: Callable[[], Awaitable[None]]) -> None:
    anyio.run(body, backend=backend)


def test_the_wrapper_implements_what_the_store_implements() -> None:
    over_memory = faulty_event_store(MemoryEventStore(), Faults.none())
    over_little = faulty_event_store(PlainStreams(Shelf()), Faults.none())
    assert isinstance(over_memory, EventStore)
    assert isinstance(over_memory, EventFeed)
    assert isinstance(over_memory, GroupCommit)
    assert isinstance(over_memory, StreamCatalogue)
    assert isinstance(over_memory, VersionGlance)
    assert isinstance(over_little, EventStore)
    assert not isinstance(over_little, EventFeed | GroupCommit | StreamCatalogue | VersionGlance)


@pytest.mark.parametrize(
    "kind, error, is_written",
    [
        ("fail_before", StoreUnavailableError, False),
        ("fail_after", AppendOutcomeUnknownError, True),
        ("drop", AppendOutcomeUnknownError, False),
        ("duplicate", None, True),
        ("delay", None, True),
        ("reorder", None, True),
    ],
)
def test_an_append_fails_as_planned(backend: str, kind: FaultKind, error: type[Exception] | None, is_written: bool) -> None:
    async def body() -> None:
        labels = EventLabels()
        faults = Faults.by_plan({"append": {2: kind}})
        store = faulty_event_store(PlainStore(Shelf()), faults)
        await store.append([labels.write("x@0 a")])
        if error is not None:
            with pytest.raises(error):
                await store.append([labels.write("x@1 b")])
        else:
            result = await store.append([labels.write("x@1 b")])
            assert result.replayed == (kind == "duplicate")
        page = await store.read_stream(X, limit=9)
        assert labels.show(page.events) == ("[a b]" if is_written else "[a]")
        assert faults.injected == [Injected("append", 2, kind)]
        again = await store.append([labels.write("x@1 b")])
        assert again.replayed == is_written

    in_loop(backend, body)


def test_a_late_append_is_done_after_its_caller_heard_that_nobody_knows(backend: str) -> None:
    async def body() -> None:
        labels = EventLabels()
        faults = Faults.by_plan({"append": {2: "late", 4: "late"}, "read_stream": {2: "late"}}, turns=2)
        store = faulty_event_store(PlainStore(Shelf()), faults)
        assert store.capabilities.settles_within is None
        await store.append([labels.write("x@0 a")])
        with pytest.raises(AppendOutcomeUnknownError):
            await store.append([labels.write("x@1 b")])
        shown = []
        for _ in range(4):
            try:
                shown.append(labels.show((await store.read_stream(X, limit=9)).events))
            except StoreUnavailableError:
                shown.append("away")
        assert shown == ["[a]", "away", "[a b]", "[a b]"]
        await store.append([labels.write("x@2 c")])
        with pytest.raises(AppendOutcomeUnknownError):
            await store.append([labels.write("x@3 d")])
        await store.append([labels.write("x@3 e")])
        faults.stop()
        assert labels.show((await store.read_stream(X, limit=9)).events) == "[a b c e]"

    in_loop(backend, body)


def test_a_store_declares_late_appends_only_where_there_are_some() -> None:
    def declared(faults: Faults) -> float | None:
        return faulty_event_store(MemoryEventStore(), faults).capabilities.settles_within

    assert declared(Faults.none()) == declared(Faults.by_seed(1)) == declared(Faults.by_plan({"append": {1: "drop"}})) == 0.0
    assert declared(Faults.by_seed(1, kinds=("late",))) is None
    assert declared(Faults(lambda *_: "late", settles_within=3.0)) == 3.0


@pytest.mark.parametrize("kind", get_args(FaultKind))
def test_a_turn_that_is_hit_holds_nobody_off(backend: str, kind: FaultKind) -> None:
    class Turns(MemoryEventStore):
        taken = 0

        @asynccontextmanager
        async def turn(self) -> AsyncIterator[None]:
            self.taken += 1
            yield

    async def body() -> None:
        faults, turns = Faults.by_plan({"turn": {1: kind}}), Turns()
        store = faulty_event_store(turns, faults)
        assert isinstance(store, TurnTaking)
        for taken in (0, 1):
            async with store.turn():
                assert turns.taken == taken
        assert faults.injected == [Injected("turn", 1, kind)]
        assert not isinstance(faulty_event_store(MemoryEventStore(), faults), TurnTaking)

    in_loop(backend, body)


@pytest.mark.parametrize("kind", get_args(FaultKind))
def test_a_glance_that_is_hit_tells_nothing(backend: str, kind: FaultKind) -> None:
    async def body() -> None:
        faults = Faults.by_plan({"glance_version": {2: kind}})
        store = faulty_event_store(MemoryEventStore(), faults)
        assert isinstance(store, VersionGlance)
        await store.append([EventLabels().write("x@0 a")])
        assert [store.glance_version(X) for _ in range(3)] == [1, None, 1]
        assert faults.injected == [Injected("glance_version", 2, kind)]

    in_loop(backend, body)


@pytest.mark.parametrize("kind", ["fail_before", "fail_after", "drop"])
def test_reads_that_fail_are_unavailable(backend: str, kind: FaultKind) -> None:
    async def body() -> None:
        operations = ("read_stream", "read_stream_backwards", "find_events", "read_all", "head", "streams")
        store = faulty_event_store(MemoryEventStore(), Faults.by_plan({name: {1: kind} for name in operations}))
        assert isinstance(store, EventFeed)
        assert isinstance(store, StreamCatalogue)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.read_stream(X, limit=1),
            lambda: store.read_stream_backwards(X, limit=1),
            lambda: store.find_events(X, []),
            lambda: store.read_all(after=0, limit=1),
            store.head,
            lambda: store.streams(limit=1),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailableError):
                await call()
            await call()

    in_loop(backend, body)


def test_a_group_commit_gets_its_faults_and_a_wake_up_gets_lost(backend: str) -> None:
    async def body() -> None:
        labels = EventLabels()
        plan: dict[str, dict[int, FaultKind]] = {"append_group": {1: "drop", 2: "fail_after"}, "wait_for_position": {1: "drop"}}
        store = faulty_event_store(MemoryEventStore(), Faults.by_plan(plan))
        assert isinstance(store, GroupCommit)
        assert isinstance(store, EventFeed)
        for _ in range(2):
            with pytest.raises(AppendOutcomeUnknownError):
                await store.append_group([[labels.write("x@0 a")]])
        assert await store.head() == 1
        assert not await store.wait_for_position(1, timeout=9)
        assert await store.wait_for_position(1, timeout=9)

    in_loop(backend, body)


def test_a_reordered_call_is_overtaken_by_the_next(backend: str) -> None:
    async def body() -> None:
        labels = EventLabels()
        store = faulty_event_store(MemoryEventStore(), Faults.by_plan({"append": {1: "reorder"}}, turns=1_000))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.append, [labels.write("x@0 a")])
            await anyio.lowlevel.checkpoint()
            tasks.start_soon(store.append, [labels.write("y@0 b")])
        assert isinstance(store, EventFeed)
        page = await store.read_all(after=0, limit=9)
        assert labels.show(page.events) == "[b a]"

    in_loop(backend, body)


def test_a_cache_fails_as_planned(backend: str) -> None:
    async def body() -> None:
        plan: dict[str, dict[int, FaultKind]] = {
            "set": {2: "drop", 3: "fail_after", 4: "fail_before"},
            "get": {2: "drop", 3: "fail_before"},
            "invalidate": {1: "drop"},
            "clear": {1: "drop"},
        }
        cache = FaultyCache(PlainCache(ManualClock(), capacity=4), Faults.by_plan(plan))
        await cache.set("k", b"one", version=1, ttl=HOUR)
        await cache.set("k", b"lost", version=2, ttl=HOUR)
        assert (await value(cache), await value(cache)) == (b"one", None)
        with pytest.raises(CacheUnavailableError):
            await cache.get("k")
        with pytest.raises(CacheUnavailableError):
            await cache.set("k", b"three", version=3, ttl=HOUR)
        assert await value(cache) == b"three"
        with pytest.raises(CacheUnavailableError):
            await cache.set("k", b"four", version=4, ttl=HOUR)
        await cache.invalidate("k")
        await cache.clear()
        assert await value(cache) == b"three"
        await cache.invalidate("k")
        assert await value(cache) is None

    in_loop(backend, body)


def test_a_snapshot_store_fails_as_planned(backend: str) -> None:
    async def body() -> None:
        plan: dict[str, dict[int, FaultKind]] = {
            "save_snapshot": {2: "drop", 3: "fail_after", 4: "fail_before"},
            "load_snapshot": {2: "drop", 3: "fail_before"},
            "discard_snapshots": {1: "drop"},
            "clear_snapshots": {1: "drop"},
        }
        store = FaultySnapshotStore(PlainSnapshots({}), Faults.by_plan(plan))

        async def kept() -> int:
            found = await store.load_snapshot(STREAM, schema_version=SCHEMA)
            return 0 if found is None else found.version

        await store.save_snapshot(snapshot(1))
        await store.save_snapshot(snapshot(2))
        assert (await kept(), await kept()) == (1, 0)
        with pytest.raises(StoreUnavailableError):
            await kept()
        with pytest.raises(StoreUnavailableError):
            await store.save_snapshot(snapshot(3))
        assert await kept() == 3
        with pytest.raises(StoreUnavailableError):
            await store.save_snapshot(snapshot(4))
        await store.discard_snapshots(STREAM)
        await store.clear_snapshots()
        assert await kept() == 3
        await store.discard_snapshots(STREAM)
        assert await kept() == 0
        await store.aclose()
        with pytest.raises(StoreClosedError):
            await kept()

    in_loop(backend, body)


async def value(cache: FaultyCache) -> bytes | None:
    entry = await cache.get("k")
    return entry.value if entry is not None else None


def test_a_bus_drops_duplicates_and_reorders_as_planned(backend: str) -> None:
    async def body() -> None:
        labels = EventLabels()
        events = [recorded(X, number, number, labels.event(label)) for number, label in enumerate("abcdef", 1)]
        plan: dict[str, dict[int, FaultKind]] = {
            "publish": {1: "drop", 2: "duplicate", 3: "reorder", 4: "fail_before", 5: "fail_after"},
            "ack": {1: "drop"},
        }
        bus = FaultyEventBus(PlainBus(), Faults.by_plan(plan))
        got: list[str] = []
        async with bus.subscribe("g") as subscription:
            await bus.publish(events[:1])
            await bus.publish(events[1:2])
            await bus.publish(events[2:4])
            for _ in range(2):
                with pytest.raises(EventBusUnavailableError):
                    await bus.publish(events[4:5])
            deliveries = aiter(subscription)
            first = await anext(deliveries)
            await first.ack()
            got.append(labels.label(first.event))
        async with bus.subscribe("g") as subscription:
            async for delivery in subscription:
                await delivery.ack()
                got.append(labels.label(delivery.event))
                if got[-1] == "e":
                    break
        assert got == ["b", "b", "b", "d", "c", "e"]

    in_loop(backend, body)


def test_a_seed_gives_the_same_faults_and_they_can_be_stopped(backend: str) -> None:
    async def injected(seed: int, stop_at: int) -> list[Injected]:
        faults = Faults.by_seed(seed, rate=0.5)
        store = faulty_event_store(MemoryEventStore(), faults)
        labels = EventLabels()
        for number in range(40):
            if number == stop_at:
                faults.stop()
            try:
                await store.append([labels.write(f"s{number}@0 a")])
            except (StoreUnavailableError, AppendOutcomeUnknownError):
                continue
        return faults.injected

    async def body() -> None:
        one, again, other = await injected(1, 99), await injected(1, 99), await injected(2, 99)
        assert one == again != other
        assert {fault.kind for fault in one} == {"fail_before", "fail_after", "delay", "drop", "duplicate", "reorder"}
        assert await injected(1, 20) == [fault for fault in one if fault.number <= 20]

    in_loop(backend, body)


def test_a_seed_holds_itself_to_the_operations_named(backend: str) -> None:
    async def body() -> None:
        faults = Faults.by_seed(1, rate=1.0, kinds=("fail_before",), operations={"append"})
        store = faulty_event_store(MemoryEventStore(), faults)
        await store.read_stream(X, limit=1)
        with pytest.raises(StoreUnavailableError):
            await store.append([EventLabels().write("x@0 a")])

    in_loop(backend, body)
