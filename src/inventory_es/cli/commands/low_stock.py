"""``inventory-es low-stock``."""

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import click
from rich.markup import escape

from inventory_es.application.projections.stock_levels import StockRow
from inventory_es.cli.events_table import instant
from inventory_es.cli.levels import levels_in_rows, levels_in_streams
from inventory_es.cli.options import FilePath, Source, json_option, source_options
from inventory_es.cli.tables import Column, print_table
from inventory_es.cli.terminal import console, number, print_json
from inventory_es.cli.thresholds import Thresholds, read_thresholds

_COLUMNS = (
    Column("product", folds=True),
    Column("store", least=4, leave_out=5, folds=True),
    Column("available", is_figure=True),
    Column("threshold", is_figure=True, leave_out=2, style="quiet"),
    Column("on hand", is_figure=True, leave_out=4),
    Column("reserved", is_figure=True, leave_out=3),
    Column("last moved", least=19, leave_out=1, style="quiet"),
)


@click.command()
@source_options
@click.option(
    "--threshold", metavar="N", type=click.IntRange(min=0), default=0, show_default=True, help="Available units at which a product is low."
)
@click.option(
    "--thresholds",
    metavar="FILE.csv",
    type=FilePath(exists=True, dir_okay=False, path_type=Path),
    help="Products with thresholds of their own: columns product_id and threshold.",
)
@click.option("--store", metavar="STORE", help="In this store alone.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), default=50, show_default=True, help="List at most N, the lowest first.")
@json_option
def command(*, source: Source, threshold: int, thresholds: Path | None, store: str | None, limit: int, as_json: bool) -> None:
    """List what is at or below its threshold, the lowest first. What is reserved is not available. With --json, one object a line.

    From the streams (--url), or from the rows of the projection 'stock_levels' (--read-model), as far as that one is.
    """
    limits = Thresholds(threshold, {} if thresholds is None else read_thresholds(thresholds))
    low = anyio.run(partial(_low, source, limits, store))
    if as_json:
        for row in low[:limit]:
            print_json(_plain(row, limits))
    else:
        _show(low, limits, limit)


async def _low(source: Source, limits: Thresholds, store: str | None) -> list[StockRow]:
    levels = levels_in_rows(source.place, store) if source.is_read_model else levels_in_streams(source.place, store)
    low = [row async for row in levels if row.available <= limits.of(row.product_id)]
    return sorted(low, key=lambda row: (row.available, row.product_id, row.store_id))


def _show(low: list[StockRow], limits: Thresholds, limit: int) -> None:
    out = console()
    if not low:
        out.print("[good]✓[/] nothing is low")
        return
    print_table(out, _COLUMNS, [_cells(row, limits) for row in low[:limit]])
    if len(low) > limit:
        out.print(f"[quiet]… and {number(len(low) - limit)} more: --limit lists them[/]")


def _cells(row: StockRow, limits: Thresholds) -> tuple[str, ...]:
    available = number(row.available) if row.available > 0 else f"[bad]{row.available:,}[/]"
    figures = (available, number(limits.of(row.product_id)), number(row.on_hand), number(row.reserved))
    return escape(row.product_id), escape(row.store_id), *figures, instant(row.recorded_at)


def _plain(row: StockRow, limits: Thresholds) -> dict[str, Any]:
    return {**attrs.asdict(row), "recorded_at": row.recorded_at.isoformat(), "threshold": limits.of(row.product_id)}
