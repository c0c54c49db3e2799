"""SQLite files and forks: what parent and children acknowledge is stored, and what can't be is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.forked_services import PROGRAMS, look


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_parent_and_children_acknowledged_is_stored(program: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.integration.forked_services", program, str(tmp_path / "s.db")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["stored"] == told["acknowledged"]
    assert look(str(tmp_path / "s.db")) == told["acknowledged"]
