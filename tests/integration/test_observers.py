"""The records that observers of a service get."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import anyio
import attrs
import pytest

from inventory_es import CommandContext, command_context, open_inventory
from inventory_es.adapters.memory import MemoryCache, MemoryEventBus, MemoryEventStore
from inventory_es.application.following.projection import Projection
from inventory_es.application.guards import CircuitBreaker, guarded
from inventory_es.application.observers import (
    AppendFinished,
    CacheFailed,
    CacheRead,
    CommandFinished,
    CommandStarted,
    ProjectionAdvanced,
    PublishFinished,
)
from inventory_es.commands import AddStock
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports import Change, ProjectionId, Table
from inventory_es.ports.errors import CacheUnavailableError
from inventory_es.testing import ManualClock

HOUR = timedelta(hours=1)
TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
OTHER = f"00-{'c' * 32}-{'d' * 16}-01"


class Notes:
    """An observer that keeps every record."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    def command_finished(self, record: CommandFinished) -> None:
        self.records.append(record)

    append_finished = cache_read = projection_advanced = publish_finished = command_finished

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.records if type(one) is kind]


class Stamp:
    """An observer that gives every command a trace context of its own."""

    def command_started(self, record: CommandStarted) -> CommandContext:
        return attrs.evolve(record.context, traceparent=OTHER)


def test_an_observer_gives_a_command_another_context(backend: str) -> None:
    async def body() -> tuple[list[Any], list[CommandFinished]]:
        notes = Notes()
        async with open_inventory("memory:", observers=[Stamp(), notes]) as inventory:
            with command_context(actor_id="clerk-7", traceparent=TRACE):
                await inventory.add_stock("espresso", "berlin", 3)
                command = AddStock(inventory_id=InventoryId("espresso", "berlin"), command_id="more", quantity=4)
                await inventory.execute_all([command])
            entries = [entry.metadata async for entry in inventory.history("espresso", "berlin")]
        return entries, notes.of(CommandFinished)

    entries, finished = anyio.run(body, backend=backend)
    assert [(one.actor_id, one.extra) for one in entries] == [("clerk-7", {"traceparent": OTHER})] * 2
    assert [(one.quantity, one.context.traceparent, one.context.actor_id) for one in finished] == [
        (3, OTHER, "clerk-7"),
        (4, OTHER, "clerk-7"),
    ]


def test_observers_learn_of_waiting_commands_and_conflicts(backend: str) -> None:
    async def body() -> list[Any]:
        mine, theirs = Notes(), MemoryEventStore()
        async with open_inventory(theirs, observers=[mine]) as inventory, open_inventory(theirs) as other:
            await inventory.add_stock("espresso", "berlin", 9)
            await other.add_stock("espresso", "berlin", 1)
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(lambda: inventory.reserve("espresso", "berlin", 1, ttl=HOUR))
        return [mine.of(CommandFinished), mine.of(AppendFinished)]

    finished, appends = anyio.run(body, backend=backend)
    assert sorted(one.waiting for one in finished[1:]) == [0, 0, 1, 2]
    assert max(one.attempts for one in finished) > 1
    assert sum(one.conflicts for one in appends) >= 1
    assert {one.store for one in appends} == {"MemoryEventStore"}
    assert sum(len(one.new_events) for one in appends) == sum(one.events for one in appends)


def test_observers_of_a_service_learn_of_its_followers_and_its_cache(backend: str) -> None:
    async def body() -> Notes:
        notes, clock = Notes(), ManualClock()
        bus = MemoryEventBus(clock=clock)
        async with open_inventory(
            "memory:", read_models="memory:", clock=clock, cache=MemoryCache(clock=clock), bus=bus, observers=[notes]
        ) as inventory:
            added = await inventory.add_stock("espresso", "berlin", 3)
            clock.advance(HOUR)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: inventory.followers.run(on_failure="stop"))
                for _ in range(2):
                    await inventory.queries.stock("espresso", "berlin", wait_for_position=added.position)
                with anyio.fail_after(5):
                    while not notes.of(PublishFinished):
                        await anyio.lowlevel.checkpoint()
                inventory.followers.stop()
        return notes

    notes = anyio.run(body, backend=backend)
    steps: list[ProjectionAdvanced] = [one for one in notes.of(ProjectionAdvanced) if one.events]
    assert {one.projection for one in steps} == {"stock_levels v1", "open_reservations v1", "ledger v1", "low_stock v1"}
    assert {(len(one.recorded), one.lag) for one in steps} == {(1, 3600.0)}
    (published,) = notes.of(PublishFinished)
    assert (published.relay, published.bus, len(published.recorded), published.lag, published.error) == (
        "relay",
        "MemoryEventBus",
        1,
        3600.0,
        None,
    )
    assert [one.result for one in notes.of(CacheRead)][-1] == "hit"
    assert "miss" in [one.result for one in notes.of(CacheRead)]


def test_a_publish_that_fails_is_told_with_its_error(backend: str) -> None:
    class Full(MemoryEventBus):
        async def publish(self, events: Any, /) -> None:
            raise ZeroDivisionError

    async def body() -> list[PublishFinished]:
        notes, clock = Notes(), ManualClock()
        async with open_inventory("memory:", read_models="memory:", bus=Full(clock=clock), observers=[notes]) as inventory:
            await inventory.add_stock("espresso", "berlin", 3)
            with suppress(ZeroDivisionError):
                await inventory.followers.run(on_failure="stop")
        return notes.of(PublishFinished)

    assert [one.error for one in anyio.run(body, backend=backend)] == ["ZeroDivisionError"]


def test_a_status_counts_dead_letters(backend: str) -> None:
    def fail(_event: object, _envelope: object) -> list[Change]:
        raise ZeroDivisionError

    async def body() -> dict[str, int]:
        picky = Projection(projection_id=ProjectionId("picky", 1), tables=(Table("rows", {"key": int}, ("key",)),), apply=fail)
        async with open_inventory("memory:", read_models="memory:", projections=[picky]) as inventory:
            for _ in range(3):
                await inventory.add_stock("espresso", "berlin", 1)
            await inventory.followers.catch_up(on_failure="park")
            return {one.projection_id.name: one.dead_letters for one in await inventory.followers.status()}

    assert anyio.run(body, backend=backend) == {"stock_levels": 0, "open_reservations": 0, "ledger": 0, "low_stock": 0, "picky": 3}


def test_a_method_that_an_observer_switches_off_is_not_called(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    class Half(Notes):
        append_finished = None  # type: ignore[assignment]  # what a host may do

    async def body() -> Half:
        notes = Half()
        async with open_inventory("memory:", observers=[notes]) as inventory:
            await inventory.add_stock("espresso", "berlin", 3)
        return notes

    assert [type(one) for one in anyio.run(body, backend=backend).records] == [CommandFinished]
    assert caplog.records == []


def test_a_failing_cache_has_the_name_of_its_adapter_within_guards(backend: str) -> None:
    class Away(MemoryCache):
        async def get(self, key: str, /) -> Any:
            raise CacheUnavailableError(cache="shop", reason="it is away")

    failures: list[CacheFailed] = []

    class Failures:
        def cache_failed(self, record: CacheFailed) -> None:
            failures.append(record)

    async def body() -> None:
        clock = ManualClock()
        cache = guarded(Away(clock=clock), CircuitBreaker("cache"))
        async with open_inventory("memory:", read_models="memory:", clock=clock, cache=cache, observers=[Failures()]) as inventory:
            await inventory.add_stock("espresso", "berlin", 3)
            await inventory.followers.catch_up(on_failure="stop")
            await inventory.queries.stock("espresso", "berlin")

    anyio.run(body, backend=backend)
    assert {(one.cache, one.operation, one.error) for one in failures} == {("Away", "get", "cache_unavailable")}
