"""``inventory-es plot``."""

from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
import click
from rich.markup import escape

from inventory_es.cli.events_table import instant
from inventory_es.cli.movements import movements_in_rows, movements_in_stream
from inventory_es.cli.options import FilePath, Source, Time, inventory_arguments, json_option, source_options
from inventory_es.cli.reading import UnknownProductError
from inventory_es.cli.stock_chart import stock_chart
from inventory_es.cli.stock_picture import stock_picture
from inventory_es.cli.stock_series import StockPoint, stock_series
from inventory_es.cli.terminal import console, number, print_json
from inventory_es.domain.identifiers import InventoryId

_FORMS = (".png", ".svg", ".pdf")
_MOST_ROWS = 16
_AROUND_THE_CHART = 7


@click.command()
@inventory_arguments
@source_options
@click.option("--out", metavar="FILE.png", type=FilePath(dir_okay=False, path_type=Path), help="Write a picture: .png, .svg or .pdf.")
@click.option("--threshold", metavar="N", type=click.IntRange(min=0), help="Show where no more than N were available.")
@click.option("--since", metavar="TIME", type=Time(), help="Begin at this time, such as 2010-12-01T17:00 (UTC).")
@click.option("--until", metavar="TIME", type=Time(), help="End at this time.")
@json_option
def command(
    *,
    product: str,
    store: str,
    source: Source,
    out: Path | None,
    threshold: int | None,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
) -> None:
    """Draw the stock of a product in a store over time: on hand, reserved, available.

    In the terminal, or with --out as a picture, which needs the extra 'plot'. With --json, one point a line.

    From the stream (--url), or from the rows of the projection 'ledger' (--read-model), as far as that one is.
    """
    if out is not None:
        _check_form(out)
    inventory_id = InventoryId(product, store)
    points = anyio.run(partial(_points, inventory_id, source, since=since, until=until))
    if not points:
        if since is None and until is None:
            raise UnknownProductError(product, store)
        msg = f"nothing happened to {product} in {store} in that time: there is nothing to draw"
        raise click.ClickException(msg)
    if out is not None:
        _write(out, inventory_id, points, threshold)
    if as_json:
        for point in points:
            print_json({"at": point.at.isoformat(), "on_hand": point.on_hand, "reserved": point.reserved, "available": point.available})
    elif out is None:
        _show(inventory_id, points, threshold)
    else:
        console().print(f"[good]✓[/] {escape(str(out))}: {_subtitle(points)}", soft_wrap=True)


async def _points(inventory_id: InventoryId, source: Source, *, since: datetime | None, until: datetime | None) -> list[StockPoint]:
    if since is not None and until is not None and since >= until:
        msg = "--since is not before --until"
        raise click.UsageError(msg)
    movements_in = movements_in_rows if source.is_read_model else movements_in_stream
    async with aclosing(movements_in(source.place, inventory_id, None)) as movements:
        return await stock_series(movements, since=since, until=until)


def _check_form(out: Path) -> None:
    if out.suffix.lower() not in _FORMS:
        msg = f"{out} must end in {', '.join(_FORMS[:-1])} or {_FORMS[-1]}"
        raise click.BadParameter(msg, param_hint="--out")


def _write(out: Path, inventory_id: InventoryId, points: Sequence[StockPoint], threshold: int | None) -> None:
    title = f"{inventory_id.product_id} in {inventory_id.store_id}"
    form = out.suffix.lower().removeprefix(".")
    try:
        picture = stock_picture(points, title=title, subtitle=_subtitle(points), threshold=threshold, form=form)
    except ModuleNotFoundError as missing:
        name = str(missing.name).partition(".")[0]
        msg = f"{name} is not installed, and a picture needs it: pip install 'inventory_es[plot]'"
        raise click.UsageError(msg) from None
    out.write_bytes(picture)


def _show(inventory_id: InventoryId, points: Sequence[StockPoint], threshold: int | None) -> None:
    out = console()
    out.print(f"[title]{escape(inventory_id.product_id)}[/] in [title]{escape(inventory_id.store_id)}[/]", soft_wrap=True)
    out.print(f"[quiet]{_subtitle(points)}[/]", soft_wrap=True)
    out.print()
    height = max(4, min(_MOST_ROWS, out.size.height - _AROUND_THE_CHART))
    out.print(stock_chart(points, width=out.size.width, height=height, threshold=threshold))
    low = "" if threshold is None else f"   [bad]▲[/] {number(threshold)} or less available"
    out.print(f"\n[good]█[/] available   [yellow]▒[/] reserved{low}")


def _subtitle(points: Sequence[StockPoint]) -> str:
    last = points[-1]
    figures = f"on hand {number(last.on_hand)}, reserved {number(last.reserved)}, available {number(last.available)}"
    return f"{instant(points[0].at)} to {instant(last.at)} UTC, at the end {figures}"
