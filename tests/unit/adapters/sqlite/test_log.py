"""The write-ahead log: a reader that keeps it from being emptied lets it grow, and when the reader has gone it shrinks again."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from inventory_es.adapters.sqlite import database, open_sqlite_event_store, open_sqlite_read_model
from inventory_es.ports import Checkpoint, StreamWrite
from inventory_es.testing.contracts.core.event_labels import EventLabels, stream_id
from inventory_es.testing.contracts.read_model.harness import ID, TABLES, ahead, level
from inventory_es.testing.contracts.snapshot_store.harness import snapshot

_LIMIT = 64 << 10


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(database, "LOG_BYTES", _LIMIT)
    return tmp_path / "s.db"


@contextmanager
def pinned(path: Path) -> Iterator[None]:
    """Another program reads, and never ends its transaction."""
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
    yield
    reader.close()


def log_size(path: Path) -> int:
    return path.with_name("s.db-wal").stat().st_size


def test_of_an_event_store(path: Path, backend: str) -> None:
    async def body() -> None:
        labels = EventLabels()
        async with open_sqlite_event_store(path) as store:
            with pinned(path):
                events = [labels.sized(f"e{number}", 500_000) for number in range(16)]
                for version, event in enumerate(events):
                    await store.append([StreamWrite(stream_id("x"), version, [event])])
            assert log_size(path) > 16 * 500_000
            for version in range(2):
                await store.append([StreamWrite(stream_id("y"), version, [labels.event(f"y{version}")])])
            assert log_size(path) <= _LIMIT

    anyio.run(body, backend=backend)


def test_of_snapshots(path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_event_store(path) as store:
            with pinned(path):
                for version in range(1, 17):
                    await store.save_snapshot(snapshot(version, bytes([version]) * 500_000))
            assert log_size(path) > 16 * 500_000
            for version in range(17, 19):
                await store.save_snapshot(snapshot(version))
            assert log_size(path) <= _LIMIT

    anyio.run(body, backend=backend)


def test_of_a_read_model(path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_read_model(path) as model:
            await model.prepare(ID, TABLES)
            at = Checkpoint()

            async def commit(note: str) -> Checkpoint:
                await model.commit(ID, [level("a", "x", 1, note)], before=at, after=ahead(at))
                return ahead(at)

            with pinned(path):
                for letter in "abcdefghijklmnop":
                    at = await commit(letter * 500_000)
            assert log_size(path) > 16 * 500_000
            for _ in range(2):
                at = await commit("short")
            assert log_size(path) <= _LIMIT

    anyio.run(body, backend=backend)


def test_a_log_that_is_emptied_in_time_is_never_cut() -> None:
    connection = sqlite3.connect(":memory:")
    (pages,) = connection.execute("PRAGMA wal_autocheckpoint").fetchone()
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    assert 2 * pages * page <= database.LOG_BYTES
