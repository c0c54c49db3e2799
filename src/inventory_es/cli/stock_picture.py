"""The stock of one inventory over time, as a picture. Needs the extra ``plot``."""

import warnings
from collections.abc import Sequence
from importlib import import_module
from io import BytesIO
from typing import Any

from inventory_es.cli.stock_series import StockPoint
from inventory_es.cli.terminal import number

_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#9ec5e8", "#e08e0b", "#2e8b57", "#b3261e", "#6b7280"


def stock_picture(points: Sequence[StockPoint], *, title: str, subtitle: str, threshold: int | None, form: str) -> bytes:
    """A picture of 1,600 × 840 pixels: on hand, reserved and available as steps, and what was low shaded.

    Args:
        points: oldest first, one or more.
        title: above it.
        subtitle: below that, smaller.
        threshold: drawn as a line; ``None`` for none.
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
    """A module of matplotlib, which has hardly any types."""
    return import_module(name)
