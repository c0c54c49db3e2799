"""A copy is killed with SIGKILL, started again, and killed again, until one run comes to the end.

Deep run: ``python -m tests.integration.killed_copies 50``.
"""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import anyio

from inventory_es.application import store_copy
from inventory_es.testing import ManualClock
from inventory_es.wiring import open_inventory
from tests.integration.killed_replays import MOMENTS, ROOT, Deadly
from tests.integration.read_side import trade

MODULE = "tests.integration.killed_copies"


async def _child(source: str, target: str, appends: int, moment: str) -> None:
    store_copy.MOST_BYTES = 4_000
    async with open_inventory(source) as original, open_inventory(target) as copy:
        await store_copy.copy_store(original.store, Deadly(copy.store, appends, moment))


async def _fill(source: str, seed: int) -> None:
    async with open_inventory(source) as inventory:
        await trade(inventory.store, ManualClock(), seed=seed, steps=150)


async def _compare(source: str, target: str) -> bool:
    async with open_inventory(source) as original, open_inventory(target) as copy:
        return [event async for event in original.feed()] == [event async for event in copy.feed()]


def kill_again_and_again(folder: Path, source: str, target: str, *, seed: int) -> int:
    """One made-up store, copied to its end by processes that die.

    Returns:
        How many died.

    Raises:
        AssertionError: the copy is not the same, or a run ended in another way.
    """
    chance = Random(seed)
    original, copy = f"{source}:{folder / 'original'}", f"{target}:{folder / 'copy'}"
    anyio.run(_fill, original, seed)
    died = 0
    while True:
        task = [original, copy, str(chance.randint(0, 1)), chance.choice(MOMENTS)]
        run = subprocess.run([sys.executable, "-m", MODULE, "child", *task], capture_output=True, text=True, check=False, cwd=ROOT)
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL, run.stderr
        died += 1
    assert anyio.run(_compare, original, copy)
    return died


def _main() -> None:
    if sys.argv[1] == "child":
        anyio.run(_child, sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
        return
    died = 0
    for seed in range(int(sys.argv[1])):
        with tempfile.TemporaryDirectory() as folder:
            died += kill_again_and_again(Path(folder), *Random(seed).choice([("file", "sqlite"), ("sqlite", "file")]), seed=seed)
    print(f"{sys.argv[1]} stores, {died} processes killed: every copy is the same")


if __name__ == "__main__":
    _main()
