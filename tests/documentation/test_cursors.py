"""The examples over SQLite drop each cursor in the thread that made it.

A cursor that is dropped resets its statement, which another thread may be running by then: the driver refuses that call.
"""

import sqlite3
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any
from uuid import UUID
from weakref import finalize

import pytest

from docs.examples.shop_bus import ShopBus
from docs.examples.shop_cache import ShopCache
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import RecordedEvent
from inventory_es.testing import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect the threads that dropped a cursor of another thread."""
    found: list[int] = []

    def note(home: int) -> None:
        if get_ident() != home:
            found.append(get_ident())

    def watched(cursor: sqlite3.Cursor) -> sqlite3.Cursor:
        finalize(cursor, note, get_ident())
        return cursor

    class Connection(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            return watched(super().execute(*args))

        def executemany(self, *args: Any) -> sqlite3.Cursor:
            return watched(super().executemany(*args))

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Connection))
    return found


async def test_cache(tmp_path: Path, strangers: list[int]) -> None:
    cache = ShopCache(tmp_path / "shop.db", clock=ManualClock())
    await cache.set("key", b"value", version=1, ttl=timedelta(hours=1))
    assert await cache.get("key") is not None
    await cache.invalidate("key", "other")
    await cache.clear()
    await cache.aclose()
    assert strangers == []


async def test_bus(tmp_path: Path, strangers: list[int]) -> None:
    event = RecordedEvent(StreamId("s", "1"), 1, 1, UUID(int=1), "Noted", 1, datetime(2026, 1, 5, tzinfo=UTC), b"{}", b"{}")
    bus = ShopBus(tmp_path / "bus.db", clock=ManualClock(), max_deliveries=1)
    async with bus.subscribe("group") as subscription:
        await bus.publish([event])
        await (await anext(subscription)).nack("no use")
        assert len(await bus.dead_letters("group")) == 1
        assert await bus.redeliver("group", [event.event_id]) == 1
        await (await anext(subscription)).ack()
    await bus.aclose()
    assert strangers == []
