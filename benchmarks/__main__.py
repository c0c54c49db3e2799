"""Run the benchmarks, and write a page with figures and plots.

- python -m benchmarks: everything, with peers, in about thirty minutes
- python -m benchmarks --quick: everything in small sizes, in about two minutes
- python -m benchmarks --only W3 --no-peers: one case, without peers

The cases:

- W1: one caller, reservations over 1,000 inventories, each followed by the raw limits of the machine
- W1c: 64 callers, reservations over 1,000 inventories
- W2: load one stream of 100,000 events
- W3: 1 to 1,000 callers reserve one unit each of ONE product; reserve and commit; a sale that sells out
- W4: the whole feed, decoded, into a count per product, and into a projection
- W5: import time and memory
- W6: growth of events, streams and open reservations from a thousand to a million
- snapshots: the first command on a cold stream of up to a million events, with and without a snapshot
- queries: stock from the stream, from a read model, from a cache
- processes: several processes over one store, simulated, and measured with two and four
- codec: the libraries under the codec, and the candidates
- profile: where a command on the hot product spends its time

On first use, each peer is installed into an environment of its own. The environments are in a cache folder outside of the tree
($INVENTORY_ES_BENCHMARKS, or ~/.cache/inventory_es-benchmarks). Everything takes the real path: validated, repeatable, and, except in
memory, synced before it is acknowledged. Figures of one run are comparable with each other; those of different runs or machines are not.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import attrs

from benchmarks.contender_line import ROOT
from benchmarks.contenders import OURS, PEERS
from benchmarks.environments import EnvironmentMissingError, python_of
from benchmarks.report import report
from benchmarks.report_processes import report_processes
from benchmarks.sizes import FULL, QUICK
from benchmarks.suite import GROUPS, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it runs")
    parser.add_argument(
        "--only", nargs="+", type=str.upper, choices=list(GROUPS), default=list(GROUPS), help="some of it, by the names above"
    )
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="measure peers too")
    parser.add_argument("--rounds", type=int, default=None, help="5, or 2 with --quick")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks", help="where to write; docs/benchmarks by default")
    options = parser.parse_args()
    results = run(
        (*OURS, *PEERS) if options.peers else OURS,
        QUICK if options.quick else FULL,
        rounds=options.rounds or (2 if options.quick else 5),
        tasks=sorted({GROUPS[one] for one in options.only}),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    described = [{"name": one.name, "is_ours": one.is_ours, "is_durable": one.is_durable} for one in (*OURS, *PEERS)]
    found = attrs.asdict(results) | {"contenders": described}
    options.out.mkdir(parents=True, exist_ok=True)
    written = options.out / "results.json"
    written.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, page in (("results.md", report(found)), ("processes.md", report_processes(found))):
        if page:
            (options.out / name).write_text(page, encoding="utf-8")
            print(page)
    try:
        python = python_of("plots")
    except EnvironmentMissingError as problem:
        sys.exit(f"no plots: {problem}")
    subprocess.run([python, "-m", "benchmarks.plots", str(written.resolve()), str(options.out.resolve())], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
