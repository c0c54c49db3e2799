"""The plots of several processes over one store."""

import matplotlib.pyplot as plt

from benchmarks.figures import Found
from benchmarks.plot_style import FAINT, STORES, thousands

WAYS = {
    "free": ("each command for itself", FAINT),
    "lanes": ("lanes in every process", STORES["SQLite"]),
    "routed": ("lanes, streams routed", STORES["file"]),
    "parted": ("lanes, routed, one store each", STORES["memory"]),
}
SHARES = {"spread": "spread over 10,000 products", "a fifth hot": "a fifth wants one product", "one product": "all want one product"}


def processes(found: Found) -> None:
    """Draw the simulated commands per second over the number of processes; an open circle marks a starving process."""
    measures = found["alone"].get("processes")
    if not measures:
        return
    numbers = found["about"]["sizes"]["processes"]
    _, grid = plt.subplots(1, len(SHARES), figsize=(11.5, 4.2), sharey=True, layout="constrained")
    for axes, (share, title) in zip(grid, SHARES.items(), strict=True):
        for way, (label, colour) in WAYS.items():
            measured = [measures[f"{way}, {share}, {number}"] for number in numbers]
            rates = [one["per_second"] for one in measured]
            axes.plot(numbers, rates, "--" if way == "parted" else "-", color=colour, linewidth=2, label=label)
            for number, rate, one in zip(numbers, rates, measured, strict=True):
                is_fair = one["least_share"] >= 0.1
                axes.plot(number, rate, "o", markersize=5, color=colour, markerfacecolor=colour if is_fair else "none", markeredgewidth=1.4)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(numbers, [str(number) for number in numbers])
        axes.set_xlabel("processes")
        axes.grid(visible=True, axis="y")
        axes.set_title(title)
        thousands(axes)
    grid[0].set_ylabel("commands per second, simulated")
    grid[0].legend(frameon=False, fontsize=8.5, loc="lower left")


SERVED = {"turns": STORES["file"], "racing": STORES["SQLite"]}


def postgresql(found: Found) -> None:
    """Draw the rate and the fairness of one product on PostgreSQL over the number of processes, in turns and racing."""
    _, (rates, shares) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for way, colour in SERVED.items():
        cases = found["alone"]["one product"]
        measured = [(int(case.split()[1]), one) for case, one in cases.items() if case.startswith((way, "turns, 1"))]
        numbers = [number for number, _ in measured]
        for axes, figure in ((rates, "per_second"), (shares, "least_share")):
            axes.plot(numbers, [one[figure] for _, one in measured], "o-", color=colour, linewidth=2, label=way)
            axes.set_xscale("log", base=2)
            axes.set_xticks(numbers, [str(number) for number in numbers])
            axes.set_xlabel("processes, 16 callers each")
            axes.grid(visible=True, axis="y")
    for axes in (rates, shares):
        axes.set_ylim(bottom=0)
    rates.set_title("reservations of one product per second")
    shares.set_title("share of the process served least; 1 is fair")
    rates.legend(frameon=False)


def joining(found: Found) -> None:
    """Draw the accepted commands while processes disagree about their number."""
    measures = found["alone"].get("processes", {})
    lags = sorted({case.split(", ")[1] for case in measures if case.startswith("joining, ")})
    if not lags:
        return
    _, grid = plt.subplots(1, len(lags), figsize=(11.5, 3.2), sharey=True, layout="constrained")
    for axes, lag in zip(grid, lags, strict=True):
        rows = [(int(case.rpartition(" ")[2]) / 10, one) for case, one in measures.items() if case.startswith(f"joining, {lag}, ")]
        times = [at for at, _ in rows]
        axes.step(times, [one["accepted"] for _, one in rows], where="post", color=STORES["file"], linewidth=2, label="accepted per second")
        axes.step(
            times,
            [one["in_vain"] for _, one in rows],
            where="post",
            color=STORES["SQLite"],
            linewidth=2,
            label="decided in vain per second",
        )
        axes.axvline(1.0, color=FAINT, linewidth=0.8, linestyle=":")
        seconds = float(lag.removeprefix("lag "))
        axes.set_title("all processes know at once" if seconds == 0 else f"each process knows within {seconds:g} s")
        axes.set_xlabel("seconds; a fifth process joins four at 1 s")
        axes.grid(visible=True, axis="y")
        axes.set_ylim(bottom=0)
    grid[0].legend(frameon=False, fontsize=8.5, loc="center left")
