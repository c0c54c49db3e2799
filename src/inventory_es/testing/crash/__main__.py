"""The crash explorer's command line: ``python -m inventory_es.testing.crash --states 10000000``.

Exit codes: 0 every crash was survived, 1 one was not, 2 the command can't be run.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from inventory_es.testing.crash.aftermath import Counts
from inventory_es.testing.crash.campaign import Progress, Task, run_campaign, run_task, subject_at
from inventory_es.testing.crash.explorer import CrashViolationError
from inventory_es.testing.crash.world import OPERATIONS
from inventory_es.testing.output import run_and_exit

_SHIPPED = "inventory_es.testing.crash.shipped:file_store"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    options = _parser().parse_args(arguments)
    sys.path.insert(0, str(Path.cwd()))
    started = time.monotonic()
    try:
        subject_at(options.store)
        logging.disable(logging.WARNING)  # a store logs each recovery, and here it does little else
        done = _one(options) if options.program is not None else str(_campaign(options, started))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except CrashViolationError as violation:
        sys.stdout.write(f"{violation}\n  repeat   {_repeat(options, violation.program)}\n")
        return 1
    finally:
        logging.disable(logging.NOTSET)
    sys.stdout.write(f"{done}\n0 violations in {time.monotonic() - started:,.0f} s\n")
    return 0


def _one(options: argparse.Namespace) -> str:
    program = tuple(options.program.split())
    unknown = sorted(set(program) - set(OPERATIONS))
    if unknown:
        msg = f"no operation {', '.join(unknown)}: there are {', '.join(OPERATIONS)}"
        raise ValueError(msg)
    counts, failures = run_task(options.store, Task(program, with_failed_syncs=True, with_sweep=True), most=options.most, seed=options.seed)
    return f"{counts}; {failures:,} failed file operations"


def _campaign(options: argparse.Namespace, started: float) -> Progress:
    shown = started

    def show(progress: Progress) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown > options.tell:
            shown = now
            sys.stderr.write(f"{_rate(progress.counts, now - started)}  {progress}\n")

    return run_campaign(options.store, states=options.states, seed=options.seed, workers=options.workers, most=options.most, report=show)


def _rate(counts: Counts, seconds: float) -> str:
    return f"{counts.states / seconds:,.0f} states/s"


def _repeat(options: argparse.Namespace, program: str) -> str:
    operations = "" if program == "(creation)" else program
    return (
        f"python -m inventory_es.testing.crash --store {options.store} --program '{operations}' --most {options.most} --seed {options.seed}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m inventory_es.testing.crash", description="Crash a store in every way, until it breaks.")
    parser.add_argument("--store", default=_SHIPPED, metavar="MODULE:NAME", help="a Subject, or a function that makes one (the file store)")
    parser.add_argument("--states", type=int, default=100_000, metavar="N", help="stop after so many crash states (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="decides what is drawn by chance (%(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="W", help="processes (%(default)s)")
    parser.add_argument("--most", type=int, default=64, metavar="M", help="states for each crash point and model (%(default)s)")
    parser.add_argument("--program", metavar="'OP OP'", help=f"crash this one program: {', '.join(OPERATIONS)}")
    parser.add_argument("--tell", type=float, default=10.0, metavar="SECONDS", help="how often to tell the progress (%(default)s)")
    return parser


if __name__ == "__main__":
    run_and_exit(main)
