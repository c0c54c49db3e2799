"""``inventory-es stock``."""

from datetime import datetime

import anyio
import click
from rich.markup import escape

from inventory_es.application.results import StockLevel
from inventory_es.cli.events_table import instant
from inventory_es.cli.options import Moment, inventory_arguments, json_option, url_option
from inventory_es.cli.reading import UnknownProductError, is_known, open_to_read
from inventory_es.cli.terminal import console, number, print_json


@click.command()
@inventory_arguments
@url_option
@click.option(
    "--as-of",
    metavar="TIME",
    type=Moment(),
    help="The stock at a time, such as 2010-12-01T17:00 (UTC), or right after a version.",
)
@json_option
def command(*, product: str, store: str, url: str, as_of: datetime | int | None, as_json: bool) -> None:
    """Tell the stock of a product in a store, now or at a time."""
    level, known = anyio.run(_level, url, product, store, as_of)
    if as_json:
        print_json(level.to_dict())
    else:
        show_level(level)
    if not known:
        raise UnknownProductError(product, store)


def show_level(level: StockLevel) -> None:
    """The figures of one inventory, for people."""
    out = console()
    when = f"{instant(level.at)} UTC · version {level.version}"
    out.print(f"[title]{escape(level.product_id)}[/] in [title]{escape(level.store_id)}[/][quiet]  {when}[/]", soft_wrap=True)
    due = f"[quiet]  {number(level.due)} of them are due, and free for whoever asks[/]" if level.due else ""
    room = max(1, min(12, out.size.width - 13))
    out.print(f"  on hand    [number]{number(level.on_hand):>{room}}[/]", soft_wrap=True)
    out.print(f"  reserved   [number]{number(level.reserved):>{room}}[/]{due}", soft_wrap=True)
    out.print(f"  available  [number]{number(level.available):>{room}}[/]", soft_wrap=True)
    if level.version == 0:
        out.print("[quiet]  Nothing had happened to it. `inventory-es streams` lists what there is.[/]", soft_wrap=True)


async def _level(url: str, product: str, store: str, as_of: datetime | int | None) -> tuple[StockLevel, bool]:
    """The level, and whether anything ever happened to the product."""
    async with open_to_read(url) as inventory:
        if as_of is None or not await is_known(inventory, product, store):
            now = await inventory.stock(product, store)
            return now, now.version > 0
        chosen = {"version": as_of} if isinstance(as_of, int) else {"time": as_of}
        try:
            return await inventory.as_of(product, store, **chosen), True
        except ValueError as problem:
            raise click.BadParameter(str(problem), param_hint="--as-of") from None
