"""What the file adapters open they close themselves, and leave nothing of it to whoever drops a handle last."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import anyio.lowlevel

from inventory_es.adapters.file import FileStore, open_file_cache, open_file_event_bus, open_file_event_store, verify
from inventory_es.testing import ManualClock
from tests.unit.adapters.file.test_cache_folder import HOUR
from tests.unit.adapters.file.test_cache_folder import open_engine as open_cache
from tests.unit.adapters.file.test_file_bus import ALL, T0, drain, refuse
from tests.unit.adapters.file.test_file_bus import event as published
from tests.unit.adapters.file.test_file_bus import open_engine as open_bus
from tests.unit.adapters.file.test_file_store import A, B, write
from tests.unit.adapters.file.watched_disk import WatchedDisk


def test_a_store_leaves_no_file_open() -> None:
    disk = WatchedDisk()
    for opening in range(2):
        engine = FileStore.open("/stock", creation_id="1", file_system=disk, segment_bytes=600)
        for number in range(opening * 8, opening * 8 + 8):
            engine.commit([write(A, number, 2 * number), write(B, number, 2 * number + 1)])
        assert not engine.tidy(max_events=3)
        assert [event.version for event in engine.read_stream_backwards(A, limit=1).events] == [opening * 8 + 8]
        assert engine.read_all(after=0, limit=9).events
        engine.rebuild()
        engine.close()
    assert list(verify("/stock", file_system=disk)) == []
    disk.assert_all_closed()


def test_an_index_file_is_written_once() -> None:
    disk = WatchedDisk()
    engine = FileStore.open("/stock", creation_id="1", file_system=disk, segment_bytes=1)
    for number in range(4):
        engine.commit([write(A, number, number)])
    assert engine.tidy()
    opened = len(disk.opened)
    assert engine.tidy()
    assert len(disk.opened) == opened
    engine.close()


def test_a_cache_leaves_no_file_open() -> None:
    disk = WatchedDisk()
    for _ in range(2):
        engine = open_cache(Path("/cache"), disk=disk, max_entries=2)
        for number in range(4):
            engine.set(f"k{number}", b"value", version=1, since=T0, until=T0 + HOUR)
            engine.set(f"k{number}", b"longer value", version=2, since=T0, until=T0 + HOUR)
            engine.get(f"k{number}")
        engine.invalidate(["k3", "nobody's"])
        engine.close()
    disk.assert_all_closed()


def test_a_bus_leaves_no_file_open() -> None:
    disk = WatchedDisk()
    for opening in range(2):
        engine = open_bus(Path("/bus"), disk=disk, max_deliveries=1)
        engine.publish([published("x", 2 * opening + 1), published("y", 2 * opening + 2)])
        group, consumer = engine.join("g", ALL)
        refuse(group, consumer)
        drain(group, consumer)
        engine.leave("g", consumer, T0)
        (letter,) = engine.dead_letters("g", limit=9)
        assert engine.redeliver("g", [letter.event.event_id]) == 1
        assert len(drain(*engine.join("g", ALL))) == 1
        engine.close()
    disk.assert_all_closed()


def test_a_block_that_is_cancelled_closes_what_it_opened(backend: str) -> None:
    disk, clock = WatchedDisk(), ManualClock()

    async def case(opened: AbstractAsyncContextManager[object]) -> None:
        with anyio.CancelScope() as scope:
            async with opened:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        disk.assert_all_closed()

    anyio.run(case, open_file_event_store("/stock", file_system=disk), backend=backend)
    anyio.run(case, open_file_cache("/cache", clock=clock, file_system=disk), backend=backend)
    anyio.run(case, open_file_event_bus("/bus", clock=clock, file_system=disk), backend=backend)
