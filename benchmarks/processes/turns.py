"""Turns over streams on PostgreSQL, measured: ``python -m benchmarks.processes.turns [--seconds 3] [--rounds 3]``.

Several processes, with sixteen callers each, reserve units of one hot product, or of ten. They race, or take turns as they ship. The cases
of a round run one after the other on one server, and a table shows the medians of the rounds.
"""

import argparse
from collections.abc import Mapping, Sequence
from statistics import median

import anyio

from benchmarks.engine.commands import PLENTY
from benchmarks.measure import Measure
from benchmarks.processes.measured import measure
from benchmarks.processes.model import Load, Way
from inventory_es import open_inventory
from tests.servers.postgresql import server

CALLERS = 16
Case = tuple[str, Way, int, int]
CASES: Sequence[Case] = (
    ("one product, 1 process", "lanes", 1, 1),
    ("one product, 2 processes", "lanes", 2, 1),
    ("one product, 4 processes", "lanes", 4, 1),
    ("one product, 8 processes", "lanes", 8, 1),
    ("one product, 8 processes that race", "racing", 8, 1),
    ("ten products, 8 processes", "lanes", 8, 10),
    ("ten products, 8 processes that race", "racing", 8, 10),
)
"""By title: the way, the processes, and the hot products."""


def turns(url: str, cases: Sequence[Case] = CASES, *, seconds: float, rounds: int, schema: str = "round") -> Mapping[str, Measure]:
    """Return the median of each figure, by case. Each run has a schema of its own.

    Args:
        url: of a database without options.
        cases: by title, as in ``CASES``.
        seconds: of one run.
        rounds: runs of each case.
        schema: the beginning of their names.
    """
    found: dict[str, list[Measure]] = {title: [] for title, *_ in cases}
    for number in range(rounds):
        for at, (title, way, processes, products) in enumerate(cases):
            place = f"{url}?schema={schema}_{number}_{at}"
            anyio.run(stock, place, products)
            load = Load(processes=processes, callers=CALLERS * processes, products=products, hot=1.0 / products)
            found[title].append(measure(place, load, way, seconds=seconds))
    return {title: {name: median(one[name] for one in runs) for name in runs[0]} for title, runs in found.items()}


async def stock(url: str, products: int) -> None:
    """Give each product plenty of stock."""
    async with open_inventory(url) as inventory:
        for number in range(products):
            await inventory.add_stock(f"p{number}", "main", PLENTY)


def table(measures: Mapping[str, Measure]) -> str:
    """Return the figures as a table in Markdown."""
    lines = ["| Case | Reservations/s | Slowest share | p50 | p99 / p50 | Decided | Failed |", "|---|---|---|---|---|---|---|"]
    for title, one in measures.items():
        shown = f"{one['per_second']:,.0f} | {one['least_share']:.2f} | {one['p50_us'] / 1e3:.0f} ms | {one['p99_us'] / one['p50_us']:.1f}"
        lines.append(f"| {title} | {shown} | {one['decided_a_command']:.2f} | {one['failed']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes.turns", description="Measure turns on PostgreSQL.")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with server({"fsync": "on"}) as one:
        print(table(turns(one.url, seconds=given.seconds, rounds=given.rounds)))


if __name__ == "__main__":
    main()
