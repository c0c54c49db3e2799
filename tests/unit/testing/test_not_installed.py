"""The kit without an optional dependency: cases are not tried, the kit says so once, and nothing is called broken for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT

STORE = """
from contextlib import asynccontextmanager

from inventory_es.adapters.memory import MemoryEventStore
from inventory_es.testing import EventStoreContract


@asynccontextmanager
async def open_store(site):
    async with MemoryEventStore() as store:
        yield store


class TestStore(EventStoreContract):
    open_store = staticmethod(open_store)


class TestOnTrio(TestStore):
    backends = ("trio",)
"""
INSTALL = "trio is not installed: pip install 'inventory_es[testing]' brings it"


def without(*modules: str, run: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a script in a process of its own that can't import these modules."""
    (folder / "my_store.py").write_text(STORE, encoding="utf-8")
    hidden = "".join(f"sys.modules[{module!r}] = None\n" for module in modules)
    script = f"import sys\nsys.path.insert(0, {str(ROOT / 'src')!r})\n{hidden}{run}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=folder, timeout=120)


def check(*arguments: str) -> str:
    return f"from inventory_es.testing.__main__ import main\nsys.exit(main({['check', *arguments]!r}))"


def test_what_needs_trio_is_not_tried_and_that_is_said_once(tmp_path: Path) -> None:
    done = without("trio", "hypothesis", "pytest", run=check("my_store:open_store", "--seeds", "0"), folder=tmp_path)
    assert "broken" not in done.stdout, done.stdout
    assert done.stdout.count("not installed") == 1
    assert "not tried on trio, which is not installed: pip install 'inventory_es[testing]' brings it" in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("  event loops")]
    assert row.split(maxsplit=2)[2] == "asyncio, trio  asyncio tried · trio not tried"
    assert "  on asyncio, " in done.stdout
    assert " kept · " in done.stdout
    assert (done.returncode, done.stderr) == (3, "")


def test_where_all_is_installed_nothing_is_left_out(tmp_path: Path) -> None:
    done = without(run=check("my_store:open_store", "--only", "ES-10", "--seeds", "0"), folder=tmp_path)
    assert "not tried" not in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_a_host_that_leaves_trio_out_lacks_nothing(tmp_path: Path) -> None:
    done = without("trio", run=check("my_store:open_store", "--backend", "asyncio", "--only", "ES-10"), folder=tmp_path)
    assert "not tried" not in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_a_broken_promise_is_one_whatever_is_not_installed(tmp_path: Path) -> None:
    broken = "from inventory_es.adapters.memory import MemoryEventStore as Store\n"
    broken += "async def append(self, writes, /): raise RuntimeError\nStore.append = append\n"
    done = without("trio", run=broken + check("my_store:open_store", "--only", "ES-10"), folder=tmp_path)
    assert "1 broken" in done.stdout
    assert done.returncode == 1


@pytest.mark.parametrize("arguments", [("my_store:open_store", "--backend", "trio"), ("my_store:TestOnTrio", "--backend", "trio")])
def test_asking_for_what_is_not_installed_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = without("trio", run=check(*arguments), folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {INSTALL}\n")


def test_a_contract_on_trio_alone_is_not_tried(tmp_path: Path) -> None:
    done = without("trio", run=check("my_store:TestOnTrio", "--only", "ES-10", "--only", "ES-11"), folder=tmp_path)
    assert "2 not tried" in done.stdout
    assert "kept" not in done.stdout
    assert done.returncode == 3


def test_pytest_shows_it_as_one_skip_with_the_reason(tmp_path: Path) -> None:
    options = [
        "-q",
        "-rs",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:anyio",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:schemathesis",
        "-c",
        "/dev/null",
    ]
    chosen = ["--rootdir", str(tmp_path), "-k", "TestStore and (batch or tried)", "my_store.py"]
    run = f"import pytest\nsys.exit(pytest.main({[*options, *chosen]!r}))"
    done = without("trio", run=run, folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert f"not tried: {INSTALL}" in done.stdout
    assert done.stdout.count("not installed") == 1
    assert "failed" not in done.stdout


SCRIPTS = {
    "simulate": "from inventory_es.testing import simulate\nsimulate(seed=1)\nsimulate(seed=1, backend='trio')",
    "check_service": (
        "from inventory_es import open_inventory\nfrom inventory_es.testing.domain import Program, SHELF, check_service\n"
        "opening = lambda clock, faults: open_inventory('memory:', clock=clock)\n"
        "check_service(Program(inventory_id=SHELF), opening)\ncheck_service(Program(inventory_id=SHELF), opening, backend='trio')"
    ),
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_what_is_asked_to_run_on_trio_names_what_brings_it(tmp_path: Path, script: str) -> None:
    done = without("trio", run=script, folder=tmp_path)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: the event loop trio needs trio, which is not installed: pip install 'inventory_es[testing]' brings it"
    )


def test_the_simulation_on_the_command_line_names_what_brings_trio(tmp_path: Path) -> None:
    run = "from inventory_es.testing.simulation.__main__ import main\nmain(['--seed', '1', '--backend', 'trio'])"
    done = without("trio", run=run, folder=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"python -m inventory_es.testing.simulation: error: {INSTALL}")


@pytest.mark.parametrize("name", ["programs", "events", "InventoryMachine"])
def test_what_needs_hypothesis_names_what_brings_it(tmp_path: Path, name: str) -> None:
    done = without("hypothesis", run=f"from inventory_es.testing import domain\ndomain.{name}", folder=tmp_path)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: inventory_es.testing.domain.{name} needs hypothesis, which is not installed: "
        "pip install 'inventory_es[testing]' brings it"
    )


def test_scenarios_and_properties_need_nothing_optional(tmp_path: Path) -> None:
    run = "from inventory_es.testing.domain import scenario, check_history, check_program, check_service, check_codec, play, features_of"
    done = without("hypothesis", "trio", "pytest", run=run, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_extra_brings_what_the_kit_asks_for() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (line,) = [line for line in project.splitlines() if line.startswith("testing = ")]
    assert "hypothesis>=" in line
    assert "trio>=" in line


def test_a_platform_without_fork_has_cases_that_are_not_tried(tmp_path: Path) -> None:
    hidden = "import os\ndel os.fork\n"
    case = (
        "from inventory_es.testing.contracts.core.contract import Contract\n"
        "from inventory_es.testing.contracts.processes.other_process import steps_of\n"
        "from inventory_es.testing.promise import promise\n\n"
        "class Forks(Contract):\n    @promise('X-1', 'A child is a child.')\n"
        "    async def test_it(self, run):\n        await steps_of(run, 'plan')\n\n"
        "import sys\nsys.modules['forks'] = sys.modules['__main__']\n"
    )
    done = without(run=hidden + case + check("forks:Forks"), folder=tmp_path)
    assert "not tried: os.fork: this platform has none" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 3
