"""The output of pytest where an assertion of the kit fails: the line of the test, and the report."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
from inventory_es.commands import AddStock
from inventory_es.domain.events import StockAddedEvent
from inventory_es.domain.reasons import AddReason
from inventory_es.domain.events import Recorded
from inventory_es.testing.domain import SHELF, START, check_codec, check_history, check_program, check_service, like, scenario
from inventory_es.testing.domain import Call, Program
from inventory_es import InsufficientStockError, open_inventory
from inventory_es.adapters.serialization import JsonEventCodec

ADD = AddStock(inventory_id=SHELF, command_id="add", quantity=5)
ADDED = StockAddedEvent("product", "store", 5, AddReason.RECEIVED, 5, 0)
WRONG = StockAddedEvent("product", "store", 5, AddReason.RECEIVED, 7, 0)
PROGRAM = Program(inventory_id=SHELF, steps=(Call(ADD, START),))


class Forgetful(JsonEventCodec):
    def decode(self, recorded, /):
        return WRONG


def refuse(stock, command, at):
    from inventory_es import PolicyRejectedError
    raise PolicyRejectedError("never")


def test_it():
"""

LINES = {
    "then": "scenario().when(ADD).then(like(StockAddedEvent, quantity=6))",
    "then_nothing": "scenario().when(ADD).then_nothing()",
    "then_replayed": "scenario().when(ADD).then_replayed()",
    "then_rejected": "scenario().when(ADD).then_rejected(InsufficientStockError)",
    "balance": "scenario().when(ADD).then(ADDED).balance(6, 0, 6, 1)",
    "balance of nonsense": "scenario().balance('6', 0, 6, 1)",
    "balance that can't be": "scenario().balance(6, 0, 5, 1)",
    "available": "scenario().when(ADD).then(ADDED).available(6, at=1)",
    "check_history": "check_history([Recorded(WRONG, 1, START)])",
    "check_codec": "check_codec(Forgetful(), [ADDED])",
    "check_service": "check_service(PROGRAM, lambda clock, faults: open_inventory('memory:', clock=clock, policies=[refuse]))",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_failure_shows_the_line_of_the_test(line: str, tmp_path: Path) -> None:
    test = tmp_path / "test_shown.py"
    test.write_text(f"{HEAD}    {line}\n", encoding="utf-8")
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:anyio", "-p", "no:hypothesispytest", "--color=no", "--rootdir", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", os.devnull, str(test)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert f">       {line}"[:60] in done.stdout or f">   {' ' * 4}{line}"[:60] in done.stdout, done.stdout
    shown = [one for one in done.stdout.splitlines() if ".py:" in one and not one.startswith("FAILED")]
    assert len(shown) == 1, done.stdout
    assert shown[0].startswith("test_shown.py:"), done.stdout
