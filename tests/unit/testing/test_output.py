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


@pytest.mark.parametrize(
    "arguments", [["inventory_es.testing", "check", "store.py:open_it"], ["inventory_es.testing.simulation", "--seeds", "1"]]
)
def test_a_report_is_printed_in_ascii(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "store.py").write_text(STORE, encoding="utf-8")
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode in {0, 1}
    assert b"Traceback" not in done.stderr
    assert done.stdout.isascii()
    assert done.stdout.strip() != b""
