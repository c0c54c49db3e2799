"""``inventory-es history``."""

from functools import partial

import anyio
import click

from inventory_es.application.results import HistoryEntry
from inventory_es.cli.events_table import print_events
from inventory_es.cli.options import inventory_arguments, json_option, url_option
from inventory_es.cli.reading import UnknownProductError, is_known, open_to_read
from inventory_es.cli.terminal import console, print_json

_BLOCK = 1_000


@click.command()
@inventory_arguments
@url_option
@click.option("--after", metavar="VERSION", type=click.IntRange(min=0), default=0, help="Leave out versions up to this one.")
@json_option
def command(*, product: str, store: str, url: str, after: int, as_json: bool) -> None:
    """List what happened to a product in a store, oldest first. With --json, one object a line."""
    anyio.run(partial(_list, url, product, store, after=after, as_json=as_json))


async def _list(url: str, product: str, store: str, *, after: int, as_json: bool) -> None:
    block: list[HistoryEntry] = []
    is_first = True
    async with open_to_read(url) as inventory:
        if not await is_known(inventory, product, store):
            raise UnknownProductError(product, store)
        async for entry in inventory.history(product, store, after=after):
            if as_json:
                print_json(entry.to_dict())
                continue
            block.append(entry)
            if len(block) == _BLOCK:
                print_events(console(), block, show_header=is_first)
                block, is_first = [], False
    if block or (is_first and not as_json):
        print_events(console(), block, show_header=is_first)
