"""The progress bar of a replay, on standard error, where that is a terminal."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from inventory_es.cli.replay.progress import ReplayAdvancedEvent
from inventory_es.cli.terminal import error_console, number


@contextmanager
def replay_bar(rows: int) -> Generator[Callable[[ReplayAdvancedEvent], None], None, None]:
    """A bar of so many rows, while the block runs; gives what moves it."""
    console = error_console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24, complete_style="cyan", finished_style="green"),
        _Count(Column(no_wrap=True)),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal, refresh_per_second=8) as progress:
        task = progress.add_task("selling", total=rows, events=0)

        def advance(advanced: ReplayAdvancedEvent) -> None:
            description = "checking" if advanced.is_finished else "selling"
            progress.update(task, description=description, completed=advanced.row, events=advanced.totals.events)

        yield advance


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        total = number(task.total or 0)
        done = f"{number(task.completed):>{len(total)}}/{total} rows · {number(task.fields['events'])} events"
        return Text(done, style="bright_black")
