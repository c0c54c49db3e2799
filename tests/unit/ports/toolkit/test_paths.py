"""A path is absolute from the moment it is given, whatever becomes of the working directory."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from inventory_es import open_inventory
from inventory_es import sync as sync_door
from inventory_es.adapters.file import back_up, open_file_cache, open_file_event_bus, open_file_event_store, verify
from inventory_es.adapters.sqlite import open_sqlite_event_store, open_sqlite_read_model
from inventory_es.adapters.sqlite.event_store import SqliteStore
from inventory_es.ports import Clock
from inventory_es.ports.toolkit.paths import AnyPath, absolute_path


class FixedClock(Clock):
    def now(self) -> datetime:
        return datetime(2026, 1, 5, 9, tzinfo=UTC)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; beside it stands ``elsewhere``, and ``~`` is ``home``."""
    for name in ("here", "elsewhere", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "here"


OPENINGS: dict[str, Callable[[AnyPath], AbstractAsyncContextManager[object]]] = {
    "file store": open_file_event_store,
    "file cache": lambda path: open_file_cache(path, clock=FixedClock()),
    "file event bus": lambda path: open_file_event_bus(path, clock=FixedClock()),
    "sqlite store": open_sqlite_event_store,
    "sqlite read model": open_sqlite_read_model,
}


@pytest.mark.parametrize("url", ["file:stock", "sqlite:stock", Path("stock")], ids=str)
def test_a_store_is_where_it_was_named_after_a_chdir(url: str | Path, here: Path, backend: str) -> None:
    async def main() -> None:
        inventory = open_inventory(url, read_models="sqlite:queries.db", snapshots="sqlite:snapshots.db")
        os.chdir("../elsewhere")
        async with inventory:
            await inventory.add_stock("tea", "berlin", 3)
        async with inventory:
            assert (await inventory.stock("tea", "berlin")).on_hand == 3

    anyio.run(main, backend=backend)
    assert {"stock", "queries.db", "snapshots.db"} <= {path.name for path in here.iterdir()}
    assert list((here.parent / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("url", ["file:stock", "sqlite:stock", Path("stock")], ids=str)
def test_the_synchronous_service_is_where_it_was_named_also_in_a_forked_child(url: str | Path, here: Path) -> None:
    inventory = sync_door.open_inventory(url, read_models="sqlite:queries.db", snapshots="sqlite:snapshots.db")
    os.chdir("../elsewhere")
    child = os.fork()
    if child == 0:
        try:
            inventory.add_stock("tea", "berlin", 3)
            inventory.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    with inventory:
        assert inventory.stock("tea", "berlin").on_hand == 3
    assert {"stock", "queries.db", "snapshots.db"} <= {path.name for path in here.iterdir()}
    assert list((here.parent / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", OPENINGS)
@pytest.mark.parametrize("kind", [str, os.fsencode, Path], ids=["str", "bytes", "PathLike"])
def test_an_adapter_is_where_it_was_named_when_its_opening_was_called(
    name: str, kind: Callable[[str], AnyPath], here: Path, backend: str
) -> None:
    async def main() -> None:
        opening = OPENINGS[name](kind("there"))
        os.chdir("../elsewhere")
        async with opening:
            assert (here / "there").exists()

    anyio.run(main, backend=backend)
    assert list((here.parent / "elsewhere").iterdir()) == []


def test_a_connection_that_sqlite_opens_later_goes_to_the_same_file(here: Path) -> None:
    engine = SqliteStore("stock.db", synchronous="NORMAL")
    os.chdir("../elsewhere")
    assert engine.head() == 0
    engine.close()
    assert list((here.parent / "elsewhere").iterdir()) == []


def test_a_check_and_a_backup_of_a_relative_folder(here: Path, backend: str) -> None:
    async def make() -> None:
        async with open_file_event_store("stock"):
            pass

    anyio.run(make, backend=backend)
    findings = verify("stock")
    assert back_up(b"stock", "~/copy") == 0
    os.chdir("../elsewhere")
    assert list(findings) == []
    assert (here.parent / "home" / "copy" / "format.json").exists()


def test_a_tilde_is_the_home_folder(here: Path, backend: str) -> None:
    async def main() -> None:
        async with open_inventory("file:~/stock", read_models="sqlite:~/queries.db", snapshots="sqlite:~/snapshots.db"):
            pass

    anyio.run(main, backend=backend)
    assert list(here.iterdir()) == []
    assert {path.name for path in (here.parent / "home").iterdir()} >= {"stock", "queries.db", "snapshots.db"}


@pytest.mark.parametrize(
    "given,found",
    [
        ("stock", "{0}/stock"),
        (b"stock", "{0}/stock"),
        (Path("../stock"), "{0}/../stock"),
        ("./~/stock", "{0}/~/stock"),
        ("/var/stock", "/var/stock"),
        ("~", "{0}/../home"),
        ("~/a b/stock", "{0}/../home/a b/stock"),
        ("~root", str(Path("~root").expanduser())),
        (b"st\xffck", "{0}/st\udcffck"),
    ],
    ids=repr,
)
def test_a_path_becomes_absolute(given: AnyPath, found: str, here: Path) -> None:
    wanted = found.format(here).replace("here/../home", "home")
    assert absolute_path(given) == wanted


@pytest.mark.parametrize(
    "given,problem",
    [("~nobody-of-this-name/stock", "unknown.*'./~nobody-of-this-name/stock'"), ("a\0b", "NUL"), (b"a\0b", "NUL")],
    ids=repr,
)
def test_what_can_be_no_path_is_refused(given: AnyPath, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        absolute_path(given)


GONE = """
import os, tempfile
from inventory_es import open_inventory
from inventory_es.sync import open_inventory as open_sync
folder = tempfile.mkdtemp()
os.chdir(folder)
os.rmdir(folder)
for make in (open_inventory, open_sync):
    for choices in ({"read_models": "sqlite:q.db"}, {"snapshots": "sqlite:s.db"}):
        try:
            make("memory:", **choices)
        except ValueError as problem:
            print("working directory is gone" in str(problem))
    try:
        make("file:stock")
    except ValueError as problem:
        print("working directory is gone" in str(problem), "'stock'" in str(problem))
    make("memory:", read_models="memory:")
    make(f"file:{folder}/stock", read_models=f"sqlite:{folder}/q.db")
"""


def test_without_a_working_directory_a_path_is_written_in_full() -> None:
    run = subprocess.run([sys.executable, "-c", GONE], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True"] * 8
