"""The style of the plots: the documentation's colours, light and dark, and one colour per store."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

FAINT = "#a89f93"
STORES = {"file": "#c2622a", "SQLite": "#3c86ab", "memory": "#86973f"}
LIBRARIES = {"eventsourcing": "#92887c", "eventsource-py": "#a98fb0", "umadb": "#6f9a8d"}

STYLE: dict[Any, Any] = {
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "font.size": 9.5,
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
}


def style(*, ink: str, paper: str, grid: str) -> dict[Any, Any]:
    """Return the style for a page of these colours."""
    inked = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink)
    papered = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), paper)
    return STYLE | inked | papered | {"grid.color": grid}


VARIANTS = {
    "": style(ink="#3b352e", paper="#ffffff", grid="#ece5da"),
    "-dark": style(ink="#d5cfc6", paper="#131416", grid="#2c2e33"),
}
"""The style by the end of the file's name: the backgrounds are those of the documentation's theme."""


def thousands(axes: Axes, *, of: str = "y") -> None:
    """Give an axis a logarithmic scale with plain numbers at the powers of ten."""
    axis = axes.yaxis if of == "y" else axes.xaxis
    axis.set_major_locator(LogLocator(10))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
