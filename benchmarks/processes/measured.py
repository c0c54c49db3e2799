"""Several real processes over one store."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.contender_line import ROOT
from benchmarks.measure import Measure
from benchmarks.processes.model import Load, Way
from benchmarks.processes.writer import Plan


def measure(url: str, load: Load, way: Way, *, seconds: float) -> Measure:
    """Start the processes, let them write at the same time, and add up their figures."""
    running: list[subprocess.Popen[str]] = []
    try:
        for number in range(load.processes):
            plan: Plan = {
                "process": number,
                "processes": load.processes,
                "way": way,
                "callers": load.callers // load.processes,
                "products": load.products,
                "hot": load.hot,
                "seconds": seconds,
            }
            command = [sys.executable, "-m", "benchmarks.processes.writer", url, json.dumps(plan)]
            running.append(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1))
        for process in running:
            _line(process)
        for process in running:
            if process.stdin is not None:
                process.stdin.write("go\n")
        told = [json.loads(_line(process)) for process in running]
    finally:
        for process in running:
            process.communicate()
    return _sum(told, seconds)


def _line(process: "subprocess.Popen[str]") -> str:
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line:
        msg = "a writing process has ended"
        raise RuntimeError(msg)
    return line


def _sum(told: Sequence[dict[str, float]], seconds: float) -> Measure:
    accepted, failed = sum(one["accepted"] for one in told), sum(one["failed"] for one in told)
    return {
        "per_second": accepted / seconds,
        "decided_a_command": sum(one["decided"] for one in told) / max(1, accepted + failed),
        "failed": failed,
        "least_share": min(one["accepted"] for one in told) * len(told) / max(1, accepted),
        "p50_us": statistics.median(one["p50_us"] for one in told),
        "p99_us": max(one["p99_us"] for one in told),
    }
