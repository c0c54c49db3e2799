"""Progress bars, on standard error, where that is a terminal."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from inventory_es.application.following.projection import ProjectionStatus
from inventory_es.application.store_copy import CopyProgress
from inventory_es.cli.replay.progress import ReplayAdvancedEvent
from inventory_es.cli.terminal import error_console, number


@contextmanager
def replay_bar(rows: int) -> Generator[Callable[[ReplayAdvancedEvent], None], None, None]:
    """A bar of so many rows, while the block runs; gives what moves it."""
    with _progress() as progress:
        task = progress.add_task("selling", total=rows, what="rows · 0 events")

        def advance(advanced: ReplayAdvancedEvent) -> None:
            description = "checking" if advanced.is_finished else "selling"
            progress.update(task, description=description, completed=advanced.row, what=f"rows · {number(advanced.totals.events)} events")

        yield advance


@contextmanager
def copy_bar() -> Generator[Callable[[CopyProgress], None], None, None]:
    """A bar of a copy, while the block runs; gives what moves it."""
    with _progress() as progress:
        task = progress.add_task("opening", total=None, what="events")

        def advance(advanced: CopyProgress) -> None:
            progress.update(task, description=advanced.phase, completed=advanced.position, total=advanced.end)

        yield advance


@contextmanager
def rebuild_bar() -> Generator[Callable[[ProjectionStatus], None], None, None]:
    """A bar of a rebuild, while the block runs; gives what moves it."""
    with _progress() as progress:
        task = progress.add_task("rebuilding", total=None, what="events")

        def advance(status: ProjectionStatus) -> None:
            progress.update(task, completed=status.position, total=status.position + status.lag_events)

        yield advance


def _progress() -> Progress:
    console = error_console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24, complete_style="cyan", finished_style="green"),
        _Count(Column(no_wrap=True)),
        TimeRemainingColumn(compact=True),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal, refresh_per_second=8)


class _Count(ProgressColumn):
    def render(self, task: Task) -> Text:
        total = number(task.total or 0)
        return Text(f"{number(task.completed):>{len(total)}}/{total} {task.fields['what']}", style="bright_black")
