"""A zip application, and source copied into a project: no installer has been there, so no metadata names this package."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipapp
from collections.abc import Callable
from pathlib import Path

import pytest

import inventory_es

LIBRARY = """
import anyio
from importlib.metadata import PackageNotFoundError, distribution
from inventory_es import open_inventory
from inventory_es.sync import open_inventory as open_sync

try:
    distribution("inventory_es")
except PackageNotFoundError:
    print("no metadata")


async def main() -> None:
    for url in ("memory:", "file:stock", "sqlite:stock.db"):
        for rows in ("memory:", "sqlite:rows.db"):
            async with open_inventory(url, read_models=rows, snapshots="sqlite:snapshots.db") as inventory:
                await inventory.add_stock("tea", "berlin", 1)
                print(url, (await inventory.stock("tea", "berlin")).on_hand)


anyio.run(main)
with open_sync("file:stock") as inventory:
    print("sync", inventory.stock("tea", "berlin").on_hand)
try:
    open_inventory("mongodb:stock")
except ValueError as problem:
    print(problem)
"""
START = """
import sys
sys.path.append({dependencies!r})
if sys.argv[1:] == ["library"]:
    import library
else:
    from inventory_es.cli.__main__ import main
    main()
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["zip application", "copied source"])
def application(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs an application that contains the package, where the dependencies are there and the package is not installed."""
    dependencies = tmp_path / "dependencies"
    dependencies.mkdir()
    for found in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "inventory_es" not in found.name and found.suffix != ".pth":
            (dependencies / found.name).symlink_to(found)
    source = tmp_path / "source"
    shutil.copytree(Path(inventory_es.__file__).parent, source / "inventory_es", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "library.py").write_text(LIBRARY, encoding="utf-8")
    (source / "__main__.py").write_text(START.format(dependencies=str(dependencies)), encoding="utf-8")
    start = source
    if request.param == "zip application":
        start = tmp_path / "application.pyz"
        zipapp.create_archive(source, start)
    (tmp_path / "work").mkdir()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
        command = [sys.executable, "-I", "-S", str(start), *arguments]
        return subprocess.run(command, cwd=tmp_path / "work", env=environment, capture_output=True, text=True, check=False)

    return run


def test_the_library_opens_every_store_and_read_model_that_ships(application: Run) -> None:
    done = application("library")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "no metadata",
        *("memory: 1", "memory: 1"),
        *("file:stock 1", "file:stock 2"),
        *("sqlite:stock.db 1", "sqlite:stock.db 2"),
        "sync 2",
        "no event store is installed for 'mongodb:'; known are file:, memory:, postgres:, postgresql:, sqlite:",
    ]


def test_the_command_line_runs(application: Run) -> None:
    version = application("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("inventory-es ")
    for arguments in (
        ["demo", "--url", "file:stock", "--invoices", "5"],
        ["project", "--url", "file:stock", "--read-model", "rows.db", "--once"],
    ):
        done = application(*arguments)
        assert (done.returncode, done.stderr) == (0, "")


TAKEN_OVER = """
import sys
sys.path.insert(0, {place!r})
from importlib.metadata import entry_points
from inventory_es.sync import open_inventory

print(sorted({{point.name for point in entry_points(group="inventory_es.event_stores") if point.value == "stranger:open_it"}}))
for url in ("memory:", "file:stock", "sqlite:stock.db"):
    with open_inventory(url) as inventory:
        print(inventory.add_stock("tea", "berlin", 1).version)
with open_inventory("other:place") as inventory:
    print(inventory.add_stock("tea", "berlin", 1).version)
"""
STRANGER = """
from inventory_es.adapters.memory import MemoryEventStore

async def open_it(place):
    print("the stranger opens", place)
    return MemoryEventStore()
"""


def test_no_other_package_can_take_a_scheme_that_ships(tmp_path: Path) -> None:
    metadata = tmp_path / "stranger-1.dist-info"
    metadata.mkdir()
    (tmp_path / "stranger.py").write_text(STRANGER, encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n", encoding="utf-8")
    schemes = ("file", "memory", "other", "sqlite")
    points = "".join(f"{name} = stranger:open_it\n" for name in schemes)
    (metadata / "entry_points.txt").write_text(f"[inventory_es.event_stores]\n{points}", encoding="utf-8")
    script = TAKEN_OVER.format(place=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(list(schemes)), "1", "1", "1", "the stranger opens place", "1"]
