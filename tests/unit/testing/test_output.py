"""The kit's commands in encodings that lack what they print."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STORE = """
from inventory_es.adapters.memory import MemorySnapshotStore

def open_it(site):
    return MemorySnapshotStore()
"""


COMMANDS = pytest.mark.parametrize(
    "arguments", [["inventory_es.testing", "check", "store.py:open_it"], ["inventory_es.testing.simulation", "--seeds", "1"]]
)


@COMMANDS
def test_a_report_is_printed_in_ascii(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "store.py").write_text(STORE, encoding="utf-8")
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode in {0, 1}
    assert b"Traceback" not in done.stderr
    assert done.stdout.isascii()
    assert done.stdout.strip() != b""


@COMMANDS
def test_a_reader_that_leaves_early_ends_a_command_quietly(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "store.py").write_text(STORE, encoding="utf-8")
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (2, b"")


@COMMANDS
def test_a_closed_output_does_not_change_the_verdict(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "store.py").write_text(STORE, encoding="utf-8")
    command = ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=tmp_path, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
