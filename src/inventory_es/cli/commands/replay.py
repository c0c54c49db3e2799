"""``inventory-es replay``."""

from pathlib import Path

import click

from inventory_es.cli.options import FilePath, json_option, url_option
from inventory_es.cli.replay.sources import OrdersFile
from inventory_es.cli.replay_command import run_and_tell


@click.command()
@click.argument("orders", metavar="ORDERS.csv[.gz]", type=FilePath(exists=True, dir_okay=False, path_type=Path))
@url_option
@click.option("--opening", metavar="N", type=click.IntRange(0, 10**9), help="Open each inventory with N units, and refuse what lacks.")
@click.option("--skip-bad", is_flag=True, help="Leave out lines that make no sense, and say which, instead of stopping.")
@click.option("--process", "is_process", is_flag=True, help="Hold each order, pay it later, ship it in parcels; leave one in fifty unpaid.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, *, orders: Path, url: str, opening: int | None, skip_bad: bool, is_process: bool, as_json: bool) -> None:
    """Bring a file of orders into an inventory, exactly once.

    The file has the columns InvoiceNo, StockCode, Quantity and InvoiceDate, in the order of the dates. All lines of an invoice with a
    Quantity above zero, within a day, are one order, sold as a whole or refused as a whole. An InvoiceNo that begins with C brings units
    back; another Quantity below zero writes units off. Without --opening, what lacks is received first.

    Killed and started again, it goes on where it stopped; started after the end, it changes nothing. An invoice that is in from another
    file is skipped; the same number with another content is refused, before anything is written.
    """
    run_and_tell(ctx, OrdersFile(orders), url, opening=opening, skip_bad=skip_bad, is_process=is_process, as_json=as_json)
