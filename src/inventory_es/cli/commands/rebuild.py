"""``inventory-es rebuild``."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import perf_counter

import anyio
import attrs
import click
from rich.markup import escape

from inventory_es.adapters.sqlite import open_sqlite_read_model
from inventory_es.application.following.projection import ProjectionStatus
from inventory_es.application.following.runner import ProjectionRunner
from inventory_es.application.following.subscription import check_feed, feed_of
from inventory_es.cli.failures import WRONG
from inventory_es.cli.options import ProjectionName, json_option, read_model_option, url_option
from inventory_es.cli.progress_bar import rebuild_bar
from inventory_es.cli.projecting import Workshop
from inventory_es.cli.reading import check_read_model, open_to_read
from inventory_es.cli.terminal import console, number, print_json
from inventory_es.ports import EventFeed, ProjectionId, ReadModel
from inventory_es.ports.errors import FeedRewoundError

_PAUSE = 0.2


@attrs.frozen
class _Rebuilt:
    status: ProjectionStatus
    dropped: list[int]
    seconds: float


@click.command()
@click.argument("name", metavar="NAME", type=ProjectionName())
@url_option
@read_model_option
@json_option
@click.pass_context
def command(ctx: click.Context, /, *, name: str, url: str, read_model: str, as_json: bool) -> None:
    """Build the rows of a projection anew beside the old ones, and change over to them.

    Readers ask the old rows until the new ones have caught up, then the new ones, in one step; the old ones are dropped. A
    'inventory-es project' that runs meanwhile goes on with the new ones. Killed and started again, it goes on where it stopped.
    """
    rebuilt = anyio.run(partial(_rebuild, name, url, read_model))
    if as_json:
        _print_json(rebuilt)
    else:
        _show(rebuilt)
    if not rebuilt.status.is_active:
        ctx.exit(WRONG)


async def _rebuild(name: str, url: str, read_model: str) -> _Rebuilt:
    started = perf_counter()
    check_read_model(read_model)
    async with open_to_read(url) as inventory, open_sqlite_read_model(read_model) as model:
        feed = feed_of(inventory.store)
        workshop = Workshop(feed=feed, read_model=model, on_failure="stop")
        runner = workshop.runner(await _next(model, feed, name))
        await runner.resume()
        with rebuild_bar() as advanced:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_watch, workshop, runner, advanced)
                await runner.catch_up()
                tasks.cancel_scope.cancel()
        status = await runner.status()
        dropped = await _drop_older(model, status) if status.is_active else []
        return _Rebuilt(status, dropped, perf_counter() - started)


async def _next(model: ReadModel, feed: EventFeed, name: str) -> ProjectionId:
    """The version to build: one that an earlier rebuild of this store began, or the one behind the newest."""
    versions = await model.versions(name)
    if not versions:
        return ProjectionId(name, 1)
    newest = versions[-1]
    with suppress(FeedRewoundError):
        await check_feed(feed, str(newest.projection_id), newest.checkpoint.position, newest.checkpoint.mark)
        if not newest.is_active:
            return newest.projection_id
    return ProjectionId(name, newest.projection_id.version + 1)


async def _watch(workshop: Workshop, runner: ProjectionRunner, advanced: Callable[[ProjectionStatus], None]) -> None:
    """Show how far it is; and when another process has done it all, leave it to that one."""
    while True:
        status = await runner.status()
        advanced(status)
        if workshop.is_done_elsewhere(status):
            runner.stop()
        await anyio.sleep(_PAUSE)


async def _drop_older(model: ReadModel, status: ProjectionStatus) -> list[int]:
    older = [one.projection_id for one in await model.versions(status.projection_id.name)]
    older = [one for one in older if one.version < status.projection_id.version]
    for one in older:
        await model.drop(one)
    return [one.version for one in older]


def _print_json(rebuilt: _Rebuilt) -> None:
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


def _show(rebuilt: _Rebuilt) -> None:
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
