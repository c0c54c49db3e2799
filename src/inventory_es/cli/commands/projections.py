"""Commands on projections: run, rebuild, and list dead letters."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

import anyio
import attrs
import click
from anyio import current_time
from rich.console import RenderableType
from rich.live import Live
from rich.markup import escape

from inventory_es.application.followers import RELAY
from inventory_es.application.following.projection import OnFailure, ProjectionStatus
from inventory_es.application.following.relay import rewind_relay
from inventory_es.application.following.runner import ProjectionRunner
from inventory_es.application.following.subscription import check_feed
from inventory_es.cli.failures import WRONG
from inventory_es.cli.interruptions import stop_when_told
from inventory_es.cli.options import (
    BUS_URL,
    PROJECTION_NAME,
    STORE_URL,
    STREAM_NAME,
    FilePath,
    json_option,
    names_argument,
    read_model_option,
    url_option,
)
from inventory_es.cli.progress_bar import progress_bar
from inventory_es.cli.projecting import Projecting, Workshop, open_workshop
from inventory_es.cli.reading import open_bus, run
from inventory_es.cli.rows import SHIPPED
from inventory_es.cli.tables import Column, console, duration, fitted, number, print_json
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import DeadLetter, EventFeed, ProjectionId, ReadModel, Row
from inventory_es.ports.errors import FeedRewoundError

Look = Callable[[], Awaitable[Sequence[ProjectionStatus]]]

_PAUSE = 0.5
_REBUILD_PAUSE = 0.2
_PAGE = 1_000
_MOST_LETTERS = 10_000
_STYLES = {"running": "good", "idle": "quiet", "retrying": "bad", "stopped": "bad"}


class ProjectionReport:
    """Report on projections: a live table in a terminal, or lines of JSON for a program.

    Args:
        as_json: True to print one object per line, whenever a status has changed.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = console()
        self._printed: object = None
        self._positions: dict[str, int] = {}
        self._speeds: dict[str, float] = {}
        self._looked_at = 0.0

    async def follow(self, look: Look) -> None:
        """Report again and again until cancelled. Without a terminal or JSON, only read the statuses."""
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
        """Report a last time, and return the statuses."""
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
        told = [_plain_status(status) for status in statuses]
        if told and told != self._printed:
            print_json({"projections": told})
            self._printed = told

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


def _plain_status(status: ProjectionStatus) -> dict[str, Any]:
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


@click.command()
@names_argument
@url_option
@read_model_option
@click.option("--once", is_flag=True, help="End at the end of the feed, instead of following it.")
@click.option(
    "--on-failure",
    type=click.Choice(["stop", "retry", "park"]),
    default="stop",
    show_default=True,
    help="Policy for an event that can't be projected.",
)
@click.option("--resume", is_flag=True, help="Retry the event at which a projection was stopped.")
@json_option
@click.pass_context
def project(
    ctx: click.Context,
    /,
    *,
    names: Sequence[str],
    url: str,
    read_model: str,
    once: bool,
    on_failure: OnFailure,
    resume: bool,
    as_json: bool,
) -> None:
    """Keep a read model up to date with a store: all projections, or those of these names.

    The command runs until it is told to stop (Ctrl-C, SIGTERM), and ends after the commit in flight. Any number of processes may run it
    at once: one of them works on each projection, and another takes over when that one is gone.
    """
    report = ProjectionReport(as_json=as_json)
    statuses = anyio.run(partial(_project, report, names, url, read_model, once=once, on_failure=on_failure, resume=resume))
    if any(status.error is not None for status in statuses):
        ctx.exit(WRONG)


async def _project(
    report: ProjectionReport, names: Sequence[str], url: str, read_model: str, *, once: bool, on_failure: OnFailure, resume: bool
) -> Sequence[ProjectionStatus]:
    async with open_workshop(url, read_model, on_failure=on_failure, creates=True) as workshop:
        projecting = Projecting(workshop, names or tuple(SHIPPED))
        if resume:
            await projecting.resume()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_when_told, projecting.stop)
            tasks.start_soon(report.follow, partial(projecting.look, to_end=once))
            await projecting.run(to_end=once)
            tasks.cancel_scope.cancel()
        return await report.end(projecting.look)


@attrs.frozen
class _Rebuilt:
    status: ProjectionStatus
    dropped: list[int]
    seconds: float


@click.command()
@click.argument("name", metavar="NAME", type=PROJECTION_NAME)
@url_option
@read_model_option
@json_option
@click.pass_context
def rebuild(ctx: click.Context, /, *, name: str, url: str, read_model: str, as_json: bool) -> None:
    """Rebuild the rows of a projection, and switch readers to the new rows.

    Readers get the old rows until the new ones have caught up, and then the new ones, in one step; the old rows are dropped. An
    'inventory-es project' that runs meanwhile continues with the new rows. A rebuild that was killed goes on when it is started again.
    """
    rebuilt = anyio.run(partial(_rebuild, name, url, read_model))
    if as_json:
        _print_rebuilt(rebuilt)
    else:
        _show_rebuilt(rebuilt)
    if not rebuilt.status.is_active:
        ctx.exit(WRONG)


async def _rebuild(name: str, url: str, read_model: str) -> _Rebuilt:
    started = perf_counter()
    async with open_workshop(url, read_model) as workshop:
        runner = workshop.runner(await _next(workshop.read_model, workshop.feed, name))
        await runner.resume()
        with progress_bar("rebuilding") as update:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_watch, workshop, runner, update)
                await runner.catch_up()
                tasks.cancel_scope.cancel()
        status = await runner.status()
        dropped = await _drop_older(workshop.read_model, status) if status.is_active else []
        return _Rebuilt(status, dropped, perf_counter() - started)


async def _next(model: ReadModel, feed: EventFeed, name: str) -> ProjectionId:
    """Return the version to build: one that an earlier rebuild began, or the one after the newest."""
    versions = await model.versions(name)
    if not versions:
        return ProjectionId(name, 1)
    newest = versions[-1]
    with suppress(FeedRewoundError):
        await check_feed(feed, str(newest.projection_id), newest.checkpoint.position, newest.checkpoint.mark)
        if not newest.is_active:
            return newest.projection_id
    return ProjectionId(name, newest.projection_id.version + 1)


async def _watch(workshop: Workshop, runner: ProjectionRunner, update: Callable[..., None]) -> None:
    """Show the progress, and stop the runner when another process has rebuilt the projection."""
    while True:
        status = await runner.status()
        update(completed=status.position, total=status.position + status.lag_events)
        if workshop.is_done_elsewhere(status):
            runner.stop()
        await anyio.sleep(_REBUILD_PAUSE)


async def _drop_older(model: ReadModel, status: ProjectionStatus) -> list[int]:
    older = [one.projection_id for one in await model.versions(status.projection_id.name)]
    older = [one for one in older if one.version < status.projection_id.version]
    for one in older:
        await model.drop(one)
    return [one.version for one in older]


def _print_rebuilt(rebuilt: _Rebuilt) -> None:
    status = rebuilt.status
    print_json(
        {
            "name": status.projection_id.name,
            "version": status.projection_id.version,
            "active_version": status.active.version,
            "position": status.position,
            "dropped": rebuilt.dropped,
            "error": status.error,
            "seconds": round(rebuilt.seconds, 3),
        }
    )


def _show_rebuilt(rebuilt: _Rebuilt) -> None:
    status, out = rebuilt.status, console()
    version = f"{status.projection_id.name} version {status.projection_id.version}"
    if status.is_active:
        old = f", in place of version {' and '.join(map(str, rebuilt.dropped))}" if rebuilt.dropped else ""
        what = f"is what readers ask now{old}: as of position {number(status.position)}, after {rebuilt.seconds:.1f} s"
        out.print(f"[good]✓[/] {version} {what}", soft_wrap=True)
    else:
        reason = status.error or "it was stopped before the end"
        out.print(f"[bad]✗[/] {version}: {escape(reason)}", soft_wrap=True)
        out.print(
            f"[quiet]  Readers ask version {status.active.version} as before. Started again, it goes on from there.[/]", soft_wrap=True
        )


@click.command()
@names_argument
@click.option("--url", type=STORE_URL, envvar="INVENTORY_ES_URL", show_envvar=True, help="URL of the store, such as file:stock.")
@click.option("--read-model", metavar="FILE", type=FilePath(dir_okay=False), help="SQLite file with the rows of projections.")
@click.option("--bus", type=BUS_URL, help="Ask this bus in place of projections.")
@click.option("--group", help="Group of consumers of the bus.")
@click.option("--retry", "retried", metavar="STREAM", type=STREAM_NAME, help="Apply, or deliver, the dead letters of this stream again.")
@click.option("--drop", "dropped", metavar="STREAM", type=STREAM_NAME, help="Drop the dead letters of this stream without applying them.")
@json_option
@click.pass_context
def parked(
    ctx: click.Context,
    /,
    *,
    names: Sequence[str],
    url: str | None,
    read_model: str | None,
    bus: str | None,
    group: str | None,
    retried: StreamId | None,
    dropped: StreamId | None,
    as_json: bool,
) -> None:
    """List the dead letters of projections or of a group, or retry or drop those of one stream.

    With --on-failure park, 'inventory-es project' makes dead letters of an event that can't be projected and of all later events of its
    stream. A bus makes one of an event that a group has refused too often. With --bus and --group, the command is about these, and
    --retry delivers those of a stream again. The exit code is 1 while there are dead letters. A 'project' or 'consume' may run meanwhile.
    With --json, print one object per event, each on its line.
    """
    if bus is not None and group is not None:
        _parked_in_group(ctx, bus, group, retried, as_json=as_json, is_wrong=bool(names or dropped))
        return
    if url is None or read_model is None or bus is not None or group is not None:
        msg = "give --url and --read-model for dead letters of projections, or --bus and --group for those of a group"
        raise click.UsageError(msg)
    stream = retried or dropped
    if stream is None:
        events = run(partial(_list, names or tuple(SHIPPED), url, read_model), url)
        _show_parked(events, as_json=as_json)
        if events:
            ctx.exit(WRONG)
        return
    if len(names) != 1 or (retried is not None and dropped is not None):
        msg = "--retry or --drop, one of them, goes with the NAME of one projection"
        raise click.UsageError(msg)
    count = run(partial(_settle, names[0], url, read_model, stream, is_retried=retried is not None), url)
    _show_settled(names[0], stream, count, done="applied" if retried is not None else "dropped", as_json=as_json)
    if not count:
        ctx.exit(WRONG)


def _parked_in_group(ctx: click.Context, bus: str, group: str, retried: StreamId | None, *, as_json: bool, is_wrong: bool) -> None:
    if is_wrong:
        msg = "--bus and --group go with --retry, but with no NAME and not with --drop: a bus keeps its dead letters"
        raise click.UsageError(msg)
    if retried is None:
        events = anyio.run(partial(_list_group, bus, group))
        _show_parked(events, as_json=as_json)
        if events:
            ctx.exit(WRONG)
        return
    count = anyio.run(partial(_redeliver, bus, group, retried))
    _show_settled(group, retried, count, done="delivered again", as_json=as_json)
    if not count:
        ctx.exit(WRONG)


async def _list_group(url: str, group: str) -> list[tuple[str, Row]]:
    async with open_bus(url) as bus:
        return [(group, _row_of(letter)) for letter in await bus.dead_letters(group, limit=_MOST_LETTERS)]


async def _redeliver(url: str, group: str, stream: StreamId) -> int:
    async with open_bus(url) as bus:
        letters = await bus.dead_letters(group, limit=_MOST_LETTERS)
        return await bus.redeliver(group, [letter.event.event_id for letter in letters if letter.event.stream == stream])


def _row_of(letter: DeadLetter) -> Row:
    event = letter.event
    place: Row = {"position": event.position, "stream": event.stream.text, "version": event.version, "event_type": event.event_type}
    return {**place, "error": letter.reason, "deliveries": letter.deliveries, "at": letter.since.isoformat()}


async def _list(names: Sequence[str], url: str, read_model: str) -> list[tuple[str, Row]]:
    found: list[tuple[str, Row]] = []
    async with open_workshop(url, read_model, on_failure="park") as workshop:
        for name in [one for one in names if await workshop.read_model.versions(one)]:
            events, after = await workshop.parked(name), 0
            while rows := await events.list(after=after, limit=_PAGE):
                found += [(name, row) for row in rows]
                after = int(rows[-1]["position"] or 0)
    return found


async def _settle(name: str, url: str, read_model: str, stream: StreamId, *, is_retried: bool) -> int:
    async with open_workshop(url, read_model, on_failure="park") as workshop:
        events = await workshop.parked(name)
        return await (events.retry(stream) if is_retried else events.drop(stream))


def _show_parked(events: Sequence[tuple[str, Row]], *, as_json: bool) -> None:
    if as_json:
        for name, row in events:
            print_json({"name": name, **row})
        return
    out = console()
    if not events:
        out.print("[good]✓[/] nothing is parked")
    streams: dict[tuple[str, Any], list[Row]] = {}
    for name, row in events:
        streams.setdefault((name, row["stream"]), []).append(row)
    for (name, stream), rows in streams.items():
        count = "1 event" if len(rows) == 1 else f"{number(len(rows))} events"
        first = rows[0]
        out.print(f"[bad]✗[/] {name}: {count} of {escape(str(stream))}, from version {first['version']} on", soft_wrap=True)
        out.print(f"[quiet]  {escape(str(first['event_type']))}: {escape(str(first['error']))}[/]", soft_wrap=True)


def _show_settled(name: str, stream: StreamId, count: int, *, done: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "stream": stream.text, "dropped" if done == "dropped" else "retried": count})
        return
    what = f"{number(count)} {'event' if count == 1 else 'events'} of {escape(stream.text)}"
    if count:
        console().print(f"[good]✓[/] {name}: {what} {done}", soft_wrap=True)
    else:
        console().print(f"[bad]✗[/] {name}: nothing of {escape(stream.text)} is parked", soft_wrap=True)


@click.command()
@click.argument("action", type=click.Choice(["rewind"]))
@url_option
@read_model_option
@click.option("--to", metavar="N", type=click.IntRange(min=0), required=True, help="Last position that is not published again; 0 for all.")
@click.option("--name", default=RELAY, show_default=True, help="Name of the relay's checkpoint.")
@json_option
def relay(*, action: str, url: str, read_model: str, to: int, name: str, as_json: bool) -> None:  # noqa: ARG001  # the only action
    """Publish events to a bus again, from a position on.

    'rewind' sets the relay back, after the bus has lost events. A relay may run meanwhile, and goes on from there. Consumers get events
    twice, and recognise them by stream and version.
    """
    run(partial(_rewind, name, url, read_model, to), url)
    if as_json:
        print_json({"name": name, "position": to})
    else:
        console().print(f"[good]✓[/] {escape(name)} publishes the events after position {number(to)} again", soft_wrap=True)


async def _rewind(name: str, url: str, read_model: str, to: int) -> None:
    async with open_workshop(url, read_model) as workshop:
        try:
            await rewind_relay(name, feed=workshop.feed, read_model=workshop.read_model, to=to)
        except ValueError as problem:  # a position or a name that does not go
            raise click.UsageError(str(problem)) from problem
