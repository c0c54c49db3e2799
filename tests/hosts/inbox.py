"""The process that handles events is killed at each of them, in the Django project: ``python -m tests.hosts.inbox --rounds 50``.

A round sells something, and starts the command ``follow sales``. It is killed right before the commit of the new event, or between that
commit and the answer to the bus, in alternation. At the end every sale is counted once.
"""

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from inventory_es.sync import InventoryService, open_inventory
from tests.hosts.django_server import PROJECT, following, manage
from tests.hosts.shop_server import PATIENCE, ROOT

PRODUCT = "espresso-1kg"
ENDS = ("before the commit", "before the answer")


def follow_and_die(end: str, call: int) -> None:
    """Run ``follow sales`` in this process, which kills itself at the given commit or answer, counted from 1."""
    os.environ["DJANGO_SETTINGS_MODULE"] = f"{PROJECT}.settings"
    from django.core.management import execute_from_command_line  # it reads the settings
    from django.db.backends.base.base import BaseDatabaseWrapper

    from inventory_es.adapters.file.bus.event_bus import FileDelivery

    calls = 0

    def is_last() -> bool:
        nonlocal calls
        calls += 1
        return calls == call

    if end == "before the commit":
        commit = BaseDatabaseWrapper._commit

        def dying_commit(connection: BaseDatabaseWrapper) -> None:
            if is_last():
                os.kill(os.getpid(), signal.SIGKILL)
            commit(connection)

        BaseDatabaseWrapper._commit = dying_commit
    else:
        ack = FileDelivery.ack

        async def dying_ack(delivery: FileDelivery) -> None:
            if is_last():
                os.kill(os.getpid(), signal.SIGKILL)
            await ack(delivery)

        FileDelivery.ack = dying_ack  # type: ignore[assignment, method-assign]  # the process that dies is made here
    execute_from_command_line(["manage", "follow", "sales"])


def sell(inventory: InventoryService, number: int) -> int:
    """Sell some units, and return their number."""
    units = 1 + number % 3
    held = inventory.reserve(PRODUCT, "berlin", units, ttl=timedelta(minutes=15), reservation_id=f"cart-{number}")
    inventory.commit(held, command_id=f"sold-{number}")
    return units


def handle_and_die(folder: Path, end: str, call: int) -> int:
    """Start a process that handles events, and return how it ended."""
    command = [sys.executable, "-m", "tests.hosts.inbox", "--die", end, "--call", str(call)]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE, capture_output=True, check=False
    )
    return done.returncode


def counted(folder: Path) -> tuple[Mapping[str, int], int]:
    """Return the units of each product that the project has counted, and the number of events in its inbox."""
    with closing(sqlite3.connect(folder / "shop-site.db")) as site:
        sales = dict(site.execute("SELECT product_id, units FROM shop_django_productsales"))
        (events,) = site.execute("SELECT count(*) FROM inventory_es_inbox").fetchone()
    return sales, events


def kill_rounds(folder: Path, rounds: int) -> tuple[int, Mapping[str, int], int]:
    """Run the rounds, then one without a kill. Return the units that were sold, those that were counted, and the events of the inbox."""
    manage(folder, "migrate")
    sold = 0
    with open_inventory(f"sqlite:{folder / 'shop.db'}") as inventory, following(folder, "stock"):
        inventory.add_stock(PRODUCT, "berlin", 10 * rounds)
        for number in range(rounds):
            sold += sell(inventory, number)
            call = 1 if number == 0 else 2  # after the event at which the process before this one was killed
            end = handle_and_die(folder, ENDS[number % 2], call)
            assert end == -signal.SIGKILL, end
        sold += sell(inventory, rounds)
        with following(folder, "sales") as process:
            give_up = time.monotonic() + PATIENCE
            while counted(folder)[1] <= rounds:
                assert process.poll() is None
                assert time.monotonic() < give_up
                time.sleep(0.05)
        assert process.returncode == 0
    sales, events = counted(folder)
    return sold, sales, events


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.inbox")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--die", choices=ENDS, help=argparse.SUPPRESS)
    parser.add_argument("--call", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.die is not None:
        follow_and_die(given.die, given.call)
        return
    with tempfile.TemporaryDirectory() as made:
        sold, sales, events = kill_rounds(Path(made), given.rounds)
    print(f"{given.rounds} kills: {sold} units sold, counted {dict(sales)}, {events} events in the inbox")
    assert (sales, events) == ({PRODUCT: sold}, given.rounds + 1)


if __name__ == "__main__":
    main()
