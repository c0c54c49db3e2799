"""The command line of the kit: ``python -m inventory_es.testing check my_package:open_store``.

Exit codes:

- 0: every promise is kept.
- 1: a promise is broken.
- 2: the command can't be run.
- 3: everything tried is kept, and something was not tried, because it is not installed or not available on this platform.
"""

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from inventory_es.testing.contracts.cache import CacheContract
from inventory_es.testing.contracts.core.contract import Contract
from inventory_es.testing.contracts.core.runner import Result, Verdict, cases_of, run
from inventory_es.testing.contracts.event_bus import EventBusContract
from inventory_es.testing.contracts.event_store import EventStoreContract
from inventory_es.testing.contracts.factory import contract_at
from inventory_es.testing.contracts.read_model import ReadModelContract
from inventory_es.testing.contracts.report import matrix
from inventory_es.testing.contracts.report.certificate import certificate
from inventory_es.testing.contracts.snapshot_store import SnapshotStoreContract
from inventory_es.testing.optional import INSTALL, not_installed
from inventory_es.testing.output import run_and_exit

_PORTS: tuple[type[Contract], ...] = (EventStoreContract, CacheContract, EventBusContract, SnapshotStoreContract, ReadModelContract)
_SLOWEST = 10
_MARKS: dict[Verdict, tuple[str, str]] = {
    "kept": ("✓", "32"),
    "broken": ("✗", "31;1"),
    "not declared": ("–", "2"),
    "not tried": ("?", "33"),
    "known failure": ("!", "33"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    options = _parser().parse_args(arguments)
    sys.path.insert(0, str(Path.cwd()))
    if options.list and options.address is None:
        for port in _PORTS:
            _say(_paint(port.__name__, "1"))
            _list(port, options.only)
        return 0
    if options.address is None:
        return _refuse("name what to check: package.module:open_store, or path/to/test_file.py:TestMyStore")
    if missing := not_installed(options.backend or ()):
        return _refuse(f"{', '.join(missing)} is not installed: {INSTALL}")
    try:
        contract = contract_at(options.address, backend=(options.backend or ["asyncio"])[0])
    except ValueError as error:
        return _refuse(str(error))
    known = {promise.id for promise, _ in cases_of(type(contract))}
    if unknown := sorted(set(options.only) - known):
        return _refuse(f"no promise {', '.join(unknown)} in {contract.kind}: --list shows them")
    if options.list:
        _list(type(contract), options.only)
        return 0
    if options.html is not None and not options.html.absolute().parent.is_dir():
        return _refuse(f"no folder {options.html.absolute().parent} for {options.html.name}")
    return _check(contract, options)


def _check(contract: Contract, options: argparse.Namespace) -> int:
    if options.backend:
        contract.backends = tuple(options.backend)
    if options.seed is not None:
        contract.seeds = (options.seed,)
    if options.seeds is not None:
        contract.seeds = range(options.seeds + 1)
    start = time.perf_counter()
    results: list[Result] = []
    for result in run(contract, options.only):
        if not results and contract.last_run is not None:
            _say(_paint(contract.last_run.adapter, "1"), f"  on {' and '.join(contract.tried)}, {_schedules(contract)}", "")
        results.append(result)
        _show(result)
    for result in results:
        if result.verdict == "broken":
            _say("", result.detail)
    _show_matrix(contract, results)
    if options.times:
        _show_times(results)
    if options.html is not None:
        page = certificate(contract, results, at=datetime.now(UTC), is_whole=not options.only)
        options.html.write_text(page, encoding="utf-8")
    missing = not_installed(contract.backends)
    if missing:
        _say("", _paint(f"not tried on {' and '.join(missing)}, which is not installed: {INSTALL}", _MARKS["not tried"][1]))
    counts = Counter(result.verdict for result in results)
    summary = " · ".join(f"{counts[verdict]} {verdict}" for verdict in _MARKS if counts[verdict])
    _say("", _paint(f"{summary}   in {time.perf_counter() - start:.1f} s", _MARKS["broken" if counts["broken"] else "kept"][1]))
    if counts["broken"]:
        return 1
    return 3 if missing or any(result.verdict == "not tried" and not result.needs_hook for result in results) else 0


def _schedules(contract: Contract) -> str:
    if contract.seeds is None:
        return "plain and seeded schedules"
    return f"schedule {contract.seeds[0]}" if len(contract.seeds) == 1 else f"schedules {contract.seeds[0]} to {contract.seeds[-1]}"


def _show(result: Result) -> None:
    mark, color = _MARKS[result.verdict]
    note = {"kept": "", "broken": "BROKEN: see below"}.get(result.verdict, f"{result.verdict}: ")
    detail = "" if result.verdict in {"kept", "broken"} else result.detail
    _say(f"  {_paint(mark, color)} {result.promise.id}  {result.promise.sentence}")
    if note:
        _say(f"           {_paint(note + detail, color)}")


def _show_matrix(contract: Contract, results: Sequence[Result]) -> None:
    if contract.last_run is None or not contract.last_run.declared:
        return
    loops = ("event loops", ", ".join(contract.backends), matrix.loops(contract.tried, not_installed(contract.backends)))
    table = [("capability", "declared", "observed"), *matrix.rows(contract.last_run.declared, results)]
    table += [loops] if len(contract.tried) < len(contract.backends) else []
    widths = [max(len(row[column]) for row in table) for column in range(2)]
    _say("")
    for number, (name, declared, observed) in enumerate(table):
        line = f"  {name:<{widths[0]}}  {declared:<{widths[1]}}  {observed}"
        _say(_paint(line, "2") if number == 0 else line)


def _show_times(results: Sequence[Result]) -> None:
    spent: dict[str, float] = defaultdict(float)
    for result in results:
        spent[result.promise.id] += result.seconds
    _say("", _paint("  seconds  promise", "2"))
    for promise_id, seconds in sorted(spent.items(), key=lambda one: -one[1])[:_SLOWEST]:
        _say(f"  {seconds:7.2f}  {promise_id}")


def _list(kind: type[Contract], only: Sequence[str]) -> None:
    for promise, _ in cases_of(kind, only):
        _say(f"  {promise.id}  {promise.sentence}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m inventory_es.testing", description="Prove that an adapter keeps the promises of its port."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="run a contract against an adapter")
    check.add_argument("address", nargs="?", help="package.module:open_store, or path/to/test_file.py:TestMyStore")
    check.add_argument("--list", action="store_true", help="show the promises and run nothing")
    check.add_argument("--only", action="append", default=[], metavar="ES-34", help="only this promise; may be given several times")
    check.add_argument("--backend", action="append", choices=("asyncio", "trio"), help="only this event loop")
    check.add_argument("--html", type=Path, metavar="FILE", help="write a page that tells what was tried and kept, to publish")
    check.add_argument("--times", action="store_true", help=f"show the {_SLOWEST} promises that took longest")
    seeds = check.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, help="only this schedule; 0 is the plain one")
    seeds.add_argument("--seeds", type=int, help="the plain schedule and so many seeded ones, in every case")
    return parser


def _refuse(problem: str) -> int:
    sys.stderr.write(f"error: {problem}\n")
    return 2


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _paint(text: str, color: str) -> str:
    return f"\x1b[{color}m{text}\x1b[0m" if sys.stdout.isatty() else text


if __name__ == "__main__":
    run_and_exit(main)
