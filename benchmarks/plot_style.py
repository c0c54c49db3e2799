"""How the plots look: the documentation's paper and ink, one colour a store."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

INK = "#3b352e"
FAINT = "#b9b1a6"
PAPER = "#fffdfa"
STORES = {"file": "#b3541e", "SQLite": "#2f6f8f", "memory": "#7a8a3a"}
LIBRARIES = {"eventsourcing": "#8d8377", "eventsource-py": "#a98fb0", "umadb": "#6f9a8d"}

STYLE: dict[Any, Any] = {
    "figure.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "font.size": 9.5,
    "grid.color": "#ece5da",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
}


def thousands(axes: Axes, *, of: str = "y") -> None:
    """A logarithmic axis with plain numbers at the powers of ten."""
    axis = axes.yaxis if of == "y" else axes.xaxis
    axis.set_major_locator(LogLocator(10))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
