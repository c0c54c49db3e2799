"""A study of several processes over one store: predicted, and measured as far as this machine can."""

from collections.abc import Callable
from pathlib import Path

import anyio
import attrs

from benchmarks.engine.store_url import url_of
from benchmarks.measure import Measure, Measures
from benchmarks.processes.calibration import calibrate, stock
from benchmarks.processes.measured import measure
from benchmarks.processes.model import Costs, Load, Outcome, Way
from benchmarks.processes.simulation import simulate
from benchmarks.sizes import Sizes

MOST_FOR_REAL = 4
SHARES = {"spread": 0.0, "a fifth hot": 0.2, "one product": 1.0}
"""The shares of the commands that want one product."""

WAYS: tuple[Way, ...] = ("free", "lanes", "routed", "parted")
CASES: tuple[tuple[Way, str], ...] = (("free", "one product"), ("lanes", "one product"), ("lanes", "spread"), ("routed", "spread"))
CALLERS = 64
PRODUCTS = 1_000


def study(folder: Path, sizes: Sizes, say: Callable[[str], None]) -> dict[str, Measures]:
    """Return ``processes``, the model with its own costs, and ``processes, file`` and ``…, SQLite``, with measured costs and results."""
    say("processes: simulation")
    found = {"processes": paper(sizes) | joining()}
    for store, title in (("file", "file"), ("sqlite", "SQLite")):
        say(f"processes: {title}, measured")
        found[f"processes, {title}"] = checked(store, folder, sizes)
    return found


def paper(sizes: Sizes) -> Measures:
    """Predict more and more processes, with a core for each. The demand stays at 512 callers."""
    measures: Measures = {}
    for share, hot in SHARES.items():
        for way in WAYS:
            for number in sizes["processes"]:
                seconds = sizes["virtual"] / (number if way == "parted" and hot < 1 else 1)
                measures[f"{way}, {share}, {number}"] = _told(simulate(Load(processes=number, hot=hot), way, Costs(), seconds=seconds))
    return measures


def joining() -> Measures:
    """Let a fifth process join four after one second. Until all have heard of it, some streams have two owners."""
    measures: Measures = {}
    for lag in (0.0, 0.5):
        load = Load(processes=5, callers=160, products=2_000, hot=0.05)
        outcome = simulate(load, "routed", Costs(decide=150e-6), seconds=2.0, joins_at=1.0, lag=lag)
        for tenth, (accepted, in_vain) in sorted(outcome.timeline.items()):
            measures[f"joining, lag {lag}, {tenth}"] = {"accepted": accepted * 10, "in_vain": in_vain * 10}
    return measures


def checked(store: str, folder: Path, sizes: Sizes) -> Measures:
    """Measure costs with one process, then results with two and four, and predict both."""
    place = folder / store
    place.mkdir()
    (place / "calibration").mkdir()
    costs = anyio.run(calibrate, store, place / "calibration", sizes["real"])
    plain = {name: seconds * 1e6 for name, seconds in attrs.asdict(costs).items() if isinstance(seconds, float)}
    measures: Measures = {"costs, µs": plain}
    for way, share in CASES:
        for number in [one for one in sizes["processes"] if one <= MOST_FOR_REAL and (way != "routed" or one > 1)]:
            (place / f"{way}-{share}-{number}").mkdir()
            callers = number if way == "free" else CALLERS
            load = Load(processes=number, callers=callers, products=PRODUCTS, hot=SHARES[share])
            anyio.run(stock, store, place / f"{way}-{share}-{number}", PRODUCTS)
            real = measure(url_of(store, place / f"{way}-{share}-{number}"), load, way, seconds=sizes["real"])
            told = _told(simulate(load, way, costs, seconds=sizes["real"]))
            measures[f"{way}, {share}, {number}"] = real | {f"simulated {name}": value for name, value in told.items()}
    return measures


def _told(outcome: Outcome) -> Measure:
    return {
        "per_second": outcome.per_second,
        "decided_a_command": outcome.decided_a_command,
        "failed": outcome.failed,
        "least_share": outcome.least_share,
        "p50_us": outcome.wait_ms(50) * 1e3,
        "p99_us": outcome.wait_ms(99) * 1e3,
    }
