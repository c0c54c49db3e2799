"""``inventory-es replay``."""

from pathlib import Path

import click

from inventory_es.cli.options import FilePath, json_option, url_option
from inventory_es.cli.replay.order_lines import COLUMNS, DESCRIPTION, STORE, DateOrder, Reading
from inventory_es.cli.replay.orders_file import OrdersFile
from inventory_es.cli.replay_command import run_and_tell


def _encoding(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        "".encode(value)
    except LookupError:
        msg = f"{value!r} is no encoding of text; utf-8, cp1252 and utf-16 are some"
        raise click.BadParameter(msg) from None
    return value


def _columns(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for value in values:
        column, _, name = value.partition("=")
        if column not in {*COLUMNS, DESCRIPTION} or not name.strip():
            msg = f"{value!r} is not COLUMN=NAME, with one of {', '.join((*COLUMNS, DESCRIPTION))} and its name in the file"
            raise click.BadParameter(msg)
        columns[column] = name.strip()
    return columns


@click.command()
@click.argument("orders", metavar="ORDERS.csv[.gz]", type=FilePath(exists=True, dir_okay=False, path_type=Path))
@url_option
@click.option("--opening", metavar="N", type=click.IntRange(0, 10**9), help="Open each inventory with N units, and refuse what lacks.")
@click.option("--skip-bad", is_flag=True, help="Leave out lines that make no sense, and say which, instead of stopping.")
@click.option("--store", "store_id", metavar="STORE", default=STORE, show_default=True, help="The store that all lines belong to.")
@click.option(
    "--dates",
    metavar="ORDER",
    type=click.Choice(["day-first", "month-first"]),
    help="How dates such as 12/1/2010 8:26 are meant: day-first or month-first.",
)
@click.option(
    "--column",
    "columns",
    metavar="COLUMN=NAME",
    multiple=True,
    callback=_columns,
    help="The name that a column has in the file, such as StockCode='Item number'.",
)
@click.option(
    "--encoding",
    metavar="NAME",
    default="utf-8",
    show_default=True,
    callback=_encoding,
    help="The encoding of a file without a byte order mark, such as cp1252.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    orders: Path,
    url: str,
    opening: int | None,
    skip_bad: bool,
    as_json: bool,
    store_id: str,
    dates: DateOrder | None,
    columns: dict[str, str],
    encoding: str,
) -> None:
    """Bring a file of orders into an inventory, exactly once.

    The file has the columns InvoiceNo, StockCode, Quantity and InvoiceDate, in the order of the dates. All lines of an invoice with a
    Quantity above zero, within a day, are one order, sold as a whole or refused as a whole. An InvoiceNo that begins with C brings units
    back; another Quantity below zero writes units off. Without --opening, what lacks is received first.

    Killed and started again, it goes on where it stopped; started after the end, it changes nothing. An invoice that is in from another
    file is skipped; the same number with another content is refused, before anything is written.
    """
    reading = Reading(store_id=store_id, dates=dates, columns=columns, encoding=encoding)
    run_and_tell(ctx, OrdersFile(orders, reading), url, opening=opening, skip_bad=skip_bad, as_json=as_json)
