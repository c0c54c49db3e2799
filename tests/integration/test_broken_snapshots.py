"""A snapshot file that can't be used: the service opens, works and closes without it, and leaves the file as it is."""

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from inventory_es import HandlerSettings, open_inventory
from inventory_es.adapters.sqlite.event_store import SqliteStore

LENGTH = 30


def make(path: Path) -> Path:
    SqliteStore(str(path), synchronous="FULL").close()
    return path


def no_database(path: Path) -> None:
    path.write_bytes(b"no database at all\n" * 500)


def a_folder(path: Path) -> None:
    (path / "in it").mkdir(parents=True)


def no_folder(path: Path) -> None:
    make(path)
    path.unlink()
    path.parent.rmdir()


def another_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")


def a_newer_version(path: Path) -> None:
    with closing(sqlite3.connect(make(path))) as connection:
        connection.execute("PRAGMA user_version = 99")


def a_damaged_one(path: Path) -> None:
    size = make(path).stat().st_size
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * (size - 100))


def a_cut_one(path: Path) -> None:
    os.truncate(make(path), 5_000)


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


BROKEN = [no_database, a_folder, no_folder, another_application, a_newer_version, a_damaged_one, a_cut_one, a_link_to_itself]


def contents(path: Path) -> object:
    return path.read_bytes() if path.is_file() else path.exists()


async def work(store: str, snapshots: Path, damage: Callable[[], object] = lambda: None) -> None:
    settings = HandlerSettings(warm_inventories=1, snapshot_after=5)
    async with open_inventory(store, snapshots=f"sqlite:{snapshots}", settings=settings) as inventory:
        for number in range(LENGTH):
            await inventory.add_stock("tea", "berlin", 1)
            await inventory.add_stock("coffee", "berlin", 1)
            if number == LENGTH // 2:
                damage()
        assert (await inventory.stock("tea", "berlin")).on_hand == LENGTH
        assert (await inventory.as_of("tea", "berlin", version=LENGTH - 3)).on_hand == LENGTH - 3


@pytest.fixture
def snapshots(tmp_path: Path) -> Path:
    (tmp_path / "snapshots").mkdir()
    return tmp_path / "snapshots" / "s.db"


@pytest.mark.parametrize("break_it", BROKEN)
@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_it_is_opened_without(
    break_it: Callable[[Path], None], kind: str, snapshots: Path, tmp_path: Path, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    break_it(snapshots)
    before = contents(snapshots)
    with caplog.at_level(logging.WARNING, "inventory_es"):
        anyio.run(work, f"{kind}:{tmp_path / 'stock'}", snapshots, backend=backend)
    (warning,) = [record for record in caplog.records if record.message == "snapshots_not_opened"]
    assert str(snapshots) in warning.__dict__["reason"]
    assert contents(snapshots) == before


def spoil(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"spoilt" * 1_000)


def take_the_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE snapshots")


def spoil_every_row(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE snapshots SET event_id = x'00', data = x'ff'")


@pytest.mark.parametrize("damage", [spoil, take_the_table, spoil_every_row, Path.unlink])
def test_what_happens_to_it_while_it_is_open_stops_no_command(
    damage: Callable[[Path], None], snapshots: Path, tmp_path: Path, backend: str
) -> None:
    anyio.run(work, f"sqlite:{tmp_path / 'stock.db'}", snapshots, lambda: damage(snapshots), backend=backend)
