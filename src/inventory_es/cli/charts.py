"""Charts of the stock of one inventory over time: in the terminal, or as a picture with the extra ``plot``."""

import warnings
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from importlib import import_module
from io import BytesIO
from itertools import count
from operator import attrgetter
from typing import Any

import attrs
from rich.text import Text

from inventory_es.application.projections.ledger import MovementRow
from inventory_es.cli.tables import number

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_TICKS = 4
_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#9ec5e8", "#e08e0b", "#2e8b57", "#b3261e", "#6b7280"


@attrs.frozen
class StockPoint:
    """The balance from an instant on.

    Attributes:
        at: the instant, UTC.
        on_hand: units on hand.
        reserved: units reserved.
    """

    at: datetime
    on_hand: int
    reserved: int

    @property
    def available(self) -> int:
        """Units on hand less reserved ones; reservations due for expiry count as reserved."""
        return self.on_hand - self.reserved


async def stock_series(movements: AsyncIterator[MovementRow], *, since: datetime | None, until: datetime | None) -> list[StockPoint]:
    """Return the balance after each instant with movements, oldest first.

    Args:
        movements: the movements, oldest first.
        since: the time of the first point, with the balance at that time; ``None``: the first movement.
        until: the time of the last point, with the balance at that time; ``None``: the last movement.

    Returns:
        The points; none if nothing had moved by ``until``.
    """
    points: list[StockPoint] = []
    async for row in movements:
        if until is not None and row.recorded_at > until:
            break
        at = row.recorded_at if since is None else max(since, row.recorded_at)
        if points and points[-1].at == at:
            points.pop()
        points.append(StockPoint(at, row.on_hand, row.reserved))
    if points and until is not None and points[-1].at < until:
        points.append(attrs.evolve(points[-1], at=until))
    return points


def stock_chart(points: Sequence[StockPoint], *, width: int, height: int, threshold: int | None) -> Text:
    """Return a drawing for the terminal: available units, with reserved ones on top.

    Each column shows the balance at its end. A mark below the axis shows a column in which at most ``threshold`` units were available
    at some time.

    Args:
        points: one point or more, oldest first.
        width: the width in characters, including labels.
        height: the rows of the drawing without its axis.
        threshold: the available units that count as low; ``None`` for no marks.
    """
    step = _step(max(1, threshold or 0, *(point.on_hand for point in points)))
    top = step * -(-max(1, threshold or 0, *(point.on_hand for point in points)) // step)
    gutter = len(number(top)) + 1
    columns = _columns(points, max(10, width - gutter - 1), threshold)
    labels = {height - round(value * height / top): number(value) for value in range(step, top + 1, step)}
    chart = Text()
    for row in range(height):
        label = labels.get(row, "")
        chart.append(f"{label:>{gutter}}", "quiet").append("┤" if label else "│", "quiet")
        for balance, _ in columns:
            character, style = _cell(balance, height - 1 - row, 8 * height / top)
            chart.append(character, style)
        chart.append("\n")
    chart.append(f"{'0':>{gutter}}└{'─' * len(columns)}\n", "quiet")
    if any(is_low for _, is_low in columns):
        chart.append(" " * (gutter + 1)).append("".join("▲" if is_low else " " for _, is_low in columns).rstrip(), "bad").append("\n")
    chart.append(" " * (gutter + 1)).append(_times(points[0].at, points[-1].at, len(columns)), "quiet")
    return chart


def _step(most: int) -> int:
    """Return the distance of two labels: a round number (1, 2 or 5 with zeros) that divides ``most`` into at most four parts."""
    for power in count():
        for digit in (1, 2, 5):
            step: int = digit * 10**power
            if most <= step * _TICKS:
                return step
    raise AssertionError  # pragma: no cover - there is always a larger step


def _columns(points: Sequence[StockPoint], width: int, threshold: int | None) -> list[tuple[StockPoint, bool]]:
    """Return the balance at the end of each column, and True where stock was low within the column."""
    begin, whole = points[0].at, points[-1].at - points[0].at
    found: list[tuple[StockPoint, bool]] = []
    last = 0
    for column in range(1, width + 1):
        after = bisect_right(points, begin + whole * column / width, key=attrgetter("at"))
        within = points[max(0, last - 1) : after]
        found.append((points[after - 1], threshold is not None and any(point.available <= threshold for point in within)))
        last = after
    return found


def _cell(balance: StockPoint, row: int, scale: float) -> tuple[str, str]:
    """Return one character of a column and its style, ``row`` rows above the axis."""
    on_hand = max(round(balance.on_hand * scale), int(balance.on_hand > 0)) - 8 * row
    available = max(round(balance.available * scale), int(balance.available > 0)) - 8 * row
    if on_hand <= 0:
        return " ", ""
    if available >= min(8, on_hand):
        return _EIGHTHS[min(8, on_hand)], "good"
    if available > 0:
        return _EIGHTHS[available], "green on yellow"
    return ("▒" if on_hand >= 8 else _EIGHTHS[on_hand]), "yellow"


def _times(begin: datetime, end: datetime, width: int) -> str:
    """Return the first and the last time at the edges, and the middle one where there is room."""
    form = "%Y-%m-%d" if end - begin >= timedelta(days=3) else "%m-%d %H:%M"
    left, right = f"{begin:{form}}", f"{end:{form}}"
    middle = f"{begin + (end - begin) / 2:{form}}" if width >= 3 * len(left) + 8 else ""
    room = width - len(left) - len(right)
    return f"{left}{middle.center(room)}{right}" if room > 0 else left


def stock_picture(points: Sequence[StockPoint], *, title: str, subtitle: str, threshold: int | None, form: str) -> bytes:
    """Return a picture of 1,600 × 840 pixels: on hand, reserved and available as steps, with low stock shaded.

    Args:
        points: one point or more, oldest first.
        title: the title.
        subtitle: the smaller line below the title.
        threshold: the available units that count as low, drawn as a line; ``None`` for no line.
        form: ``png``, ``svg`` or ``pdf``.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    names = ("matplotlib.dates", "matplotlib.figure", "matplotlib.layout_engine", "matplotlib.ticker")
    dates, figures, layouts, tickers = (_load(name) for name in names)
    times = [point.at for point in points]
    on_hand, reserved = [point.on_hand for point in points], [point.reserved for point in points]
    available = [point.available for point in points]
    figure = figures.Figure(figsize=(10, 5.25), dpi=160, layout=layouts.ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.1))
    axes = figure.add_subplot()
    axes.fill_between(times, available, step="post", color=_GREEN, alpha=0.12, linewidth=0)
    axes.fill_between(times, on_hand, available, step="post", color=_ORANGE, alpha=0.25, linewidth=0)
    axes.step(times, on_hand, where="post", color=_BLUE, linewidth=3.4, label="on hand")
    axes.step(times, available, where="post", color=_GREEN, linewidth=1.5, label="available")
    axes.step(times, reserved, where="post", color=_ORANGE, linewidth=1.2, label="reserved")
    if threshold is not None:
        axes.axhline(threshold, color=_RED, linewidth=1.1, linestyle=(0, (5, 4)), label=f"low: {number(threshold)} or less available")
        is_low = [units <= threshold for units in available]
        axes.fill_between(times, 0, 1, where=is_low, step="post", color=_RED, alpha=0.07, linewidth=0, transform=axes.get_xaxis_transform())
    axes.set_ylim(bottom=min(0, *available), top=1.08 * max(1, threshold or 0, *on_hand, *reserved))
    axes.margins(x=0.01)
    axes.set_ylabel("units")
    axes.yaxis.set_major_locator(tickers.MaxNLocator(integer=True, nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(tickers.FuncFormatter(lambda value, _: number(value)))
    locator = dates.AutoDateLocator(minticks=3)
    formatter = dates.ConciseDateFormatter(locator)
    formatter.formats = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
    formatter.zero_formats = ["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
    formatter.offset_formats = ["", "%Y", "%Y", "%d %b %Y", "%d %b %Y", "%d %b %Y"]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)
    axes.grid(axis="y", color=_GREY, alpha=0.18)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=14, fontweight="bold", pad=24, parse_math=False)
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, color=_GREY, fontsize=9.5, parse_math=False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    picture = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a product may be called anything; what the font lacks is a box
        figure.savefig(picture, format=form)
    return picture.getvalue()


def _load(name: str) -> Any:
    """Import a module of matplotlib, which has hardly any types."""
    return import_module(name)
