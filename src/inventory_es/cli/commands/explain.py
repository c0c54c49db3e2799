"""``inventory-es explain``."""

from functools import partial

import anyio
import click
from rich.markup import escape

from inventory_es.application.results import Explanation, Hold
from inventory_es.cli.commands.stock import show_level
from inventory_es.cli.events_table import instant, print_events
from inventory_es.cli.options import inventory_arguments, json_option, url_option
from inventory_es.cli.reading import UnknownProductError, open_to_read
from inventory_es.cli.tables import Column, print_table
from inventory_es.cli.terminal import console, number, print_json

_HOLDS = (
    Column("reservation", least=8, folds=True),
    Column("units", is_figure=True),
    Column("since", least=19, leave_out=1),
    Column("until", least=19, leave_out=3),
    Column("waits for", leave_out=2),
)


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
    if explanation.level.version == 0:
        raise UnknownProductError(product, store)


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
        out.print()
        out.print(f"[title]Reserved[/] by {number(len(explanation.holds) + explanation.holds_left_out)} open reservations, oldest first")
        print_table(out, _HOLDS, map(_cells, explanation.holds))
        if explanation.holds_left_out:
            out.print(f"[quiet]… and {number(explanation.holds_left_out)} more: --holds lists them[/]")
    if explanation.movements:
        out.print()
        out.print("[title]Last events[/], newest first")
        print_events(out, explanation.movements)


def _cells(hold: Hold) -> tuple[str, ...]:
    until = "firm" if hold.expires_at is None else instant(hold.expires_at)
    return escape(hold.reservation_id), number(hold.remaining), instant(hold.reserved_at), until, hold.waits_for
