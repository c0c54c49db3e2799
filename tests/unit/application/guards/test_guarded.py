"""Guarding a port: every call goes through, and the errors are the port's own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import anyio
import attrs
import pytest

from inventory_es.adapters.memory import MemoryCache, MemoryEventBus, MemoryEventStore, MemoryReadModel
from inventory_es.application.guards import GuardedPort, Retry, guarded
from inventory_es.ports import (
    Checkpoint,
    EventFeed,
    EventStore,
    GroupCommit,
    ProjectionId,
    SnapshotStore,
    StreamCatalogue,
    Table,
    TurnTaking,
    VersionGlance,
)
from inventory_es.ports.errors import (
    CacheUnavailableError,
    EventBusUnavailableError,
    ReadModelUnavailableError,
    StoreUnavailableError,
    UnavailableError,
)
from inventory_es.testing import ManualClock
from inventory_es.testing.contracts.core.event_labels import EventLabels, recorded, stream_id
from tests.contract.stores.plain_store import PlainStreams, Shelf

T = TypeVar("T")
X = stream_id("x")
ID = ProjectionId("p", 1)
TABLE = Table("t", {"a": str}, ("a",))


@attrs.define
class Notes:
    """A guard that notes what goes through; refuses it all if told so."""

    made: list[tuple[str, str, bool]] = attrs.field(factory=list)
    refuses: bool = False

    async def run(self, call: Callable[[], Awaitable[T]], /, port: GuardedPort, operation: str, *, is_repeatable: bool = True) -> T:
        self.made.append((port.name, operation, is_repeatable))
        if self.refuses:
            msg = "no"
            raise port.refusal(msg, 7.0)
        return await call()


def calls_of(port: Any) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Every guarded call of a guarded port, ready to be made."""
    write = (EventLabels().write("x@0 a"),)
    match port:
        case EventStore():
            return {
                "append": partial(port.append, write),
                "read_stream": partial(port.read_stream, X, limit=1),
                "read_stream_backwards": partial(port.read_stream_backwards, X, limit=1),
                "find_events": partial(port.find_events, X, ()),
                "read_all": partial(port.read_all, after=0, limit=1),  # type: ignore[attr-defined]  # the memory store has a feed
                "head": port.head,  # type: ignore[attr-defined]  # the memory store has a feed
                "append_group": partial(port.append_group, [write]),  # type: ignore[attr-defined]  # it groups commits
                "streams": partial(port.streams, limit=1),  # type: ignore[attr-defined]  # it lists its streams
            }
        case _:
            return {
                "get": partial(port.get, "k"),
                "set": partial(port.set, "k", b"v", version=1, ttl=timedelta(seconds=1)),
                "invalidate": partial(port.invalidate, "k"),
                "clear": port.clear,
            }


async def through(port: Any, notes: Notes, calls: dict[str, Callable[[], Awaitable[Any]]], kind: type[UnavailableError], name: str) -> None:
    """Make every call twice: let through, and refused."""
    for call in calls.values():
        await call()
    assert notes.made == [(name, operation, operation not in {"commit", "drop"}) for operation in calls]
    notes.refuses = True
    for call in calls.values():
        with pytest.raises(kind, match=f"{name} is unavailable.* no.* in 7 s") as refused:
            await call()
        assert refused.value.retry_after == 7
    await port.aclose()


def test_every_call_of_an_event_store_and_of_a_cache(backend: str) -> None:
    async def body() -> None:
        notes = Notes()
        store = guarded(MemoryEventStore(), notes)
        await through(store, notes, calls_of(store), StoreUnavailableError, "MemoryEventStore")
        notes = Notes()
        cache = guarded(MemoryCache(clock=ManualClock()), notes)
        await through(cache, notes, calls_of(cache), CacheUnavailableError, "MemoryCache")

    anyio.run(body, backend=backend)


def test_every_call_of_a_read_model(backend: str) -> None:
    async def body() -> None:
        notes = Notes()
        model = guarded(MemoryReadModel(), notes)
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "prepare": partial(model.prepare, ID, [TABLE]),
            "checkpoint": partial(model.checkpoint, ID),
            "commit": partial(model.commit, ID, (), before=Checkpoint(), after=Checkpoint()),
            "select": partial(model.select, ID, "t", limit=1),
            "versions": partial(model.versions, "p"),
            "activate": partial(model.activate, ID, before=Checkpoint()),
            "drop": partial(model.drop, ID),
        }
        await through(model, notes, calls, ReadModelUnavailableError, "MemoryReadModel")

    anyio.run(body, backend=backend)


def test_every_call_of_an_event_bus(backend: str) -> None:
    async def body() -> None:
        notes = Notes()
        bus = guarded(MemoryEventBus(clock=ManualClock()), notes)
        async with bus.subscribe("g") as subscription:
            await bus.publish([recorded(X, 1, 1, EventLabels().event("a"))])
            delivery = await anext(aiter(subscription))
            assert delivery.attempt == 1
            await delivery.nack("not yet")
            delivery = await anext(aiter(subscription))
            assert (delivery.attempt, delivery.event.version) == (2, 1)
            await delivery.ack()
            assert await bus.dead_letters("g") == []
            assert await bus.redeliver("g", ()) == 0
        assert [operation for _, operation, _ in notes.made] == ["subscribe", "publish", "nack", "ack", "dead_letters", "redeliver"]
        notes.refuses = True
        with pytest.raises(EventBusUnavailableError, match="MemoryEventBus is unavailable: no; publish again in 7 s"):
            await bus.publish([])
        await bus.aclose()

    anyio.run(body, backend=backend)


def test_joining_a_group_is_made_again(backend: str) -> None:
    async def body() -> None:
        bus = MemoryEventBus(clock=ManualClock())
        attempts: list[str] = []

        class Once:
            async def run(self, call: Callable[[], Awaitable[T]], /, port: GuardedPort, operation: str, *, is_repeatable: bool = True) -> T:
                attempts.append(operation)
                if len(attempts) == 1:
                    msg = "not yet"
                    raise port.refusal(msg, 0.0)
                return await call()

        async with guarded(bus, Retry(waits=(0, 0)), Once()).subscribe("g", types={"Other"}, streams=[X]):
            assert attempts == ["subscribe", "subscribe"]
        await bus.aclose()

    anyio.run(body, backend=backend)


def test_hints_and_closing_pass_by_the_guards(backend: str) -> None:
    async def body() -> None:
        notes = Notes(refuses=True)
        store = guarded(MemoryEventStore(), notes)
        assert isinstance(store, EventFeed)
        assert await store.wait_for_position(1, timeout=0) is False
        await store.aclose()
        assert notes.made == []

    anyio.run(body, backend=backend)


def test_a_guarded_store_implements_what_the_store_implements() -> None:
    little = guarded(PlainStreams(Shelf()))
    full = guarded(MemoryEventStore())
    assert isinstance(little, EventStore)
    assert not isinstance(little, EventFeed | GroupCommit | SnapshotStore | StreamCatalogue | TurnTaking | VersionGlance)
    assert isinstance(full, EventFeed)
    assert isinstance(full, GroupCommit)
    assert isinstance(full, StreamCatalogue)
    assert isinstance(full, VersionGlance)
    assert full.glance_version(X) == 0
    assert full.capabilities == MemoryEventStore().capabilities


def test_turns_pass_by_the_guards(backend: str) -> None:
    class Turns(MemoryEventStore):
        taken = 0

        @asynccontextmanager
        async def turn(self) -> AsyncIterator[None]:
            self.taken += 1
            yield

    async def body() -> None:
        notes, store = Notes(refuses=True), Turns()
        guard = guarded(store, notes)
        assert isinstance(guard, TurnTaking)
        async with guard.turn():
            assert store.taken == 1
        assert notes.made == []

    anyio.run(body, backend=backend)


def test_what_is_no_port_is_refused() -> None:
    stranger: Any = "file:stock"
    with pytest.raises(TypeError, match="a str is no port that can be guarded"):
        guarded(stranger)
