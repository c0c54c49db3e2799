"""The plots of a run, light and dark: ``python -m benchmarks.plots results.json FOLDER``, in the environment that has matplotlib.

Names of plots after the folder limit what is drawn.
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.figures import Found, figure, growth, names, slope
from benchmarks.plot_style import FAINT, LIBRARIES, STORES, VARIANTS, thousands
from benchmarks.plots_processes import joining, postgresql, processes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=[name for name in DRAWN if name != "postgresql"])
    options = parser.parse_args()
    found: Found = json.loads(options.results.read_text(encoding="utf-8"))
    for variant, style in VARIANTS.items():
        with plt.rc_context(style):
            for name in options.names:
                DRAWN[name](found)
                if plt.get_fignums():
                    plt.savefig(options.folder / f"{name}{variant}.png", dpi=150, bbox_inches="tight", pad_inches=0.25)
                    plt.close("all")


def hot_product(found: Found) -> None:
    """Draw the reservations per second of one product over the number of callers."""
    shown = [
        name
        for ours in (True, False)
        for name in names(found, ours=ours, durable=True)
        if figure(found, name, "W3 64") and not name.endswith("threads")
    ]
    if not shown:
        return
    _, axes = plt.subplots(figsize=(9, 5))
    ends: list[tuple[float, float, str, str]] = []
    for name in shown:
        points = [
            (number, rate) for number in found["about"]["sizes"]["callers"] if (rate := figure(found, name, f"W3 {number}")) is not None
        ]
        is_ours = _is_ours(found, name)
        colour, line = _colour(name), "-" if not is_ours or "asyncio" in name else "--"
        axes.plot(
            *zip(*points, strict=True),
            line,
            color=colour,
            marker="o",
            markersize=4.5 if is_ours else 3.5,
            linewidth=2.4 if is_ours else 1.4,
        )
        ends.append((*points[-1], _spelt(name) if not is_ours else f"inventory_es, {name}", colour))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(found["about"]["sizes"]["callers"], [f"{one:,}" for one in found["about"]["sizes"]["callers"]])
    axes.set_xlabel("concurrent callers of one product")
    axes.set_title("One product: durable reservations per second", pad=12)
    thousands(axes)
    axes.grid(visible=True, axis="y")
    _label_ends(axes, ends)


def threads(found: Found) -> None:
    """Draw the reservations per second through the synchronous service, over the number of threads."""
    shown = [f"{store}, threads" for store in STORES if figure(found, f"{store}, threads", "W3 1")]
    if not shown:
        return
    shown += [name for durable in (True, False) for name in names(found, ours=False, durable=durable) if name.startswith("eventsourcing")]
    counts = found["about"]["sizes"]["threads"]
    _, axes = plt.subplots(figsize=(9, 5))
    ends: list[tuple[float, float, str, str]] = []
    for name in shown:
        points = [(number, rate) for number in counts if (rate := figure(found, name, f"W3 {number}")) is not None]
        if points:
            is_ours = _is_ours(found, name)
            line = "--" if "memory" in name else "-"
            axes.plot(*zip(*points, strict=True), line, color=_colour(name), marker="o", markersize=4, linewidth=2.4 if is_ours else 1.4)
            ends.append((*points[-1], _spelt(name) if not is_ours else f"inventory_es, {name.removesuffix(', threads')}", _colour(name)))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(counts, [str(one) for one in counts])
    axes.set_xlabel("threads that reserve one product; the dashed lines are stores in memory")
    axes.set_title("Without an event loop: reservations per second", pad=12)
    thousands(axes)
    axes.grid(visible=True, axis="y")
    _label_ends(axes, ends)


def beside_peers(found: Found) -> None:
    """Draw the durable contenders, one panel per workload."""
    titles = {
        "W1": "W1: one caller, reservations",
        "W1c": "W1c: 64 callers, 1,000 products, reservations",
        "W3 64": "W3: 64 callers, one product, reservations",
        "W3 sold out": "W3: sold out, answers",
        "W2": "W2: load one long stream, events",
        "W4": "W4: the feed, events",
    }
    cases = [case for case in titles if any(figure(found, name, case) for name in found["rounds"])]
    if not cases:
        return
    rows = -(-len(cases) // 2)
    _, grid = plt.subplots(rows, 2, figsize=(11.5, 2.9 * rows), squeeze=False, layout="constrained")
    for axes, case in zip(grid.flat, cases, strict=False):
        shown = [
            (name, rate)
            for ours in (True, False)
            for name in names(found, ours=ours, durable=True)
            if (rate := figure(found, name, case)) is not None and "trio" not in name
        ]
        for at, (name, rate) in enumerate(shown):
            axes.barh(at, rate, color=_colour(name), height=0.68)
            axes.text(rate, at, f" {_short(rate)}", va="center", fontsize=8.5)
        labels = [f"inventory_es, {name.removesuffix(', asyncio')}" if _is_ours(found, name) else _narrow(name) for name, _ in shown]
        axes.set_yticks(range(len(shown)), labels, fontsize=8.5)
        for label, (name, _) in zip(axes.get_yticklabels(), shown, strict=True):
            label.set_fontweight("bold" if _is_ours(found, name) else "normal")
        axes.invert_yaxis()
        axes.set_xlim(0, max(rate for _, rate in shown) * 1.14)
        axes.set_xticks([])
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(f"{titles[case]} per second")
    for axes in grid.flat[len(cases) :]:
        axes.set_visible(False)


def waits(found: Found) -> None:
    """Draw the waiting time of a caller: the median and the 99th percentile."""
    panels = [
        (case, title)
        for case, title in (("W1", "One caller"), ("W3 64", "64 callers, one product"))
        if any(figure(found, name, case, "p50_us") for name in found["rounds"])
    ]
    if not panels:
        return
    _, grid = plt.subplots(1, len(panels), figsize=(11.5, 4.6), squeeze=False, layout="constrained")
    for axes, (case, title) in zip(grid.flat, panels, strict=True):
        rows = [
            (f"inventory_es, {name}" if ours else _narrow(name), case, name)
            for ours in (True, False)
            for name in names(found, ours=ours, durable=True)
            if figure(found, name, case, "p50_us") is not None
        ]
        if case == "W1":
            rows += [
                (limit.removeprefix("limit "), limit, name)
                for name in ("file, asyncio", "SQLite, asyncio")
                for limit in found["rounds"].get(name, {})
                if limit.startswith("limit ") and figure(found, name, limit, "p50_us") is not None
            ]
        for at, (label, shown, name) in enumerate(rows):
            middle, worst = (figure(found, name, shown, quantile) or 0.0 for quantile in ("p50_us", "p99_us"))
            colour = FAINT if shown.startswith("limit ") else _colour(name)
            axes.plot([middle / 1e3, worst / 1e3], [at, at], color=colour, linewidth=2, alpha=0.55, solid_capstyle="round")
            axes.plot(middle / 1e3, at, "o", color=colour, markersize=7)
            axes.plot(worst / 1e3, at, "|", color=colour, markersize=11, markeredgewidth=2)
            if label.startswith("inventory_es"):
                axes.text(worst / 1e3, at, f"  {_short(middle / 1e3)} / {_short(worst / 1e3)}", va="center", fontsize=8)
        axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=8.5)
        for tick, (label, _, _) in zip(axes.get_yticklabels(), rows, strict=True):
            tick.set_fontweight("bold" if label.startswith("inventory_es") else "normal")
        axes.invert_yaxis()
        axes.set_xscale("log")
        thousands(axes, of="x")
        axes.set_xlabel("milliseconds: ● median, | 99th percentile")
        axes.grid(visible=True, axis="x")
        axes.set_title(title)


def grown(found: Found) -> None:
    """Draw the costs as everything grows: flat is good."""
    costs = {
        "command_busy_us": "one command: processor time, µs",
        "feed_page_us": "newest 100 of the feed, µs",
        "opening_us": "opening, ms",
        "first_command_us": "first command, cold, ms",
    }
    what = [one for one in ("events", "streams", "open reservations") if growth(found, "file, asyncio", one, "command_us")]
    if not what:
        return
    _, grid = plt.subplots(len(costs), len(what), figsize=(11.5, 10.5), sharey="row", sharex=True, squeeze=False, layout="constrained")
    for row, (cost, title) in zip(grid, costs.items(), strict=True):
        for axes, grows in zip(row, what, strict=True):
            for store, colour in STORES.items():
                unit = 1e3 if title.endswith("ms") else 1.0
                points = [(size, value / unit) for size, value in growth(found, f"{store}, asyncio", grows, cost)]
                if points:
                    line = axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=4, linewidth=2)[0]
                    line.set_label(f"{store}  {slope(points):+.2f}" if len(points) > 1 else store)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.grid(visible=True)
            axes.legend(frameon=False, fontsize=8, loc="best", handlelength=1.2)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            thousands(axes)
            axes.set_title(f"as {grows} grow" if row is grid[0] else "")
            axes.set_ylabel(title if axes is row[0] else "")
        low, high = row[0].get_ylim()
        room = max(1.0, (30 / (high / low)) ** 0.5)
        row[0].set_ylim(low / room, high * room)
    for axes, grows in zip(grid[-1], what, strict=True):
        axes.set_xlabel(f"{grows}; the legend shows slopes: 0 is flat")


def _is_ours(found: Found, name: str) -> bool:
    return any(one["is_ours"] and one["name"] == name for one in found["contenders"])


def _colour(name: str) -> str:
    return next(colour for start, colour in {**STORES, **LIBRARIES}.items() if name.startswith(start))


def _spelt(name: str) -> str:
    return name.replace("a lock a product", "a lock per product")


def _narrow(name: str) -> str:
    return (
        name.replace(", its cache, a lock a product", ", cache, lock")
        .replace(", its cache", ", cache")
        .replace(", state kept, a lock a product", ", state kept, lock")
        .replace(", a lock a product", ", lock")
    )


def _short(value: float) -> str:
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _label_ends(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Write the names next to the ends of the lines, without overlaps."""
    low, high = axes.get_ylim()
    right = max(x for x, _, _, _ in ends)
    step = (high / low) ** 0.042
    last: dict[bool, float] = {}
    for x, y, name, colour in sorted(ends, key=lambda end: -end[1]):
        is_last = x == right
        place = min(y, last.get(is_last, float("inf")) / step)
        last[is_last] = place
        axes.annotate(
            name,
            (x, y),
            xytext=(x * 1.18, place),
            color=colour,
            fontsize=8.5,
            va="center",
            fontweight="bold" if name.startswith("inventory_es") else "normal",
        )


DRAWN = {
    "hot-product": hot_product,
    "threads": threads,
    "beside-peers": beside_peers,
    "waits": waits,
    "growth": grown,
    "processes": processes,
    "joining": joining,
    "postgresql": postgresql,
}

if __name__ == "__main__":
    main()
