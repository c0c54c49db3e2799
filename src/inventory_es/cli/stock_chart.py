"""The stock of one inventory over time, drawn in the terminal: what is available, and on top of it what is promised."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from operator import attrgetter

from rich.text import Text

from inventory_es.cli.stock_series import StockPoint
from inventory_es.cli.terminal import number

_EIGHTHS = " ▁▂▃▄▅▆▇█"
_TICKS = 4


def stock_chart(points: Sequence[StockPoint], *, width: int, height: int, threshold: int | None) -> Text:
    """A drawing of ``width`` columns.

    Each column shows the balance at its end. Below the axis stands a mark where no more than ``threshold`` was available at any time
    within the column.

    Args:
        points: oldest first, one or more.
        width: columns in all, labels included.
        height: rows of the drawing itself.
        threshold: what counts as low; ``None`` for no marks.
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
    """A round number that goes into ``most`` about four times: 1, 2 or 5 with noughts."""
    for power in count():
        for digit in (1, 2, 5):
            step: int = digit * 10**power
            if most <= step * _TICKS:
                return step
    raise AssertionError  # pragma: no cover - there is always a larger step


def _columns(points: Sequence[StockPoint], width: int, threshold: int | None) -> list[tuple[StockPoint, bool]]:
    """The balance at the end of each column, and whether it was low within it."""
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
    """One character of a column, ``row`` rows above the axis."""
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
    """Begin and end at the edges, and what lies between in the middle where there is room."""
    form = "%Y-%m-%d" if end - begin >= timedelta(days=3) else "%m-%d %H:%M"
    left, right = f"{begin:{form}}", f"{end:{form}}"
    middle = f"{begin + (end - begin) / 2:{form}}" if width >= 3 * len(left) + 8 else ""
    room = width - len(left) - len(right)
    return f"{left}{middle.center(room)}{right}" if room > 0 else left
