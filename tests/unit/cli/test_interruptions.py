"""Ctrl-C: it says what is true after it, and works from the first moment on."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from inventory_es.cli.app import COMMANDS, run
from inventory_es.cli.failures import failure
from inventory_es.sync import open_inventory

WRITERS = {"backup", "consume", "copy", "demo", "parked", "project", "publish", "rebuild", "replay", "verify"}
INTERRUPTED_WHILE_IMPORTING = """
import os, sys
from inventory_es.cli.__main__ import main

wanted = sys.argv.pop(1)

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            os.kill(os.getpid(), 2)

sys.meta_path.insert(0, Interrupter())
main()
"""


def interrupted(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", INTERRUPTED_WHILE_IMPORTING, module, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_message_is_true_for_the_command(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_command: click.Command, _ctx: click.Context) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(click.Command, "invoke", interrupt)
    arguments = {
        "replay": [__file__, "--url", "memory:"],
        "copy": ["file:one", "file:other"],
        "backup": ["saved", "--url", "file:stock"],
        "verify": ["--url", "file:stock"],
        "rebuild": ["ledger", "--url", "memory:", "--read-model", "rows.db"],
        "demo": [],
    }
    common = ["--url", "memory:"]
    if name in {"project", "parked"}:
        common += ["--read-model", "rows.db"]
    if name in {"stock", "history", "explain", "ledger", "plot"}:
        common = ["mug", "main", *common]
    assert run([name, *arguments.get(name, common)]) == 130
    told = capsys.readouterr().err.strip()
    assert told.startswith("inventory-es: interrupted; ")
    assert ("nothing was changed" in told) == (name not in WRITERS)


def test_an_interruption_that_the_making_of_a_class_has_wrapped_is_one_too() -> None:
    wrapped = RuntimeError("Error calling __set_name__")
    wrapped.__cause__ = KeyboardInterrupt()
    told = failure(BaseExceptionGroup("tasks", [wrapped]), command="stock")
    assert told == (130, "interrupted; nothing was changed")


IMPORTED = (
    *("click", "rich", "difflib", "inventory_es.cli.app", "inventory_es.cli.commands.stock"),
    *("inventory_es.wiring", "anyio", "inventory_es.adapters.file"),
)


@pytest.mark.parametrize("module", IMPORTED)
def test_it_works_while_modules_are_imported(module: str, tmp_path: Path) -> None:
    with open_inventory(f"file:{tmp_path / 'stock'}") as inventory:
        inventory.add_stock("tea", "main", 1)
    done = interrupted(module, "stock", "tea", "main", "--url", "file:stock", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip() == "inventory-es: interrupted; nothing was changed"


HANDLER = """
import signal
from inventory_es.cli.__main__ import main
try:
    main()
finally:
    print(repr(signal.getsignal(signal.SIGINT)))
"""
STOCK = ["stock", "tea", "main", "--url", "memory:"]


@pytest.mark.parametrize("arguments", [["--version"], STOCK], ids=str)
def test_a_process_whose_interruptions_are_ignored_goes_on_ignoring_them(arguments: Sequence[str]) -> None:
    ignoring = f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{HANDLER}"  # as a shell leaves a command in the background
    done = subprocess.run([sys.executable, "-c", ignoring, *arguments], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == repr(signal.SIG_IGN)


def test_interruptions_raise_again_once_a_command_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", HANDLER, *STOCK], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == repr(signal.default_int_handler)
