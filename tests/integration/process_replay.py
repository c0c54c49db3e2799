"""Orders of a file through order processes: ``python -m tests.integration.process_replay ORDERS.csv --url file:stock``.

Each order is held for half an hour, paid within that time, and leaves in one to three parcels; one in fifty is never paid. The totals are
printed as JSON. Killed and started again, the replay goes on where it stopped.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import anyio
import attrs

from inventory_es.cli.replay.audit import Audit
from inventory_es.cli.replay.order_lines import STORE, Reading
from inventory_es.cli.replay.orders_file import OrdersError, OrdersFile, OrderSource
from inventory_es.cli.replay.replayer import ReplayClock, ReplayOutcome
from inventory_es.cli.replay.steps import survey
from inventory_es.ports import EventStore
from inventory_es.wiring import open_inventory
from tests.integration.process_audit import audit_processes
from tests.integration.process_replayer import ProcessReplayAdvancedEvent, ProcessReplayer, ProcessTotals


async def replay(
    path: Path,
    store: str | EventStore,
    *,
    opening: int | None = None,
    most_commands: int = 4_000,
    advanced: Callable[[ProcessReplayAdvancedEvent], object] = lambda _: None,
    more: ProcessTotals | None = None,
) -> tuple[ReplayOutcome, Audit]:
    """Replay a file to its end, and audit the store, with more in the totals than it came to."""
    return await _replay(OrdersFile(path), store, opening=opening, most_commands=most_commands, advanced=advanced, more=more)


async def _replay(
    source: OrderSource,
    store: str | EventStore,
    *,
    opening: int | None,
    most_commands: int = 4_000,
    advanced: Callable[[ProcessReplayAdvancedEvent], object] = lambda _: None,
    more: ProcessTotals | None = None,
) -> tuple[ReplayOutcome, Audit]:
    clock = ReplayClock()
    found = survey(source, skip_bad=False)
    async with open_inventory(store, clock=clock) as inventory:
        replayer = ProcessReplayer(inventory, clock, source, found, opening=opening, advanced=advanced, most_commands=most_commands)
        outcome = await replayer.run()
        assert isinstance(outcome.totals, ProcessTotals)
        return outcome, await audit_processes(inventory, found, replayer.stream, outcome.totals + (more or ProcessTotals()))


def run(arguments: Sequence[str]) -> int:
    """Replay the file that the arguments name.

    Returns:
        The exit code: 0, or 1 where the orders are refused or something does not add up.
    """
    parser = ArgumentParser(prog="process_replay")
    parser.add_argument("orders", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--opening", type=int)
    parser.add_argument("--store", default=STORE)
    options = parser.parse_args(arguments)
    source = OrdersFile(options.orders, Reading(store_id=options.store))
    try:
        outcome, audited = anyio.run(partial(_replay, source, options.url, opening=options.opening))
    except OrdersError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    print(json.dumps({**attrs.asdict(outcome.totals), "resumed_at_row": outcome.resumed_at_row}))
    for violation in audited.violations:
        sys.stderr.write(f"{violation}\n")
    return int(bool(audited.violations))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
