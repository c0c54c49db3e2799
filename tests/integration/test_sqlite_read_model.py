"""Read models in a SQLite file: beside the event store, seen from other handles, and nothing of anybody else's."""

import sqlite3
from pathlib import Path

import anyio
import attrs
import pytest

from inventory_es.adapters.sqlite import open_sqlite_event_store, open_sqlite_read_model
from inventory_es.ports import Checkpoint, ProjectionId, Put, ReadModel, Table
from inventory_es.ports.errors import IncompatibleStoreError, ProjectionNotFoundError, ReadModelUnavailableError

LEVELS = Table("levels", {"product": str, "store": str, "units": int}, ("product", "store"), (("store", "units"),))
ID = ProjectionId("stock", 1)


async def commit(model: ReadModel, units: int) -> Checkpoint:
    before = await model.checkpoint(ID)
    after = attrs.evolve(before, position=before.position + 1)
    await model.commit(ID, [Put("levels", {"product": "a", "store": "x", "units": units})], before=before, after=after)
    return after


async def units(model: ReadModel) -> list[object]:
    return [row["units"] for row in (await model.select(ID, "levels", limit=100)).rows]


def test_sqlite_keeps_everything_and_shares_the_file_of_the_event_store(backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        path = tmp_path / "stock.db"
        async with open_sqlite_event_store(path), open_sqlite_read_model(path) as model:
            await model.prepare(ID, [LEVELS])
            kept = await commit(model, 4)
        async with open_sqlite_event_store(path) as store, open_sqlite_read_model(path) as model, open_sqlite_read_model(path) as other:
            assert await store.head() == 0
            await model.prepare(ID, [LEVELS])
            await other.prepare(ID, [LEVELS])
            assert await model.checkpoint(ID) == kept
            assert await units(other) == [4]
            await commit(other, 5)
            assert await units(model) == [5]
            await other.drop(ID)
            await other.prepare(ID, [attrs.evolve(LEVELS, indexes=())])
            with pytest.raises(ProjectionNotFoundError):
                await units(model)
            assert await units(model) == []

    anyio.run(body, backend=backend)


def test_sqlite_refuses_what_is_not_its_own(backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        (tmp_path / "text").write_text("no database " * 100)
        with pytest.raises(IncompatibleStoreError, match="no SQLite"):
            async with open_sqlite_read_model(tmp_path / "text"):
                pass
        with sqlite3.connect(tmp_path / "foreign") as connection:
            connection.execute("CREATE TABLE theirs (a)")
        connection.close()
        with pytest.raises(IncompatibleStoreError, match="another application"):
            async with open_sqlite_read_model(tmp_path / "foreign"):
                pass
        with pytest.raises(ReadModelUnavailableError):
            async with open_sqlite_read_model(tmp_path / "no folder" / "file"):
                pass

    anyio.run(body, backend=backend)
