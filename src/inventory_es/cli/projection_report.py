"""What ``project`` shows of its projections: a live table in a terminal, lines of JSON for a program."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
from anyio import current_time
from rich.console import RenderableType
from rich.live import Live
from rich.markup import escape

from inventory_es.application.following.projection import ProjectionStatus
from inventory_es.cli.tables import Column, fitted
from inventory_es.cli.terminal import console, duration, number, print_json
from inventory_es.ports import ProjectionId

Look = Callable[[], Awaitable[Sequence[ProjectionStatus]]]

_PAUSE = 0.5
_STYLES = {"running": "good", "idle": "quiet", "retrying": "bad", "stopped": "bad"}


class ProjectionReport:
    """Tells how projections stand.

    Args:
        as_json: whether to a program: one object a line, whenever something has changed.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = console()
        self._told: object = None
        self._positions: dict[str, int] = {}
        self._speeds: dict[str, float] = {}
        self._looked_at = 0.0

    async def follow(self, look: Look) -> None:
        """Look and tell, again and again, until cancelled. Where nobody watches, only look."""
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                statuses = await look()
                if self._as_json:
                    self._print_json(statuses)
                elif self._console.is_terminal:
                    self._measure(statuses)
                    live.update(self._table(statuses, is_live=True), refresh=True)
                await anyio.sleep(_PAUSE)

    async def end(self, look: Look) -> Sequence[ProjectionStatus]:
        """Look a last time, and tell."""
        statuses = await look()
        if self._as_json:
            self._print_json(statuses)
        else:
            self._console.print(self._table(statuses, is_live=False))
            for status in statuses:
                name = status.projection_id.name
                if status.error is not None:
                    self._console.print(f"[bad]✗[/] {name}: {escape(status.error)}", soft_wrap=True)
                for other in status.unfollowed:
                    unfollowed = f"nobody follows version {other.version}: {_way_out(other, status)}"
                    self._console.print(f"[quiet]  {name}: {unfollowed}[/]", soft_wrap=True)
        return statuses

    def _print_json(self, statuses: Sequence[ProjectionStatus]) -> None:
        told = [_plain(status) for status in statuses]
        if told and told != self._told:
            print_json({"projections": told})
            self._told = told

    def _measure(self, statuses: Sequence[ProjectionStatus]) -> None:
        now = current_time()
        seconds, self._looked_at = now - self._looked_at, now
        for status in statuses:
            name = status.projection_id.name
            if name in self._positions and seconds > 0:
                self._speeds[name] = (status.position - self._positions[name]) / seconds
            self._positions[name] = status.position

    def _table(self, statuses: Sequence[ProjectionStatus], *, is_live: bool) -> RenderableType:
        columns = [
            Column("projection", least=8),
            Column("version", is_figure=True, leave_out=2, style="quiet"),
            Column("state", width=8, leave_out=5),
            Column("position", is_figure=True, width=9, leave_out=4),
            Column("behind", is_figure=True, width=7),
        ]
        if is_live or any(status.lag_events for status in statuses):
            columns.append(Column("for", is_figure=True, width=6, leave_out=3))
        if is_live:
            columns.append(Column("events/s", is_figure=True, width=8, leave_out=1))
        rows = [self._cells(status)[: len(columns)] for status in statuses]
        return fitted(columns, rows, self._console.size.width)

    def _cells(self, status: ProjectionStatus) -> tuple[str, ...]:
        name = status.projection_id.name
        return (
            name,
            str(status.projection_id.version),
            f"[{_STYLES[status.state]}]{status.state}[/]",
            number(status.position),
            number(status.lag_events) if status.lag_events else "[good]none[/]",
            duration(status.lag_seconds) if status.lag_events else "",
            number(self._speeds.get(name, 0)) if self._speeds.get(name) else "",
        )


def _way_out(other: ProjectionId, status: ProjectionStatus) -> str:
    if other.version < status.active.version:
        return f"readers ask version {status.active.version}, and 'inventory-es rebuild {other.name}' drops the older ones"
    return f"'inventory-es rebuild {other.name}' goes on with it"


def _plain(status: ProjectionStatus) -> dict[str, Any]:
    plain = {
        "name": status.projection_id.name,
        "version": status.projection_id.version,
        "active_version": status.active.version,
        "state": status.state,
        "position": status.position,
        "lag_events": status.lag_events,
        "lag_seconds": round(status.lag_seconds, 3),
        "error": status.error,
    }
    return plain | ({"unfollowed": [one.version for one in status.unfollowed]} if status.unfollowed else {})
