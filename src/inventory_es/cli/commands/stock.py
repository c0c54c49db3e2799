"""``inventory-es stock``."""

from datetime import UTC, datetime

import anyio
import click
from rich.markup import escape

from inventory_es.application.results import StockLevel
from inventory_es.cli.events_table import instant
from inventory_es.cli.options import TIMES, inventory_arguments, json_option, url_option
from inventory_es.cli.reading import open_to_read
from inventory_es.cli.terminal import console, number, print_json


@click.command()
@inventory_arguments
@url_option
@click.option("--as-of", metavar="TIME", type=click.DateTime(TIMES), help="The stock at this time in UTC, such as 2010-12-01T17:00:00.")
@json_option
def command(*, product: str, store: str, url: str, as_of: datetime | None, as_json: bool) -> None:
    """Tell the stock of a product in a store, now or at a time."""
    level = anyio.run(_level, url, product, store, as_of)
    if as_json:
        print_json(level.to_dict())
    else:
        show_level(level)


def show_level(level: StockLevel) -> None:
    """The figures of one inventory, for people."""
    out = console()
    when = f"{instant(level.at)} UTC · version {level.version}"
    out.print(f"[title]{escape(level.product_id)}[/] in [title]{escape(level.store_id)}[/][quiet]  {when}[/]", soft_wrap=True)
    due = f"[quiet]  {number(level.due)} of them are due, and free for whoever asks[/]" if level.due else ""
    out.print(f"  on hand    [number]{number(level.on_hand):>12}[/]")
    out.print(f"  reserved   [number]{number(level.reserved):>12}[/]{due}", soft_wrap=True)
    out.print(f"  available  [number]{number(level.available):>12}[/]")
    if level.version == 0:
        out.print("[quiet]  Nothing had happened to it. `inventory-es streams` lists what there is.[/]", soft_wrap=True)


async def _level(url: str, product: str, store: str, as_of: datetime | None) -> StockLevel:
    async with open_to_read(url) as inventory:
        if as_of is None:
            return await inventory.stock(product, store)
        return await inventory.as_of(product, store, time=as_of.replace(tzinfo=UTC))
