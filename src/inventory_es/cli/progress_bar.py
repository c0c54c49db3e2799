"""Progress bar on the standard error output, if that is a terminal."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from inventory_es.cli.tables import error_console, number


@contextmanager
def progress_bar(description: str, *, total: int | None = None, unit: str = "events") -> Generator[Callable[..., None], None, None]:
    """Show a bar while the block runs.

    Args:
        description: the work in one word.
        total: the units in all; ``None``: not known yet.
        unit: the name of the units.

    Yields:
        A function that updates ``description``, ``completed``, ``total`` and ``unit`` by keyword.
    """
    console = error_console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24, complete_style="cyan", finished_style="green"),
        _Count(Column(no_wrap=True)),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal, refresh_per_second=8) as progress:
        yield partial(progress.update, progress.add_task(description, total=total, unit=unit))


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        total = number(task.total or 0)
        return Text(f"{number(task.completed):>{len(total)}}/{total} {task.fields['unit']}", style="bright_black")
