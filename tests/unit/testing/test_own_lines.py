"""A report shows the adapter's own line that raised, and the adapter's own name."""

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import pytest

from docs.examples.shop_store import ShopStore
from inventory_es.adapters.memory import MemoryCache, MemoryEventBus, MemoryEventStore, MemoryReadModel, MemorySnapshotStore
from inventory_es.adapters.system import SystemClock
from inventory_es.adapters.threads import in_threads
from inventory_es.application.guards import guarded
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import EventStore, RecordedEvent, StreamPage
from inventory_es.ports.toolkit.adapter_name import adapter_name
from inventory_es.testing import (
    BrokenPromiseError,
    EventStoreContract,
    Faults,
    FaultyCache,
    FaultyEventBus,
    FaultySnapshotStore,
    Site,
    faulty_event_store,
)
from inventory_es.testing.__main__ import main

HERE = "tests/unit/testing/test_own_lines.py"


class BrokenStore(ShopStore):
    def find_events(self, stream: StreamId, event_ids: Sequence[UUID], /) -> Sequence[RecordedEvent]:
        return self._transact(self._forgot)

    def _forgot(self) -> Sequence[RecordedEvent]:
        return self._db.execute("SELECT * FROM nowhere").fetchall()

    def read_stream_backwards(self, stream: StreamId, /, *, before: int | None = None, limit: int) -> StreamPage:
        raise KeyError(stream)


class BrokenContract(EventStoreContract):
    @asynccontextmanager
    async def open_store(self, site: Site) -> AsyncIterator[EventStore]:
        store = in_threads(BrokenStore(site.path / "shop.db"))
        try:
            yield store
        finally:
            await store.aclose()


def open_unopenable(site: Site) -> EventStore:
    return in_threads(ShopStore(site.path / "no such folder" / "shop.db"))


def report(case: Callable[[BrokenContract], None]) -> list[str]:
    with pytest.raises(BrokenPromiseError) as broken:
        case(BrokenContract())
    return broken.value.report.splitlines()


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(Path(__file__).read_text(encoding="utf-8").splitlines(), 1) if text in line)


def test_the_innermost_line_of_the_adapter_is_shown() -> None:
    lines = report(BrokenContract.test_es_25_ranges_past_the_end)
    assert f"  raised    {HERE}:{line_of('raise KeyError(stream)')} in read_stream_backwards: raise KeyError(stream)" in lines


def test_the_line_of_a_cause_is_shown() -> None:
    lines = report(BrokenContract.test_es_32_find_events)
    call = "return self._transact(self._forgot)"
    assert f"  raised    {HERE}:{line_of(call)} in find_events: {call}" in lines
    place = f"{HERE}:{line_of('FROM nowhere')} in _forgot"
    cause = f'  cause     OperationalError: no such table: nowhere; {place}: return self._db.execute("SELECT * FROM nowhere").fetchall()'
    assert cause in lines


def test_a_store_in_threads_has_its_own_name() -> None:
    assert any(
        line.startswith("  store     BrokenStore (declared: durability=os")
        for line in report(BrokenContract.test_es_25_ranges_past_the_end)
    )


def test_wrappers_carry_the_name_of_what_they_wrap(tmp_path: Path) -> None:
    clock = SystemClock()
    threaded = in_threads(ShopStore(tmp_path / "shop.db"))
    ports: list[tuple[Any, str]] = [
        (threaded, "ShopStore"),
        (guarded(threaded), "ShopStore"),
        (faulty_event_store(MemoryEventStore(), Faults.none()), "MemoryEventStore"),
        (guarded(FaultyCache(MemoryCache(clock=clock), Faults.none())), "MemoryCache"),
        (guarded(FaultyEventBus(MemoryEventBus(clock=clock), Faults.none())), "MemoryEventBus"),
        (guarded(MemoryReadModel()), "MemoryReadModel"),
        (FaultySnapshotStore(MemorySnapshotStore(), Faults.none()), "MemorySnapshotStore"),
    ]
    assert [(adapter_name(port), name) for port, name in ports] == [(name, name) for _, name in ports]
    anyio.run(threaded.aclose)


def test_a_factory_that_raises_is_told_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{HERE}:open_unopenable"]) == 2
    error = capsys.readouterr().err
    line = line_of('"no such folder"')
    assert error.startswith(f"error: {HERE}:open_unopenable could not be opened: {sqlite3.OperationalError.__name__}: unable to open")
    assert f"raised at {HERE}:{line} in open_unopenable: return in_threads(" in error
