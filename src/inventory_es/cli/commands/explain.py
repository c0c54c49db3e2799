"""``inventory-es explain``."""

from functools import partial

import anyio
import click
from rich.markup import escape
from rich.table import Table

from inventory_es.application.results import Explanation
from inventory_es.cli.commands.stock import show_level
from inventory_es.cli.events_table import events_table, instant
from inventory_es.cli.options import inventory_arguments, json_option, url_option
from inventory_es.cli.reading import open_to_read
from inventory_es.cli.terminal import console, number, print_json


@click.command()
@inventory_arguments
@url_option
@click.option("--holds", metavar="N", type=click.IntRange(min=0), default=50, show_default=True, help="Open reservations to list at most.")
@click.option("--movements", metavar="N", type=click.IntRange(min=0), default=10, show_default=True, help="Last events to list at most.")
@json_option
def command(*, product: str, store: str, url: str, holds: int, movements: int, as_json: bool) -> None:
    """Tell why the available figure is what it is: open reservations, and the last events."""
    explanation = anyio.run(partial(_explain, url, product, store, holds=holds, movements=movements))
    if as_json:
        print_json(explanation.to_dict())
    else:
        _show(explanation)


async def _explain(url: str, product: str, store: str, *, holds: int, movements: int) -> Explanation:
    async with open_to_read(url) as inventory:
        return await inventory.explain(product, store, holds=holds, movements=movements)


def _show(explanation: Explanation) -> None:
    out = console()
    show_level(explanation.level)
    if explanation.last_count is not None:
        counted = explanation.last_count
        out.print(f"[quiet]last counted {instant(counted.recorded_at)}, version {counted.version}[/]")
    if explanation.holds:
        table = Table(box=None, pad_edge=False, header_style="quiet")
        table.add_column("reservation", overflow="fold")
        table.add_column("units", justify="right")
        table.add_column("since", no_wrap=True)
        table.add_column("until", no_wrap=True)
        table.add_column("waits for")
        for hold in explanation.holds:
            until = "firm" if hold.expires_at is None else instant(hold.expires_at)
            table.add_row(escape(hold.reservation_id), number(hold.remaining), instant(hold.reserved_at), until, hold.waits_for)
        out.print()
        out.print(f"[title]Reserved[/] by {number(len(explanation.holds) + explanation.holds_left_out)} open reservations, oldest first")
        out.print(table)
        if explanation.holds_left_out:
            out.print(f"[quiet]… and {number(explanation.holds_left_out)} more: --holds lists them[/]")
    if explanation.movements:
        out.print()
        out.print("[title]Last events[/], newest first")
        out.print(events_table(explanation.movements))
