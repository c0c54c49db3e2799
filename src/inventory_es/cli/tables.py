"""Tables that keep their figures in any width: names are shortened with an ellipsis, then whole columns are left out, and named."""

from collections.abc import Iterable, Sequence

import attrs
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.markup import render
from rich.table import Table
from rich.text import Text

_LEAST_HEADER = 4


@attrs.frozen
class Column:
    """One column.

    Attributes:
        header: its name.
        is_figure: whether its cells are figures, which are never shortened.
        width: columns that it takes at least, where there is room.
        least: columns that a cell which is no figure is shortened to at most.
        leave_out: when it goes: 1 before 2; 0 never.
        folds: whether a cell that is too long goes on in the next line, instead of being shortened.
        style: of its cells.
    """

    header: str
    is_figure: bool = False
    width: int = 0
    least: int = 6
    leave_out: int = 0
    folds: bool = False
    style: str = ""


def print_table(out: Console, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, show_header: bool = True) -> None:
    """Print a table as it fits the terminal; one without header goes on with an earlier one."""
    out.print(fitted(columns, rows, out.size.width, show_header=show_header))


def fitted(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int, *, gap: int = 2, show_header: bool = True
) -> RenderableType:
    """Return a table of at most ``width`` columns, with a line that names what was left out.

    Args:
        columns: from left to right.
        rows: a cell for each column, as markup.
        width: of the terminal.
        gap: between two columns, where there is room.
        show_header: whether to print the header, and what was left out.
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
    """Widths between ``least`` and ``wanted`` that fill the room: figures get theirs first, with their headers."""
    widths = list(least)
    for at in sorted(shown, key=lambda at: not columns[at].is_figure):
        more = min(wanted[at] - widths[at], room - sum(widths[one] for one in shown))
        widths[at] += max(0, more)
    return widths
