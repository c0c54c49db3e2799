"""The simulation's command line: ``python -m inventory_es.testing.simulation --seeds 1000``.

Exit codes: 0 every promise was kept, 1 one was broken, 2 the command can't be run.
"""

import argparse
import logging
import sys
import time
from collections import Counter
from collections.abc import Sequence

import attrs

from inventory_es.testing.optional import INSTALL, not_installed
from inventory_es.testing.output import run_and_exit
from inventory_es.testing.promise import BrokenPromiseError
from inventory_es.testing.simulation.simulation import simulate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not_installed((options.backend,)):
        parser.error(f"{options.backend} is not installed: {INSTALL}")
    logging.disable(logging.WARNING)  # faults are logged, and a simulation does little else
    try:
        return _run(options)
    finally:
        logging.disable(logging.NOTSET)


def _run(options: argparse.Namespace) -> int:
    seeds = range(options.first, options.first + options.seeds) if options.seed is None else range(options.seed, options.seed + 1)
    total: Counter[str] = Counter()
    broken = 0
    started = time.monotonic()
    for seed in seeds:
        try:
            simulation = simulate(seed=seed, backend=options.backend)
        except BrokenPromiseError as error:
            broken += 1
            sys.stdout.write(f"{error}\n")
            continue
        total.update(attrs.asdict(simulation.counts))
        if options.trace:
            sys.stdout.write("\n".join((*simulation.trace, f"trace {simulation.digest}", "")))
    counted = ", ".join(f"{number:,} {name}" for name, number in total.items())
    sys.stdout.write(f"{len(seeds):,} seeds on {options.backend}: {counted}\n")
    sys.stdout.write(f"{broken:,} violations in {time.monotonic() - started:,.0f} s\n")
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m inventory_es.testing.simulation", description="Simulate whole applications, seed by seed.")
    parser.add_argument("--seeds", type=int, default=1_000, metavar="N", help="how many (%(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="the first of them (%(default)s)")
    parser.add_argument("--seed", type=int, metavar="S", help="this one alone")
    parser.add_argument("--backend", default="asyncio", choices=("asyncio", "trio"), help="the event loop (%(default)s)")
    parser.add_argument("--trace", action="store_true", help="show what happened")
    return parser


if __name__ == "__main__":
    run_and_exit(main)
