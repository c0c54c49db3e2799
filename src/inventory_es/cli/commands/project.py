"""``inventory-es project``."""

from collections.abc import Sequence
from functools import partial

import anyio
import click

from inventory_es.adapters.sqlite import open_sqlite_read_model
from inventory_es.application.following.projection import OnFailure, ProjectionStatus
from inventory_es.application.following.subscription import feed_of
from inventory_es.cli.failures import WRONG
from inventory_es.cli.options import json_option, names_argument, read_model_option, url_option
from inventory_es.cli.projecting import Projecting, Workshop
from inventory_es.cli.projection_report import ProjectionReport
from inventory_es.cli.reading import open_to_read
from inventory_es.cli.shipped_projections import SHIPPED
from inventory_es.cli.stopping import stop_when_told


@click.command()
@names_argument
@url_option
@read_model_option
@click.option("--once", is_flag=True, help="End when the end of the feed is reached, instead of following it.")
@click.option(
    "--on-failure",
    type=click.Choice(["stop", "retry", "park"]),
    default="stop",
    show_default=True,
    help="What becomes of an event that can't be projected.",
)
@click.option("--resume", is_flag=True, help="Try the event again at which a projection was stopped.")
@json_option
@click.pass_context
def command(
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
    """Keep a read model up with a store: all projections, or those of these names.

    Runs until it is told to stop (Ctrl-C, SIGTERM), and ends after the commit in flight. Any number of processes may run it at once: one
    of them works on each projection, the others take over when that one is gone.
    """
    report = ProjectionReport(as_json=as_json)
    statuses = anyio.run(partial(_project, report, names, url, read_model, once=once, on_failure=on_failure, resume=resume))
    if any(status.error is not None for status in statuses):
        ctx.exit(WRONG)


async def _project(
    report: ProjectionReport, names: Sequence[str], url: str, read_model: str, *, once: bool, on_failure: OnFailure, resume: bool
) -> Sequence[ProjectionStatus]:
    async with open_to_read(url) as inventory, open_sqlite_read_model(read_model) as model:
        projecting = Projecting(Workshop(feed=feed_of(inventory.store), read_model=model, on_failure=on_failure), names or tuple(SHIPPED))
        if resume:
            await projecting.resume()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_when_told, projecting.stop)
            tasks.start_soon(report.follow, partial(projecting.look, to_end=once))
            await projecting.run(to_end=once)
            tasks.cancel_scope.cancel()
        return await report.end(projecting.look)
