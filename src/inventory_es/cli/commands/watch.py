"""``inventory-es watch``."""

from contextlib import AsyncExitStack
from functools import partial

import anyio
import click
from rich.live import Live

from inventory_es.adapters.sqlite import open_sqlite_read_model
from inventory_es.application.following.subscription import feed_of
from inventory_es.cli.options import FilePath, json_option, url_option
from inventory_es.cli.reading import check_read_model, open_to_read
from inventory_es.cli.stopping import stop_when_told
from inventory_es.cli.terminal import console, print_json
from inventory_es.cli.watching import Watching

_PAUSE = 0.25


@click.command()
@url_option
@click.option("--read-model", metavar="FILE", type=FilePath(dir_okay=False), help="Show how far behind its projections are, too.")
@click.option(
    "--window", metavar="N", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="Look back over the last N events."
)
@click.option("--once", is_flag=True, help="Print one frame and end.")
@click.option("--rows", metavar="N", type=click.IntRange(min=1), help="Show at most N products, instead of as many as have room.")
@json_option
def command(*, url: str, read_model: str | None, window: int, once: bool, rows: int | None, as_json: bool) -> None:
    """Watch a store live: what sells most, what is left of it, how many events arrive, and who is behind.

    Runs until it is told to stop (Ctrl-C). With --json, one frame as an object; with --once, one for people.
    """
    if not (once or as_json or console().is_terminal):
        msg = "watching needs a terminal: --once prints one frame, --json one for programs"
        raise click.UsageError(msg)
    anyio.run(partial(_watch, url, read_model, window, rows, is_live=not (once or as_json), as_json=as_json))


async def _watch(url: str, read_model: str | None, window: int, rows: int | None, *, is_live: bool, as_json: bool) -> None:
    async with AsyncExitStack() as stack:
        if read_model is not None:
            check_read_model(read_model)
        inventory = await stack.enter_async_context(open_to_read(url))
        model = None if read_model is None else await stack.enter_async_context(open_sqlite_read_model(read_model))
        watching = Watching(url, feed_of(inventory.store), model, window=window)
        await watching.catch_up()
        if is_live:
            await _run(watching, rows)
        elif as_json:
            print_json((await watching.frame()).to_dict(rows))
        else:
            out = console()
            out.print((await watching.frame()).render(out, rows=rows))


async def _run(watching: Watching, rows: int | None) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_when_told, watching.stop)
        tasks.start_soon(_draw, watching, rows)
        await watching.follow()
        tasks.cancel_scope.cancel()


async def _draw(watching: Watching, rows: int | None) -> None:
    out = console()
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            live.update((await watching.frame()).render(out, rows=rows), refresh=True)
            await anyio.sleep(_PAUSE)
