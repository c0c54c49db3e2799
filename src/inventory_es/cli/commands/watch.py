"""The command ``watch``."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import anyio
import click
from rich.live import Live

from inventory_es.application.following.subscription import feed_of
from inventory_es.cli.interruptions import stop_when_told
from inventory_es.cli.options import BUS_URL, GROUP_NAME, FilePath, json_option, url_option
from inventory_es.cli.reading import open_bus, open_to_read
from inventory_es.cli.rows import open_rows_to_read
from inventory_es.cli.tables import console, print_json
from inventory_es.cli.watching import WatchedGroups, Watching
from inventory_es.ports.toolkit.urls import masked

_PAUSE = 0.25


@click.command()
@url_option
@click.option("--read-model", metavar="FILE", type=FilePath(dir_okay=False), help="Show the lag of its projections, too.")
@click.option("--bus", type=BUS_URL, help="Show how far groups of this bus are behind, too. Needs --group.")
@click.option("--group", "groups", type=GROUP_NAME, multiple=True, help="Group of consumers of the bus, any number of times.")
@click.option(
    "--window", metavar="N", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="Look back over the last N events."
)
@click.option("--once", is_flag=True, help="Print one frame, and end.")
@click.option("--rows", metavar="N", type=click.IntRange(min=1), help="Show at most N products, instead of as many as have room.")
@json_option
def watch(
    *,
    url: str,
    read_model: str | None,
    bus: str | None,
    groups: Sequence[str],
    window: int,
    once: bool,
    rows: int | None,
    as_json: bool,
) -> None:
    """Watch a store live: its best sellers, their stock, the rate of events, and the lag of projections and of groups of a bus.

    The command runs until it is told to stop (Ctrl-C). With --once, print one frame for people; with --json, one frame as an object.
    """
    if not (once or as_json or console().is_terminal):
        msg = "watching needs a terminal: --once prints one frame, --json one for programs"
        raise click.UsageError(msg)
    if (bus is None) != (not groups):
        msg = "--bus and --group go together: name the groups to watch"
        raise click.UsageError(msg)
    of_bus = None if bus is None else (bus, groups)
    anyio.run(partial(_watch, url, read_model, of_bus, window, rows, is_live=not (once or as_json), as_json=as_json))


async def _watch(
    url: str,
    read_model: str | None,
    of_bus: tuple[str, Sequence[str]] | None,
    window: int,
    most: int | None,
    *,
    is_live: bool,
    as_json: bool,
) -> None:
    async with AsyncExitStack() as stack:
        rows = None if read_model is None else open_rows_to_read(read_model)
        inventory = await stack.enter_async_context(open_to_read(url))
        model = None if rows is None else await stack.enter_async_context(rows)
        groups = None if of_bus is None else WatchedGroups(await stack.enter_async_context(open_bus(of_bus[0])), of_bus[1])
        watching = Watching(masked(url), feed_of(inventory.store), model, groups, window=window)
        await watching.catch_up()
        if is_live:
            await _run(watching, most)
        elif as_json:
            print_json((await watching.frame()).to_dict(most))
        else:
            out = console()
            out.print((await watching.frame()).render(out, rows=most))


async def _run(watching: Watching, most: int | None) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_when_told, watching.stop)
        tasks.start_soon(_draw, watching, most)
        await watching.follow()
        tasks.cancel_scope.cancel()


async def _draw(watching: Watching, most: int | None) -> None:
    out = console()
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            live.update((await watching.frame()).render(out, rows=most), refresh=True)
            await anyio.sleep(_PAUSE)
