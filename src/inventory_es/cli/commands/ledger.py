"""``inventory-es ledger``."""

from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
import attrs
import click

from inventory_es.application.projections.ledger import MovementRow
from inventory_es.cli.events_table import instant
from inventory_es.cli.movements import movements_in_rows, movements_in_stream
from inventory_es.cli.options import Source, inventory_arguments, json_option, source_options
from inventory_es.cli.reading import UnknownProductError
from inventory_es.cli.tables import Column, print_table
from inventory_es.cli.terminal import console, number, print_json
from inventory_es.domain.identifiers import InventoryId

_BLOCK = 1_000
_COLUMNS = (
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
    is_first, is_known = True, False
    async with aclosing(movements_in(source.place, inventory_id, last)) as movements:
        async for row in movements:
            is_known = True
            if as_json:
                print_json(_plain(row))
                continue
            block.append(row)
            if len(block) == _BLOCK:
                print_table(console(), _COLUMNS, map(_cells, block), show_header=is_first)
                block, is_first = [], False
    if not is_known:
        raise UnknownProductError(inventory_id.product_id, inventory_id.store_id)
    if block:
        print_table(console(), _COLUMNS, map(_cells, block), show_header=is_first)


def _cells(row: MovementRow) -> tuple[str, ...]:
    changes = (_signed(row.on_hand_change), _signed(row.reserved_change))
    return str(row.version), instant(row.recorded_at), _words(row), *changes, number(row.on_hand), number(row.reserved)


def _words(row: MovementRow) -> str:
    what = row.event_type.removeprefix("Stock").removeprefix("Reservation").removesuffix("Event").lower()
    return what if row.reason is None else row.reason.lower().replace("_", " ")


def _signed(units: int) -> str:
    return f"[{'good' if units > 0 else 'bad'}]{units:+,}[/]" if units else ""


def _plain(row: MovementRow) -> dict[str, Any]:
    return {**attrs.asdict(row), "recorded_at": row.recorded_at.isoformat()}
