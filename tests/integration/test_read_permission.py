"""This user may read and not write: readers answer, writers are told why.

The superuser may write whatever the permissions say, and tests often run as one. So each case runs in a process of its own, which first
does the same with another copy, so that all modules are loaded, and then gives up that right (``setuid``). Where the tests run as another
user already, there is nothing to give up.
"""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from inventory_es import open_inventory

_GIVE_UP = """
import os, sys
from pathlib import Path

copy, place, *arguments = sys.argv[1:]

def give_up():
    os.chdir("/")
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
"""
_CLI = (
    _GIVE_UP
    + """
from contextlib import redirect_stdout
from io import StringIO
from inventory_es.cli.app import run

with redirect_stdout(StringIO()):
    run([argument.replace("PLACE", copy) for argument in arguments])
give_up()
sys.exit(run([argument.replace("PLACE", place) for argument in arguments]))
"""
)
_WRITE = (
    _GIVE_UP
    + """
import anyio
from inventory_es import open_inventory
from inventory_es.errors import UnavailableError

async def write(url):
    async with open_inventory(url) as inventory:
        print((await inventory.stock("tea", "berlin")).on_hand)
        try:
            await inventory.add_stock("tea", "berlin", 1)
        except UnavailableError as refused:
            print(refused.retryable, refused)

async def both():
    await write(arguments[0].replace("PLACE", copy))
    give_up()
    await write(arguments[0].replace("PLACE", place))

anyio.run(both)
"""
)
_FOLLOW = (
    _GIVE_UP
    + """
import anyio
from inventory_es import open_inventory
from inventory_es.errors import UnavailableError

async def query(url):
    async with open_inventory("memory:", read_models=url) as inventory:
        print((await inventory.queries.stock("tea", "berlin")).on_hand)

async def both():
    await query(arguments[0].replace("PLACE", copy))
    give_up()
    await query(arguments[0].replace("PLACE", place))

anyio.run(both)
"""
)
_QUERY = (
    _GIVE_UP
    + """
import anyio
from inventory_es import open_inventory
from inventory_es.errors import UnavailableError, IncompatibleStoreError

async def query(rows):
    try:
        async with open_inventory("memory:", read_models="sqlite:" + rows) as inventory:
            print((await inventory.queries.stock("tea", "berlin")).on_hand)
    except (UnavailableError, IncompatibleStoreError) as refused:
        print(type(refused).__name__, refused)

async def both():
    await query(os.path.join(copy, arguments[0]))
    give_up()
    await query(os.path.join(place, arguments[1]))

anyio.run(both)
"""
)


def run(program: str, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program with a copy for itself, and with what everybody may read and nobody may write."""
    copy = place.with_name("copy")
    shutil.copytree(place, copy)
    for found in [place, *place.rglob("*")]:
        found.chmod(0o555 if found.is_dir() else 0o444)
    before = {found: found.read_bytes() for found in place.rglob("*") if found.is_file()}
    command = [sys.executable, "-c", program, str(copy), str(place), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert {found: found.read_bytes() for found in place.rglob("*") if found.is_file()} == before, "something was changed"
    return ended


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        place = Path(above) / "place"
        place.mkdir()
        yield place
        for found in [place, *place.rglob("*")]:
            found.chmod(0o755 if found.is_dir() else 0o644)


async def _fill(url: str, rows: Path | None = None) -> None:
    async with open_inventory(url, read_models=None if rows is None else f"sqlite:{rows}") as inventory:
        await inventory.add_stock("tea", "berlin", 7)
        await inventory.add_stock("mug", "berlin", 1)
        if rows is not None:
            await inventory.followers.catch_up(on_failure="stop")


def fill(url: str, rows: Path | None = None) -> None:
    anyio.run(_fill, url, rows)


READING = {
    "stock": ("stock", "tea", "berlin", "--url", "URL"),
    "as-of": ("stock", "tea", "berlin", "--as-of", "2999-01-01", "--url", "URL"),
    "history": ("history", "tea", "berlin", "--url", "URL"),
    "explain": ("explain", "tea", "berlin", "--url", "URL"),
    "ledger": ("ledger", "tea", "berlin", "--url", "URL"),
    "low-stock": ("low-stock", "--url", "URL"),
    "streams": ("streams", "--url", "URL"),
    "plot": ("plot", "tea", "berlin", "--url", "URL"),
    "watch": ("watch", "--once", "--url", "URL"),
    "copy": ("copy", "URL", "memory:"),
}


@pytest.mark.parametrize("url", ["file:PLACE/s", "sqlite:PLACE/s.db"])
@pytest.mark.parametrize("command", READING)
def test_a_command_that_looks_needs_permission_to_read_alone(place: Path, url: str, command: str) -> None:
    fill(url.replace("PLACE", str(place)))
    ended = run(_CLI, place, *(argument.replace("URL", url) for argument in READING[command]))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout


def test_a_folder_is_verified_with_permission_to_read(place: Path) -> None:
    fill(f"file:{place}/s")
    ended = run(_CLI, place, "verify", "--url", "file:PLACE/s")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("command", ["ledger", "low-stock"])
def test_rows_are_read_with_permission_to_read(place: Path, command: str) -> None:
    fill(f"file:{place}/s", place / "rows.db")
    what = {"ledger": ("ledger", "tea", "berlin"), "low-stock": ("low-stock",)}[command]
    ended = run(_CLI, place, *what, "--read-model", "PLACE/rows.db")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_queries_are_answered_from_rows_with_permission_to_read(place: Path) -> None:
    fill(f"file:{place}/s", place / "rows.db")
    ended = run(_FOLLOW, place, "sqlite:PLACE/rows.db")
    assert (ended.stdout, ended.stderr) == ("7\n7\n", "")


@pytest.mark.parametrize("url", ["file:PLACE/s", "sqlite:PLACE/s.db"])
def test_a_writer_is_told_why_and_not_to_try_again(place: Path, url: str) -> None:
    fill(url.replace("PLACE", str(place)))
    ended = run(_WRITE, place, url)
    of_copy, of_place, refusal = ended.stdout.splitlines()
    assert (of_copy, of_place) == ("7", "7"), ended.stderr
    assert refusal.startswith("False ")
    assert "is unavailable, nothing was written: it was opened with read permission only; give this user permission to write" in refusal
    assert "try again" not in refusal


_DIES = """
import os, sqlite3, sys, anyio
from inventory_es import open_inventory

async def main():
    async with open_inventory(sys.argv[1]) as inventory:
        await inventory.add_stock("tea", "berlin", 7)
        os._exit(0)

anyio.run(main)
"""


@pytest.mark.parametrize("url", ["file:PLACE/s", "sqlite:PLACE/s.db"])
def test_what_a_killed_writer_left_is_read_as_far_as_it_is_durable(place: Path, url: str) -> None:
    subprocess.run([sys.executable, "-c", _DIES, url.replace("PLACE", str(place))], check=True, timeout=60)
    ended = run(_WRITE, place, url)
    assert ended.stdout.splitlines()[1:2] == ["7"], ended.stdout + ended.stderr


def test_a_reader_never_passes_the_durable_place(place: Path) -> None:
    fill(f"file:{place}/s")
    lock, segment = place / "s" / ".lock", place / "s" / "journal" / "00000000000000000001.jsonl"
    durable = lock.read_bytes()
    fill(f"file:{place}/s")
    longer = segment.read_bytes()
    lock.write_bytes(durable)
    ended = run(_WRITE, place, "file:PLACE/s")
    assert ended.stdout.splitlines()[:2] == ["14", "7"], "the copy was recovered; the other one is read up to what is durable"
    assert segment.read_bytes() == longer


@pytest.mark.parametrize("damage", [lambda lock: lock.write_bytes(b""), Path.unlink], ids=["an empty lock file", "no lock file"])
def test_a_store_that_has_to_be_recovered_says_so(place: Path, damage: Callable[[Path], object]) -> None:
    fill(f"file:{place}/s")
    damage(place / "s" / ".lock")
    ended = run(_CLI, place, "stock", "tea", "berlin", "--url", "file:PLACE/s")
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "it has to be recovered, and it was opened with read permission only; give this user permission" in ended.stderr
    assert "try again" not in ended.stderr


def test_tables_of_an_older_version_are_not_read_as_if_they_were_new(place: Path) -> None:
    fill(f"sqlite:{place}/s.db")
    subprocess.run(
        [sys.executable, "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version = 1')", f"{place}/s.db"],
        check=True,
    )
    ended = run(_CLI, place, "stock", "tea", "berlin", "--url", "sqlite:PLACE/s.db")
    assert ended.returncode == 3
    assert "open it once with permission to write" in ended.stderr


@pytest.mark.parametrize(
    "statement",
    ["ALTER TABLE projections DROP COLUMN mark_event_id", "DROP TABLE active_projections"],
)
def test_rows_of_an_older_version_are_not_read_as_if_they_were_new(statement: str, place: Path) -> None:
    fill("memory:", place / "rows.db")
    with closing(sqlite3.connect(place / "rows.db")) as connection:
        connection.execute(statement)
    (place / "now").mkdir()
    fill("memory:", place / "now" / "rows.db")
    ended = run(_QUERY, place, "now/rows.db", "rows.db")
    assert "7" in ended.stdout
    assert "IncompatibleStoreError" in ended.stdout
    assert "open it once with permission to write" in ended.stdout
