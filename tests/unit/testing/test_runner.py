"""The kit's own command line."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from inventory_es.adapters.memory import MemoryEventStore, MemoryReadModel, MemorySnapshotStore
from inventory_es.ports import Cache
from inventory_es.testing import ManualClock, Site
from inventory_es.testing.__main__ import main
from inventory_es.testing.contracts.factory import contract_at
from inventory_es.testing.loading import load
from tests.contract.stores.plain_bus import PlainBus
from tests.contract.stores.plain_cache import PlainCache

HERE = "tests.unit.testing.test_runner"


def open_store(site: Site) -> MemoryEventStore:
    return MemoryEventStore()


async def open_bus(site: Site) -> PlainBus:
    return PlainBus()


@asynccontextmanager
async def open_cache(site: Site, *, clock: ManualClock) -> AsyncIterator[Cache]:
    yield PlainCache(clock, capacity=4)


def open_snapshots(site: Site) -> MemorySnapshotStore:
    return MemorySnapshotStore()


def open_read_model(site: Site) -> MemoryReadModel:
    return MemoryReadModel()


def open_nothing(site: Site) -> object:
    return _Closable()


class _Closable:
    async def aclose(self) -> None: ...


@pytest.mark.parametrize(
    "factory, only",
    [("open_store", "ES-01"), ("open_bus", "EB-02"), ("open_cache", "CA-02"), ("open_snapshots", "SN-2"), ("open_read_model", "CK-1")],
)
def test_a_factory_is_checked(factory: str, only: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{HERE}:{factory}", "--only", only]) == 0
    shown = capsys.readouterr().out
    assert f"✓ {only}  " in shown
    assert "1 kept   in " in shown


def test_a_matrix_stands_beside_what_was_observed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{HERE}:open_store", "--only", "ES-15", "--only", "ES-21", "--only", "ES-14"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  – ES-21  The same append again is recognised also after the store was opened again." in lines
    assert "           not declared: durability above none" in lines
    assert "  durability         none      ES-21 not declared" in lines
    assert "  multi_stream       True      ES-15 kept" in lines
    assert any(line.startswith("  max_append_events  ") and line.endswith("  ES-14 kept") for line in lines)
    assert "  group_commit       True      not run" in lines


def test_a_broken_promise_is_shown_whole_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    address = "tests/contract/mutants/writing_mutants.py:OffByOneContract"
    assert main(["check", address, "--only", "ES-04", "--only", "ES-02", "--seed", "3", "--backend", "trio"]) == 1
    shown = capsys.readouterr().out
    assert "✗ ES-04" in shown
    assert "two writers were told that the same version is theirs" in shown
    assert f"repeat    python -m inventory_es.testing check {address} --only ES-04 --backend trio --seed 3" in shown
    assert "1 kept · 1 broken   in " in shown


def test_the_command_of_a_report_repeats_it() -> None:
    command = [sys.executable, "-m", "inventory_es.testing", "check", "tests/contract/mutants/writing_mutants.py:HalfABatchContract"]
    done = subprocess.run([*command, "--only", "ES-10", "--backend", "asyncio", "--seed", "0"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "an event of the refused batch is visible" in done.stdout
    assert not done.stderr


def test_the_promises_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--list"]) == 0
    everything = capsys.readouterr().out
    assert all(f"  {promise_id}  " in everything for promise_id in ("ES-01", "ES-53", "CA-01", "CA-20", "EB-01", "EB-20"))
    assert main(["check", f"{HERE}:open_bus", "--list", "--only", "EB-09"]) == 0
    assert capsys.readouterr().out.startswith("  EB-09  After max_deliveries failures")


@pytest.mark.parametrize(
    "address, problem",
    [
        ("nothing", "names nothing: write package.module:Name"),
        ("no_such_module:open_store", "no module no_such_module"),
        ("no/such/file.py:open_store", "no file no/such/file.py"),
        (f"{HERE}:no_such_name", "has no no_such_name"),
        (f"{HERE}:HERE", "is neither a contract class nor a factory"),
        (f"{HERE}:open_nothing", "which is no EventStore, EventBus, SnapshotStore, ReadModel or Cache"),
    ],
)
def test_a_wrong_address_is_told_on_one_line_and_ends_with_2(address: str, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", address]) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


def test_an_unknown_promise_or_a_missing_address_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{HERE}:open_store", "--only", "ES-99"]) == 2
    assert "no promise ES-99 in store" in capsys.readouterr().err
    assert main(["check"]) == 2
    assert "name what to check" in capsys.readouterr().err


def test_more_seeds_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{HERE}:open_store", "--only", "ES-41", "--seeds", "20", "--backend", "asyncio"]) == 0
    assert "1 kept" in capsys.readouterr().out


def test_a_factory_keeps_its_address_for_other_processes() -> None:
    address = f"{HERE}:open_store"
    assert contract_at(address).address == address


def test_a_file_is_loaded_once(tmp_path: Path) -> None:
    source = tmp_path / "kept.py"
    source.write_text("class Box:\n    inside = []\n")
    first = load(f"{source}:Box.inside")
    assert first == []
    assert load(f"{source}:Box.inside") is first
