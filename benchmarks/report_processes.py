"""The tables of the page on several processes."""

from collections.abc import Iterator, Sequence

from benchmarks.figures import Found
from benchmarks.report import short, table

WAYS = {
    "free": "each command for itself",
    "lanes": "lanes in every process",
    "routed": "lanes, streams routed",
    "parted": "lanes, routed, a store each",
}
SHARES = {"spread": "spread over 10,000 products", "a fifth hot": "a fifth wants one product", "one product": "all want one product"}


def report_processes(found: Found) -> str:
    """Return the tables of the simulation and its comparison with measurements; empty if there are none."""
    if "processes" not in found["alone"]:
        return ""
    return (
        "\n".join(("<!-- Written by `python -m benchmarks`: run that instead of editing this. -->", *_paper(found), *_checked(found)))
        + "\n"
    )


def _paper(found: Found) -> Iterator[str]:
    measures, numbers = found["alone"]["processes"], found["about"]["sizes"]["processes"]
    yield from ("", "## On paper", "")
    yield "Simulated: commands accepted a second; in brackets how often one was decided, where that is more than once."
    yield ""
    rows: list[Sequence[str]] = [("", *(f"{number} processes" for number in numbers))]
    for share, wanted in SHARES.items():
        for way, served in WAYS.items():
            cells: list[str] = []
            for number in numbers:
                told = measures[f"{way}, {share}, {number}"]
                again = told["decided_a_command"]
                starved = " †" if told["least_share"] < 0.1 else ""
                cells.append(f"{short(told['per_second'])}{f' ({again:.1f})' if again >= 1.05 else ''}{starved}")
            rows.append((f"{wanted}: {served}", *cells))
    yield from table(rows)
    yield ""
    yield "† One process got less than a tenth of its fair share: its callers starve while others are served."


def _checked(found: Found) -> Iterator[str]:
    yield from ("", "## Checked", "")
    yield "Costs are taken from one process; what several processes then do is predicted, and measured."
    yield ""
    rows: list[Sequence[str]] = [
        ("", "processes", "measured, a second", "simulated", "decided, measured", "simulated", "least share, measured", "simulated")
    ]
    for title in ("file", "SQLite"):
        for case, told in found["alone"].get(f"processes, {title}", {}).items():
            if case == "costs, µs":
                continue
            way, share, number = case.split(", ")
            rows.append(
                (
                    f"{title}: {WAYS[way]}, {share}",
                    number,
                    *(short(told[f"{prefix}per_second"]) for prefix in ("", "simulated ")),
                    *(f"{told[f'{prefix}decided_a_command']:.2f}" for prefix in ("", "simulated ")),
                    *(f"{told[f'{prefix}least_share']:.2f}" for prefix in ("", "simulated ")),
                )
            )
    yield from table(rows)
    for title in ("file", "SQLite"):
        costs = found["alone"].get(f"processes, {title}", {}).get("costs, µs", {})
        yield ""
        yield f"Costs over {title}, µs: {', '.join(f'{name} {value:.1f}' for name, value in costs.items())}."
