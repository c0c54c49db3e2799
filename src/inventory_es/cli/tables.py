"""Output for people and programs: consoles, figures, tables and JSON.

A table keeps its figures whole in any width: names are shortened with an ellipsis, then whole columns are left out and named.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import attrs
import msgspec
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.markup import escape, render
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from inventory_es.application.results import HistoryEntry
from inventory_es.domain.events import (
    Event,
    ReservationExtendedEvent,
    StockAddedEvent,
    StockAdjustedEvent,
    StockCommittedEvent,
    StockReleasedEvent,
    StockReservedEvent,
)
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, ReleaseReason

THEME = Theme(
    {
        "good": "green",
        "bad": "red",
        "number": "bold",
        "quiet": "bright_black",
        "title": "bold",
        "command": "cyan",
    }
)
"""The styles of markup."""


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """Raise the error, so that the command line ends quietly."""
        raise BrokenPipeError


def console() -> Console:
    """Return a console on the standard output."""
    return _Output(theme=THEME, highlight=False)


class _Progress(Console):
    def on_broken_pipe(self) -> None:
        """Show no more progress; the work goes on."""
        self.quiet = True


def error_console() -> Console:
    """Return a console on the standard error output, for progress."""
    return _Progress(theme=THEME, highlight=False, stderr=True)


def print_json(value: Any) -> None:
    """Print one object on one line, in ASCII with escapes: the same bytes in every encoding of the output."""
    text = msgspec.json.encode(value).decode()
    print_line(text if text.isascii() else json.dumps(json.loads(text), separators=(",", ":")))


def print_line(text: str) -> None:
    """Print one line unchanged."""
    try:
        sys.stdout.write(f"{text}\n")
    except BrokenPipeError:
        raise BrokenPipeError from None  # without its number: on seeing that, click would end the process as if something was wrong


def number(value: float) -> str:
    """Return a whole number for people."""
    return f"{value:,.0f}"


def duration(seconds: float) -> str:
    """Return a time span for people in its largest unit: 850 ms, 12 s, 3 min, 5 h, 12 d."""
    if seconds < 1:
        return f"{1_000 * seconds:.0f} ms"
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"


def instant(at: datetime) -> str:
    """Return a time in UTC for people."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

_LEAST_HEADER = 4
_BLOCK = 1_000


@attrs.frozen
class Column:
    """One column.

    Attributes:
        header: the name of the column.
        is_figure: True for figures, which are never shortened.
        width: the least width in characters where there is room.
        least: the least width in characters that a cell without figures is shortened to.
        leave_out: the order in which columns are left out: 1 before 2; 0 never.
        folds: True to continue a long cell in the next line, False to shorten it.
        style: the style of the cells.
    """

    header: str
    is_figure: bool = False
    width: int = 0
    least: int = 6
    leave_out: int = 0
    folds: bool = False
    style: str = ""


def print_table(out: Console, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, show_header: bool = True) -> None:
    """Print a table that fits the terminal. Without its header it continues an earlier table."""
    out.print(fitted(columns, rows, out.size.width, show_header=show_header))


def fitted(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int, *, gap: int = 2, show_header: bool = True
) -> RenderableType:
    """Return a table of at most ``width`` characters, with a line that names the columns left out.

    Args:
        columns: the columns from left to right.
        rows: one cell per column, as markup.
        width: the width of the terminal.
        gap: the space between two columns, where there is room.
        show_header: True to print the header and the names of columns left out.
    """
    cells = [[render(cell) if "[" in cell else Text(cell) for cell in row] for row in rows]
    widest = [max((row[at].cell_len for row in cells), default=0) for at in range(len(columns))]
    least = [
        max(most, min(_LEAST_HEADER, cell_len(column.header))) if column.is_figure else min(most, column.least)
        for column, most in zip(columns, widest, strict=True)
    ]
    wanted = [max(most, column.width, cell_len(column.header)) for column, most in zip(columns, widest, strict=True)]
    shown = list(range(len(columns)))
    if _total(wanted, shown, gap) > width:
        gap = 1
    for at in sorted(shown, key=lambda at: columns[at].leave_out):
        if columns[at].leave_out and _total(least, shown, gap) > width:
            shown.remove(at)
    widths = _shared([max(1, one) for one in least], wanted, shown, width - gap * (len(shown) - 1), columns)
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="quiet", show_header=show_header)
    for at in shown:
        column = columns[at]
        header = Text(column.header, no_wrap=True, overflow="ellipsis")
        header.truncate(widths[at], overflow="ellipsis")
        table.add_column(
            header,
            justify="right" if column.is_figure else "left",
            width=widths[at],
            no_wrap=not column.folds,
            overflow="fold" if column.folds else "ellipsis",
            style=column.style,
        )
    for row in cells:
        table.add_row(*(row[at] for at in shown))
    left_out = [column.header for at, column in enumerate(columns) if at not in shown and column.header]
    if not (left_out and show_header):
        return table
    return Group(table, Text(f"… a wider terminal shows {', '.join(left_out)}", style="quiet"))


def _total(widths: Sequence[int], shown: Sequence[int], gap: int) -> int:
    return sum(widths[at] for at in shown) + gap * (len(shown) - 1)


def _shared(least: list[int], wanted: Sequence[int], shown: Sequence[int], room: int, columns: Sequence[Column]) -> list[int]:
    """Return widths between ``least`` and ``wanted`` that fill the room. Figures and their headers get room first."""
    widths = list(least)
    for at in sorted(shown, key=lambda at: not columns[at].is_figure):
        more = min(wanted[at] - widths[at], room - sum(widths[one] for one in shown))
        widths[at] += max(0, more)
    return widths


class LongTable:
    """A table of any length, printed in blocks: each block has the widths that its rows need.

    Args:
        out: the console to print to.
        columns: the columns from left to right.
    """

    def __init__(self, out: Console, columns: Sequence[Column]) -> None:
        self._out = out
        self._columns = columns
        self._block: list[Sequence[str]] = []
        self._is_first = True

    def add(self, row: Sequence[str]) -> None:
        """Add a row, and print the block if it is full."""
        self._block.append(row)
        if len(self._block) == _BLOCK:
            self._print()

    def end(self) -> None:
        """Print the rest. A table without rows has its header alone."""
        if self._block or self._is_first:
            self._print()

    def _print(self) -> None:
        print_table(self._out, self._columns, self._block, show_header=self._is_first)
        self._block, self._is_first = [], False


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

EVENT_COLUMNS = (
    Column("version", is_figure=True, leave_out=3, style="quiet"),
    Column("time", least=19, leave_out=2),
    Column("what happened", width=16, least=10),
    Column("on hand", is_figure=True),
    Column("reserved", is_figure=True),
    Column("id", least=12, leave_out=1, folds=True),
)


def event_cells(entry: HistoryEntry) -> tuple[str, ...]:
    """Return the cells of an event, with the balance after it."""
    name = getattr(entry.event, "reservation_id", None) or entry.metadata.command_id or ""
    balance = (number(entry.event.on_hand), number(entry.event.reserved))
    return str(entry.version), instant(entry.recorded_at), what_happened(entry.event, entry.recorded_at), *balance, escape(name)


def what_happened(event: Event, at: datetime) -> str:
    """Return an event in a few words, as markup."""
    match event:
        case StockAddedEvent():
            return f"{_signed(event.quantity)} {_plain(event.reason)}"
        case StockReservedEvent():
            return f"{event.quantity:,} reserved, {_until(event.expires_at, at)}"
        case ReservationExtendedEvent():
            return f"now {_until(event.expires_at, at)}"
        case StockReleasedEvent():
            return f"{event.quantity:,} released, {_plain(event.reason)}"
        case StockCommittedEvent():
            return f"{_signed(-event.quantity)} {_plain(event.reason)}"
        case StockAdjustedEvent():
            return f"{_signed(event.delta)} {_plain(event.reason)}"


def _signed(units: int) -> str:
    return f"[{'good' if units >= 0 else 'bad'}]{units:+,}[/]"


def _until(expires_at: datetime | None, at: datetime) -> str:
    if expires_at is None:
        return "firm"
    return f"until {expires_at:%H:%M:%S}" if expires_at.date() == at.date() else f"until {instant(expires_at)}"


def _plain(reason: AddReason | ReleaseReason | CommitReason | AdjustReason) -> str:
    return reason.value.lower().replace("_", " ")
