"""Files of every schema version: the newest is used, an older one is migrated, a newer one is refused."""

import sqlite3
from pathlib import Path

import anyio
import pytest

from inventory_es import StreamId, StreamWrite
from inventory_es.adapters.sqlite import database, open_sqlite_event_store
from inventory_es.adapters.sqlite.database import APPLICATION_ID, SCHEMA_VERSION
from inventory_es.errors import IncompatibleStoreError
from inventory_es.testing.contracts.core.event_labels import EventLabels

STREAM = StreamId("inventory", "tea", "berlin")


def older_file(path: Path, version: int) -> None:
    """A file with one event of the first schema version, as this package left it when ``version`` was the newest."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(database._SCHEMA[0])
        connection.execute("INSERT INTO streams VALUES (1, ?, 1)", (STREAM.text,))
        connection.execute("INSERT INTO events VALUES (1, 1, 1, ?, 'Kept', 1, 0, '{}', '{}')", (bytes(16),))
        for step in database._SCHEMA[1:version]:
            connection.executescript(step)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def tables(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        found = {name for (name,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        found.add(f"version {connection.execute('PRAGMA user_version').fetchone()}")
    connection.close()
    return found


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_an_older_file_is_migrated_and_keeps_its_events(version: int, tmp_path: Path, backend: str) -> None:
    path = tmp_path / "stock.db"
    older_file(path, version)

    async def main() -> None:
        async with open_sqlite_event_store(path) as store:
            page = await store.read_stream(STREAM, limit=10)
            assert [event.event_type for event in page.events] == ["Kept"]
            assert await store.load_snapshot(STREAM, schema_version=1) is None
            await store.append([StreamWrite(STREAM, 1, EventLabels().events("b"))])
        async with open_sqlite_event_store(tmp_path / "new.db"):
            pass

    anyio.run(main, backend=backend)
    assert tables(path) == tables(tmp_path / "new.db")


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    path = tmp_path / "stock.db"
    older_file(path, 1)
    before = tables(path)
    monkeypatch.setattr(database, "_SCHEMA", (database._SCHEMA[0], "CREATE TABLE more (x INT); CREATE TABLE streams (y INT);"))

    async def main() -> None:
        with pytest.raises(Exception, match="SQLITE_ERROR"):
            async with open_sqlite_event_store(path):
                pass

    anyio.run(main, backend=backend)
    assert tables(path) == before


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path, backend: str) -> None:
    path = tmp_path / "stock.db"
    older_file(path, SCHEMA_VERSION)
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = tables(path)

    async def main() -> None:
        with pytest.raises(IncompatibleStoreError, match="update the package"):
            async with open_sqlite_event_store(path):
                pass

    anyio.run(main, backend=backend)
    assert tables(path) == before
