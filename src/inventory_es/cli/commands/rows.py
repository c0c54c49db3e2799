"""Commands over many rows, from streams or from a read model: ``plot``, ``low-stock`` and ``ledger``."""

import csv
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

import attrs
import click
from rich.markup import escape

from inventory_es.application.projections.ledger import MovementRow
from inventory_es.application.projections.stock_levels import StockRow
from inventory_es.cli.charts import StockPoint, stock_chart, stock_picture, stock_series
from inventory_es.cli.options import TIME, FilePath, inventory_arguments, json_option, source_options
from inventory_es.cli.reading import UnknownProductError, run
from inventory_es.cli.rows import Source
from inventory_es.cli.tables import Column, LongTable, console, instant, number, print_json, print_table
from inventory_es.domain.identifiers import InventoryId

_FORMS = (".png", ".svg", ".pdf")
_MOST_ROWS = 16
_AROUND_THE_CHART = 7
_THRESHOLD_COLUMNS = ("product_id", "threshold")
_LEVELS = (
    Column("product", folds=True),
    Column("store", least=4, leave_out=5, folds=True),
    Column("available", is_figure=True),
    Column("threshold", is_figure=True, leave_out=2, style="quiet"),
    Column("on hand", is_figure=True, leave_out=4),
    Column("reserved", is_figure=True, leave_out=3),
    Column("last moved", least=19, leave_out=1, style="quiet"),
)
_MOVEMENTS = (
    Column("version", is_figure=True, leave_out=3, style="quiet"),
    Column("time", least=19, leave_out=1),
    Column("movement", width=12, leave_out=4),
    Column("± hand", is_figure=True, width=7, leave_out=5),
    Column("± held", is_figure=True, width=7, leave_out=2),
    Column("on hand", is_figure=True),
    Column("reserved", is_figure=True),
)


@click.command()
@inventory_arguments
@source_options
@click.option("--out", metavar="FILE.png", type=FilePath(dir_okay=False, path_type=Path), help="Write a picture: .png, .svg or .pdf.")
@click.option("--threshold", metavar="N", type=click.IntRange(min=0), help="Mark the times at which at most N units were available.")
@click.option("--since", metavar="TIME", type=TIME, help="Time of the first point, such as 2010-12-01T17:00 (UTC).")
@click.option("--until", metavar="TIME", type=TIME, help="Time of the last point.")
@json_option
def plot(
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

    The chart is drawn in the terminal, or with --out as a picture, which needs the extra 'plot'. With --json, print one point per line.

    The figures come from the stream (--url), or from the rows of the projection 'ledger' (--read-model) as far as it is.
    """
    if out is not None:
        _check_form(out)
    inventory_id = InventoryId(product, store)
    points = run(partial(_points, inventory_id, source, since=since, until=until), *source.urls)
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
        _show_chart(inventory_id, points, threshold)
    else:
        console().print(f"[good]✓[/] {escape(str(out))}: {_subtitle(points)}", soft_wrap=True)


async def _points(inventory_id: InventoryId, source: Source, *, since: datetime | None, until: datetime | None) -> list[StockPoint]:
    if since is not None and until is not None and since >= until:
        msg = "--since is not before --until"
        raise click.UsageError(msg)
    async with aclosing(source.movements(inventory_id, None)) as movements:
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


def _show_chart(inventory_id: InventoryId, points: Sequence[StockPoint], threshold: int | None) -> None:
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


@attrs.frozen
class Thresholds:
    """Available units at or below which a product is low.

    Attributes:
        usual: the threshold of every product without its own, 0 or more.
        own: the thresholds of single products, by product id.
    """

    usual: int
    own: Mapping[str, int] = attrs.field(factory=dict[str, int])

    def of(self, product_id: str) -> int:
        """Return the threshold of a product."""
        return self.own.get(product_id, self.usual)


def read_thresholds(path: Path) -> dict[str, int]:
    """Read thresholds from a CSV file in UTF-8 with the columns ``product_id`` and ``threshold``.

    Raises:
        click.BadParameter: a line is invalid; the message gives its number.
    """
    found: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            missing = [name for name in _THRESHOLD_COLUMNS if name not in (table.fieldnames or ())]
            if missing:
                _refuse(path, 1, f"column {missing[0]} is missing")
            for row in table:
                product, threshold = row["product_id"], (row["threshold"] or "").strip()
                if not product or product in found:
                    _refuse(path, table.line_num, "product_id is twice" if product else "product_id is empty")
                if not (threshold.isascii() and threshold.isdigit() and len(threshold) <= 15):
                    _refuse(path, table.line_num, "threshold must be a whole number of 0 or more")
                found[product] = int(threshold)
    except csv.Error as problem:
        _refuse(path, len(found) + 2, str(problem))
    except UnicodeDecodeError:
        msg = f"{path}: it is not UTF-8"
        raise click.BadParameter(msg) from None
    return found


def _refuse(path: Path, line: int, reason: str) -> NoReturn:
    msg = f"{path}:{line}: {reason}"
    raise click.BadParameter(msg)


@click.command(name="low-stock")
@source_options
@click.option(
    "--threshold",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Available units at or below which a product is low.",
)
@click.option(
    "--thresholds",
    metavar="FILE.csv",
    type=FilePath(exists=True, dir_okay=False, path_type=Path),
    help="Thresholds of single products: columns product_id and threshold.",
)
@click.option("--store", metavar="STORE", help="List this store only.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=50, show_default=True, help="List at most N products, the lowest first."
)
@json_option
def low_stock(*, source: Source, threshold: int, thresholds: Path | None, store: str | None, limit: int, as_json: bool) -> None:
    """List products at or below their threshold, the lowest first. Reserved units are not available.

    The figures come from the streams (--url), or from the rows of the projection 'stock_levels' (--read-model) as far as it is.
    With --json, print one object per line.
    """
    limits = Thresholds(threshold, {} if thresholds is None else read_thresholds(thresholds))
    low = run(partial(_low, source, limits, store), *source.urls)
    if as_json:
        for row in low[:limit]:
            print_json({**row.to_dict(), "threshold": limits.of(row.product_id)})
    else:
        _show_low(low, limits, limit)


async def _low(source: Source, limits: Thresholds, store: str | None) -> list[StockRow]:
    low = [row async for row in source.levels(store) if row.available <= limits.of(row.product_id)]
    return sorted(low, key=lambda row: (row.available, row.product_id, row.store_id))


def _show_low(low: list[StockRow], limits: Thresholds, limit: int) -> None:
    out = console()
    if not low:
        out.print("[good]✓[/] nothing is low")
        return
    print_table(out, _LEVELS, [_level_cells(row, limits) for row in low[:limit]])
    if len(low) > limit:
        out.print(f"[quiet]… and {number(len(low) - limit)} more: --limit lists them[/]")


def _level_cells(row: StockRow, limits: Thresholds) -> tuple[str, ...]:
    available = number(row.available) if row.available > 0 else f"[bad]{row.available:,}[/]"
    figures = (available, number(limits.of(row.product_id)), number(row.on_hand), number(row.reserved))
    return escape(row.product_id), escape(row.store_id), *figures, instant(row.recorded_at)


@click.command()
@inventory_arguments
@source_options
@click.option("--last", metavar="N", type=click.IntRange(min=1), help="List only the last N movements.")
@json_option
def ledger(*, product: str, store: str, source: Source, last: int | None, as_json: bool) -> None:
    """List the movements of a product in a store with the running balance, oldest first.

    The movements come from the stream (--url), or from the rows of the projection 'ledger' (--read-model) as far as it is.
    With --json, print one object per line.
    """
    run(partial(_list, InventoryId(product, store), source, last=last, as_json=as_json), *source.urls)


async def _list(inventory_id: InventoryId, source: Source, *, last: int | None, as_json: bool) -> None:
    table, is_known = LongTable(console(), _MOVEMENTS), False
    async with aclosing(source.movements(inventory_id, last)) as movements:
        async for row in movements:
            is_known = True
            if as_json:
                print_json(row.to_dict())
            else:
                table.add(_movement_cells(row))
    if not is_known:
        raise UnknownProductError(inventory_id.product_id, inventory_id.store_id)
    if not as_json:
        table.end()


def _movement_cells(row: MovementRow) -> tuple[str, ...]:
    changes = (_signed(row.on_hand_change), _signed(row.reserved_change))
    return str(row.version), instant(row.recorded_at), _words(row), *changes, number(row.on_hand), number(row.reserved)


def _words(row: MovementRow) -> str:
    what = row.event_type.removeprefix("Stock").removeprefix("Reservation").removesuffix("Event").lower()
    return what if row.reason is None else row.reason.lower().replace("_", " ")


def _signed(units: int) -> str:
    return f"[{'good' if units > 0 else 'bad'}]{units:+,}[/]" if units else ""
