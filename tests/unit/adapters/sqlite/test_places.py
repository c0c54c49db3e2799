"""A database whose file is moved, removed or replaced while it is open: refused, and whatever is in its place stays untouched."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from inventory_es.adapters.sqlite import open_sqlite_event_store, open_sqlite_read_model
from inventory_es.adapters.sqlite.connections import gate
from inventory_es.adapters.sqlite.event_store import SqliteStore
from inventory_es.ports import Checkpoint
from inventory_es.ports.errors import StoreClosedError
from inventory_es.testing.contracts.read_model.harness import ID, TABLES, ahead, level
from inventory_es.testing.contracts.snapshot_store.harness import SCHEMA, STREAM, snapshot
from tests.unit.adapters.file.test_event_store import A, B, write


def move(path: Path) -> None:
    for part in ("", "-wal", "-shm"):
        path.with_name(f"{path.name}{part}").rename(path.with_name(f"elsewhere.db{part}"))


def move_the_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def remove(path: Path) -> None:
    path.unlink()


def restore_a_copy(path: Path) -> None:
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.replace(path)


def remove_the_log(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


TAKEN = [move, move_the_folder, remove, restore_a_copy, remove_the_log]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    return tmp_path / "shop" / "s.db"


@pytest.mark.parametrize("take_away", TAKEN)
def test_a_store_refuses_every_use(take_away: Callable[[Path], None], path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_event_store(path) as store:
            await store.append(write(A, 0, 1))
            assert store.glance_version(A) == 1
            take_away(path)
            assert store.glance_version(A) is None
            for use in (
                lambda: store.append(write(A, 1, 2)),
                lambda: store.append_group([write(B, 0, 3)]),
                lambda: store.read_stream(A, limit=9),
                lambda: store.read_all(after=0, limit=9),
                store.head,
                lambda: store.streams(limit=9),
                lambda: store.load_snapshot(STREAM, schema_version=SCHEMA),
                lambda: store.save_snapshot(snapshot(1)),
            ):
                with pytest.raises(StoreClosedError, match=r"moved, removed or replaced.*open it again"):
                    await use()

    anyio.run(body, backend=backend)


@pytest.mark.parametrize("take_away", TAKEN)
def test_a_read_model_refuses_every_use(take_away: Callable[[Path], None], path: Path, backend: str) -> None:
    async def body() -> None:
        async with open_sqlite_read_model(path) as model:
            await model.prepare(ID, TABLES)
            at = ahead(Checkpoint())
            await model.commit(ID, [level("a", "x", 1)], before=Checkpoint(), after=at)
            take_away(path)
            for use in (
                lambda: model.commit(ID, [level("b", "x", 1)], before=at, after=ahead(at)),
                lambda: model.select(ID, "levels", limit=9),
                lambda: model.checkpoint(ID),
            ):
                with pytest.raises(StoreClosedError, match="moved, removed or replaced"):
                    await use()

    anyio.run(body, backend=backend)


def test_a_turn_that_was_taken_before_writes_nothing(path: Path) -> None:
    engine = SqliteStore(str(path), synchronous="FULL")
    engine.take_turn()
    move(path)
    with pytest.raises(StoreClosedError):
        engine.commit([write(A, 0, 1)])
    engine.give_turn_back()
    engine.close()


def test_what_is_opened_in_its_place_survives_that_it_closes(path: Path) -> None:
    old = SqliteStore(str(path), synchronous="FULL")
    old.commit([write(A, 0, 1)])
    move(path)
    new = SqliteStore(str(path), synchronous="FULL")
    new.commit([write(B, 0, 2)])
    old.close()
    assert path.with_name("s.db-wal").exists()
    new.commit([write(B, 1, 3)])
    elsewhere = SqliteStore(str(path.with_name("elsewhere.db")), synchronous="FULL")
    assert elsewhere.read_stream(A, after=0, limit=9).version == 1
    elsewhere.close()
    again = SqliteStore(str(path), synchronous="FULL")
    assert again.read_stream(B, after=0, limit=9).version == 2
    again.close()
    new.close()


def test_a_file_that_was_replaced_while_a_fork_had_its_connections_closed_is_refused(path: Path) -> None:
    engine = SqliteStore(str(path), synchronous="FULL")
    engine.commit([write(A, 0, 1)])
    gate._before()
    shutil.copy(path, path.with_name("copy.db"))
    path.with_name("copy.db").replace(path)
    gate._after_in_parent()
    with pytest.raises(StoreClosedError, match="replaced"):
        engine.commit([write(A, 1, 2)])
    engine.close()


def test_a_file_that_is_moved_and_moved_back_is_used_on(path: Path) -> None:
    engine = SqliteStore(str(path), synchronous="FULL")
    path.rename(path.with_name("away.db"))
    path.with_name("away.db").rename(path)
    engine.commit([write(A, 0, 1)])
    assert engine.head() == 1
    engine.close()


def test_a_relative_path_is_the_one_of_the_opening(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(path.parent)
    engine = SqliteStore("s.db", synchronous="FULL")
    monkeypatch.chdir(tmp_path)
    gate._before()
    gate._after_in_parent()
    engine.commit([write(A, 0, 1)])
    assert engine.head() == 1
    engine.close()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["shop"]


def test_a_file_in_another_journal_mode_has_no_log_to_compare(path: Path) -> None:
    SqliteStore(str(path), synchronous="FULL").close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
    engine = SqliteStore(str(path), synchronous="FULL")
    engine.commit([write(A, 0, 1)])
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        engine.commit([write(A, 1, 2)])
        assert engine.head() == 2
    engine.close()
