"""A cold load begins at a snapshot that the log bears out, and otherwise at the first event: the answer is the same."""

import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import anyio
import attrs
import pytest
from hypothesis import given, settings

from inventory_es import HandlerSettings, InventoryService, StreamId, open_inventory
from inventory_es.adapters.memory import MemoryEventStore, MemorySnapshotStore
from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.errors import StoreUnavailableError
from inventory_es.ports import RecordedEvent, Snapshot, StreamPage
from inventory_es.testing import Faults, ManualClock, faulty_event_store
from inventory_es.testing.domain.history import check_history
from inventory_es.testing.domain.program import Program
from inventory_es.testing.domain.service_check import check_service
from inventory_es.testing.domain.strategies import programs

TEA = ("tea", "berlin")
STREAM = StreamId("inventory", *TEA)
COLD = HandlerSettings(warm_inventories=0, snapshot_after=3)


class CountingStore(MemoryEventStore):
    """Counts the events that it gives."""

    given = 0

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page = await super().read_stream(stream, after=after, limit=limit)
        self.given += len(page.events)
        return page


class Snapshots(MemorySnapshotStore):
    """Does something to what it gives, and fails when told to."""

    def __init__(self, change: Callable[[Snapshot], Snapshot] | None = None, fails: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.change = change
        self.fails = fails

    async def load_snapshot(self, stream: StreamId, /, *, schema_version: int, at_most: int | None = None) -> Snapshot | None:
        self._fail("load")
        found = await super().load_snapshot(stream, schema_version=schema_version, at_most=at_most)
        return found if found is None or self.change is None else self.change(found)

    async def save_snapshot(self, snapshot: Snapshot, /) -> None:
        self._fail("save")
        await super().save_snapshot(snapshot)

    async def discard_snapshots(self, *streams: StreamId) -> None:
        self._fail("discard")
        await super().discard_snapshots(*streams)

    async def kept(self) -> Snapshot | None:
        return await super().load_snapshot(STREAM, schema_version=1)

    def _fail(self, what: str) -> None:
        if what in self.fails:
            raise StoreUnavailableError(store="snapshots", reason="away")


async def ten_events(service: InventoryService) -> None:
    for number in range(10):
        await service.add_stock(*TEA, 1, command_id=f"c{number}")


def test_a_cold_load_folds_what_came_after_the_snapshot(backend: str) -> None:
    async def main() -> None:
        store, snapshots = CountingStore(), Snapshots()
        async with open_inventory(store, settings=COLD, snapshots=snapshots) as service:
            await ten_events(service)
            kept = await snapshots.kept()
            assert kept is not None
            assert kept.version == 8
            store.given = 0
            level = await service.stock(*TEA)
            assert (level.on_hand, level.version, level.position) == (10, 10, 10)
            assert store.given == 3  # the snapshot's own event, and two after it

    anyio.run(main, backend=backend)


def test_one_is_taken_after_a_load_that_folded_more_than_so_many(backend: str) -> None:
    async def main() -> None:
        snapshots = Snapshots()
        async with open_inventory("memory:", settings=COLD, snapshots=snapshots) as service:
            for events in range(5):
                assert await snapshots.kept() is None, f"after a load of {events - 1}"
                await service.add_stock(*TEA, 1)
            kept = await snapshots.kept()
            assert kept is not None
            assert kept.version == 4

    anyio.run(main, backend=backend)


def test_without_them_nothing_is_taken(backend: str) -> None:
    async def main() -> None:
        async with open_inventory("memory:", settings=COLD) as service:
            await ten_events(service)
            assert (await service.stock(*TEA)).on_hand == 10

    anyio.run(main, backend=backend)


def relabelled(found: Snapshot) -> Snapshot:
    return attrs.evolve(found, version=found.version - 1)


def ahead(found: Snapshot) -> Snapshot:
    return attrs.evolve(found, version=1_000)


def of_another_log(found: Snapshot) -> Snapshot:
    return attrs.evolve(found, event_id=UUID(int=7))


def torn(found: Snapshot) -> Snapshot:
    return attrs.evolve(found, data=found.data[:-1])


@pytest.mark.parametrize("change", [relabelled, ahead, of_another_log, torn])
def test_a_snapshot_that_the_log_does_not_bear_out_is_ignored_and_replaced(
    change: Callable[[Snapshot], Snapshot], backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        store, snapshots = CountingStore(), Snapshots()
        async with open_inventory(store, settings=COLD, snapshots=snapshots) as service:
            await ten_events(service)
            snapshots.change = change
            store.given = 0
            level = await service.stock(*TEA)
            assert (level.on_hand, level.version, level.position) == (10, 10, 10)
            assert store.given >= 10
            snapshots.change = None
            kept = await snapshots.kept()
            assert kept is not None
            assert kept.version == 10, "the wrong one was discarded, or it would still be in the way of this one"

    with caplog.at_level(logging.WARNING, "inventory_es"):
        anyio.run(main, backend=backend)
    assert [record.message for record in caplog.records] == ["snapshot_ignored"]
    assert caplog.records[0].__dict__["stream"] == STREAM.text


class WrongBalance(JsonEventCodec):
    """Decodes a state that is consistent, and not that of the event."""

    def decode_snapshot(self, snapshot: Snapshot, /) -> Any:
        return attrs.evolve(super().decode_snapshot(snapshot), on_hand=1_000)


def test_the_balance_of_a_snapshot_is_held_against_its_event(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with open_inventory("memory:", settings=COLD, snapshots=Snapshots(), codec=WrongBalance()) as service:
            await ten_events(service)
            assert (await service.stock(*TEA)).on_hand == 10

    with caplog.at_level(logging.WARNING, "inventory_es"):
        anyio.run(main, backend=backend)
    assert {record.__dict__["reason"] for record in caplog.records} == {"it does not hold the balance of the event that it was taken at"}


@pytest.mark.parametrize(
    "fails, told",
    [
        (("load",), {"snapshot_not_read"}),
        (("save",), {"snapshot_not_taken"}),
        (("load", "save", "discard"), {"snapshot_not_read", "snapshot_not_taken"}),
        (("discard",), {"snapshot_ignored", "snapshot_not_discarded"}),
    ],
)
def test_a_snapshot_store_that_fails_costs_time_and_a_warning(
    fails: tuple[str, ...], told: set[str], backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with open_inventory("memory:", settings=COLD, snapshots=Snapshots(change=torn, fails=fails)) as service:
            await ten_events(service)
            assert (await service.stock(*TEA)).on_hand == 10

    with caplog.at_level(logging.WARNING, "inventory_es"):
        anyio.run(main, backend=backend)
    assert {record.message for record in caplog.records} == told


def test_an_event_store_that_fails_is_no_matter_of_snapshots(backend: str) -> None:
    async def main() -> None:
        is_away = False
        faults = Faults(lambda operation, _number: "fail_before" if is_away and operation == "read_stream" else None)
        async with open_inventory(faulty_event_store(MemoryEventStore(), faults), settings=COLD, snapshots=Snapshots()) as service:
            await ten_events(service)
            is_away = True
            with pytest.raises(StoreUnavailableError):
                await service.stock(*TEA)

    anyio.run(main, backend=backend)


class Shrinking(MemoryEventStore):
    """Loses its last event between the fold and the look at it."""

    is_short = False

    async def read_stream(self, stream: StreamId, /, *, after: int = 0, limit: int) -> StreamPage:
        page = await super().read_stream(stream, after=after, limit=limit)
        if limit == 1 and self.is_short:
            nothing: tuple[RecordedEvent, ...] = ()
            return StreamPage(nothing, page.version, is_end=True)
        return page


def test_no_snapshot_is_taken_of_an_event_that_is_not_there(backend: str) -> None:
    async def main() -> None:
        store, snapshots = Shrinking(), Snapshots()
        store.is_short = True
        async with open_inventory(store, settings=COLD, snapshots=snapshots) as service:
            await ten_events(service)
            assert await snapshots.kept() is None

    anyio.run(main, backend=backend)


def test_the_past_is_read_from_a_snapshot_at_or_below_it(backend: str) -> None:
    async def main() -> None:
        store = CountingStore()
        async with open_inventory(store, settings=COLD, snapshots=Snapshots()) as service:
            await ten_events(service)
            for version, read in ((9, 3), (8, 3), (7, 10)):
                store.given = 0
                level = await service.as_of(*TEA, version=version)
                assert (level.on_hand, level.version, level.position) == (version, version, version)
                assert store.given == read

    anyio.run(main, backend=backend)


def losing_and_lying(seed: int) -> Callable[[Snapshot], Snapshot]:
    kinds: list[Callable[[Snapshot], Snapshot]] = [lambda found: found, relabelled, torn, of_another_log, ahead]
    chance = random.Random(seed)

    def change(found: Snapshot) -> Snapshot:
        return chance.choice(kinds)(found)

    return change


@asynccontextmanager
async def with_snapshots(clock: ManualClock, faults: Faults) -> AsyncIterator[InventoryService]:
    snapshots = Snapshots(losing_and_lying(7))
    bounds = HandlerSettings(warm_inventories=0, snapshot_after=1)
    store = faulty_event_store(MemoryEventStore(), faults)
    async with open_inventory(store, clock=clock, settings=bounds, snapshots=snapshots) as service:
        yield service


def test_no_program_tells_whether_snapshots_are_taken_lost_or_wrong(backend: str) -> None:
    @settings(max_examples=60)
    @given(programs(max_steps=16, max_parallel=6))
    def explore(program: Program) -> None:
        history = check_service(program, with_snapshots, backend=backend)
        assert check_history(history) == len(history)

    explore()


def test_a_codec_that_writes_no_snapshots_is_told_on_opening(backend: str) -> None:
    class Bare:
        encode = decode = encode_metadata = decode_metadata = len

    async def main() -> None:
        store = MemoryEventStore()
        bare: Any = Bare()
        with pytest.raises(ValueError, match="a Bare is no SnapshotCodec"):
            await open_inventory(store, codec=bare, snapshots=Snapshots()).__aenter__()
        seal: Any = type("Seal", (), {"seal": lambda *_: {}, "open": lambda *_: {}})()
        with pytest.raises(ValueError, match="seal"):
            await open_inventory(store, codec=JsonEventCodec(seal=seal), snapshots=Snapshots()).__aenter__()
        assert await store.head() == 0, "the store stays open: it is the caller's"

    anyio.run(main, backend=backend)
