"""A replay into a file store is killed with SIGKILL, started again, and killed again, until one run comes to the end.

The process kills itself: before an append, after it and before anybody was told, or from a second thread while the append runs.
Deep run: ``python -m tests.integration.killed_replays 50``.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, cast

import anyio

from inventory_es.adapters.file import open_file_event_store, verify
from inventory_es.cli.checks import check_stream
from inventory_es.ports import AppendResult, StreamWrite
from tests.integration.independent_count import count
from tests.integration.made_up_orders import made_up_rows, write_orders
from tests.integration.replaying import replay

MOMENTS = ("before", "during", "after")
_MOST_COMMANDS = 60
MODULE = "tests.integration.killed_replays"
ROOT = Path(__file__).parents[2]


class Deadly:
    """A store whose n-th append kills the process.

    Args:
        store: the real one.
        appends: how many go well.
        moment: when in the one after them.
    """

    def __init__(self, store: Any, appends: int, moment: str) -> None:
        self._store = store
        self._left = appends
        self._moment = moment
        self.capabilities = store.capabilities
        self.read_stream = store.read_stream
        self.read_stream_backwards = store.read_stream_backwards
        self.find_events = store.find_events
        self.read_all = store.read_all
        self.head = store.head
        self.streams = store.streams
        self.wait_for_position = store.wait_for_position
        self.aclose = store.aclose

    async def append(self, writes: Sequence[StreamWrite], /) -> AppendResult:
        """See the class."""
        (outcome,) = await self.append_group([writes])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def append_group(self, groups: Sequence[Sequence[StreamWrite]], /) -> Sequence[AppendResult | Exception]:
        """See the class."""
        self._left -= 1
        if self._left >= 0:
            return cast(Sequence[AppendResult | Exception], await self._store.append_group(groups))
        if self._moment == "before":
            _die()
        if self._moment == "during":
            Thread(target=_die).start()
        outcomes: Sequence[AppendResult | Exception] = await self._store.append_group(groups)
        _die()
        return outcomes


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def _child(orders: str, folder: str, appends: int, moment: str) -> None:
    async with open_file_event_store(folder) as store:
        outcome = await replay(Path(orders), Deadly(store, appends, moment), most_commands=_MOST_COMMANDS)
    print(json.dumps({"resumed_at_row": outcome.resumed_at_row, "rows": outcome.totals.rows}))


def kill_again_and_again(folder: Path, seed: int) -> int:
    """One made-up file, replayed to its end by processes that die.

    Returns:
        How many died.

    Raises:
        AssertionError: a total is wrong, something happened twice or half, or the store does not hold together.
    """
    chance = Random(seed)
    folder.mkdir()
    orders = write_orders(folder / "orders.csv", made_up_rows(seed, invoices=120))
    died = 0
    while True:
        task = [str(orders), str(folder / "stock"), str(chance.randint(0, 4)), chance.choice(MOMENTS)]
        run = subprocess.run([sys.executable, "-m", MODULE, "child", *task], capture_output=True, text=True, check=False, cwd=ROOT)
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL, run.stderr
        died += 1
    assert json.loads(run.stdout)["resumed_at_row"] > 0
    again = anyio.run(replay, orders, f"file:{folder / 'stock'}")
    totals = {name: getattr(again.totals, name) for name in count(orders)}
    assert totals == count(orders)
    assert again.events_now == 0
    assert list(verify(folder / "stock", check_stream=check_stream)) == []
    return died


def _main() -> None:
    if sys.argv[1] == "child":
        anyio.run(_child, sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
        return
    with tempfile.TemporaryDirectory() as folder:
        died = [kill_again_and_again(Path(folder) / str(seed), seed) for seed in range(int(sys.argv[1]))]
    print(f"{len(died)} files, {sum(died)} processes killed: every total is right, every store holds together")


if __name__ == "__main__":
    _main()
