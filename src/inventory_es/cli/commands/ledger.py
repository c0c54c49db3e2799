"""``inventory-es ledger``."""

from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
import attrs
import click
from rich.table import Table

from inventory_es.application.query_results import MovementRow
from inventory_es.cli.events_table import instant
from inventory_es.cli.movements import movements_in_rows, movements_in_stream
from inventory_es.cli.options import Source, inventory_arguments, json_option, source_options
from inventory_es.cli.terminal import console, number, print_json
from inventory_es.domain.identifiers import InventoryId

_BLOCK = 1_000


@click.command()
@inventory_arguments
@source_options
@click.option("--last", metavar="N", type=click.IntRange(min=1), help="The last N movements alone.")
@json_option
def command(*, product: str, store: str, source: Source, last: int | None, as_json: bool) -> None:
    """List the movements of a product in a store with the running balance, oldest first. With --json, one object a line.

    From the stream (--url), or from the rows of the projection 'ledger' (--read-model), as far as that one is.
    """
    anyio.run(partial(_list, InventoryId(product, store), source, last=last, as_json=as_json))


async def _list(inventory_id: InventoryId, source: Source, *, last: int | None, as_json: bool) -> None:
    movements_in = movements_in_rows if source.is_read_model else movements_in_stream
    block: list[MovementRow] = []
    is_first = True
    async with aclosing(movements_in(source.place, inventory_id, last)) as movements:
        async for row in movements:
            if as_json:
                print_json(_plain(row))
                continue
            block.append(row)
            if len(block) == _BLOCK:
                console().print(_table(block, show_header=is_first))
                block, is_first = [], False
    if not as_json and (block or is_first):
        console().print(_table(block, show_header=is_first))


def _table(rows: list[MovementRow], *, show_header: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="quiet", show_header=show_header)
    table.add_column("version", justify="right", style="quiet", min_width=7)
    table.add_column("time", no_wrap=True, min_width=19)
    table.add_column("movement", no_wrap=True, min_width=12)
    table.add_column("± hand", justify="right", min_width=7)
    table.add_column("± held", justify="right", min_width=7)
    table.add_column("on hand", justify="right", min_width=7)
    table.add_column("reserved", justify="right", min_width=8)
    for row in rows:
        table.add_row(
            str(row.version),
            instant(row.recorded_at),
            _words(row),
            _signed(row.on_hand_change),
            _signed(row.reserved_change),
            number(row.on_hand),
            number(row.reserved),
        )
    return table


def _words(row: MovementRow) -> str:
    what = row.event_type.removeprefix("Stock").removeprefix("Reservation").removesuffix("Event").lower()
    return what if row.reason is None else row.reason.lower().replace("_", " ")


def _signed(units: int) -> str:
    return f"[{'good' if units > 0 else 'bad'}]{units:+,}[/]" if units else ""


def _plain(row: MovementRow) -> dict[str, Any]:
    return {**attrs.asdict(row), "recorded_at": row.recorded_at.isoformat()}
