"""Commands about one product in a store: ``stock``, ``history`` and ``explain``."""

from datetime import datetime
from functools import partial

import click
from rich.markup import escape

from inventory_es.application.results import Explanation, Hold, StockLevel
from inventory_es.cli.options import MOMENT, inventory_arguments, json_option, url_option
from inventory_es.cli.reading import UnknownProductError, is_known, open_to_read, run
from inventory_es.cli.tables import EVENT_COLUMNS, Column, LongTable, console, event_cells, instant, number, print_json, print_table

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
@click.option("--as-of", metavar="TIME", type=MOMENT, help="Time of the figures, such as 2010-12-01T17:00 (UTC), or a version.")
@json_option
def stock(*, product: str, store: str, url: str, as_of: datetime | int | None, as_json: bool) -> None:
    """Show the stock of a product in a store, now or at a time."""
    level, known = run(partial(_level, url, product, store, as_of), url)
    if as_json:
        print_json(level.to_dict())
    else:
        _show_level(level)
    if not known:
        raise UnknownProductError(product, store)


async def _level(url: str, product: str, store: str, as_of: datetime | int | None) -> tuple[StockLevel, bool]:
    """Return the level, and True if anything ever happened to the product."""
    async with open_to_read(url) as inventory:
        if as_of is None or not await is_known(inventory, product, store):
            now = await inventory.stock(product, store)
            return now, now.version > 0
        chosen = {"version": as_of} if isinstance(as_of, int) else {"time": as_of}
        try:
            return await inventory.as_of(product, store, **chosen), True
        except ValueError as problem:
            raise click.BadParameter(str(problem), param_hint="--as-of") from None


def _show_level(level: StockLevel) -> None:
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


@click.command()
@inventory_arguments
@url_option
@click.option("--after", metavar="VERSION", type=click.IntRange(min=0), default=0, help="List only versions after this one.")
@json_option
def history(*, product: str, store: str, url: str, after: int, as_json: bool) -> None:
    """List the events of a product in a store, oldest first. With --json, print one object per line."""
    run(partial(_list, url, product, store, after=after, as_json=as_json), url)


async def _list(url: str, product: str, store: str, *, after: int, as_json: bool) -> None:
    table = LongTable(console(), EVENT_COLUMNS)
    async with open_to_read(url) as inventory:
        if not await is_known(inventory, product, store):
            raise UnknownProductError(product, store)
        async for entry in inventory.history(product, store, after=after):
            if as_json:
                print_json(entry.to_dict())
            else:
                table.add(event_cells(entry))
    if not as_json:
        table.end()


@click.command()
@inventory_arguments
@url_option
@click.option("--holds", metavar="N", type=click.IntRange(min=0), default=50, show_default=True, help="List at most N open reservations.")
@click.option("--movements", metavar="N", type=click.IntRange(min=0), default=10, show_default=True, help="List at most N last events.")
@json_option
def explain(*, product: str, store: str, url: str, holds: int, movements: int, as_json: bool) -> None:
    """Explain the available figure of a product in a store: its open reservations, and its last events."""
    explanation = run(partial(_explain, url, product, store, holds=holds, movements=movements), url)
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
    _show_level(explanation.level)
    if explanation.last_count is not None:
        counted = explanation.last_count
        out.print(f"[quiet]last counted {instant(counted.recorded_at)}, version {counted.version}[/]")
    if explanation.holds:
        out.print()
        out.print(f"[title]Reserved[/] by {number(len(explanation.holds) + explanation.holds_left_out)} open reservations, oldest first")
        print_table(out, _HOLDS, map(_hold_cells, explanation.holds))
        if explanation.holds_left_out:
            out.print(f"[quiet]… and {number(explanation.holds_left_out)} more: --holds lists them[/]")
    if explanation.movements:
        out.print()
        out.print("[title]Last events[/], newest first")
        print_table(out, EVENT_COLUMNS, map(event_cells, explanation.movements))


def _hold_cells(hold: Hold) -> tuple[str, ...]:
    until = "firm" if hold.expires_at is None else instant(hold.expires_at)
    return escape(hold.reservation_id), number(hold.remaining), instant(hold.reserved_at), until, hold.waits_for
