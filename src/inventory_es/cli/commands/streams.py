"""``inventory-es streams``."""

from collections.abc import AsyncIterator
from functools import partial

import anyio
import click

from inventory_es.cli.options import json_option, url_option
from inventory_es.cli.reading import open_to_read
from inventory_es.cli.terminal import print_json
from inventory_es.ports import EventStore, StreamHead
from inventory_es.ports.errors import UnsupportedCapabilityError
from inventory_es.ports.event_store import StreamCatalogue

_PAGE = 1_000


@click.command()
@click.argument("prefix", metavar="[PREFIX]", default="")
@url_option
@json_option
def command(*, prefix: str, url: str, as_json: bool) -> None:
    """List the streams of a store whose names start with PREFIX, each with its version.

    The stream of a product in a store is inventory-PRODUCT-STORE. With --json, one object a line.
    """
    anyio.run(partial(_list, url, prefix, as_json=as_json))


async def _list(url: str, prefix: str, *, as_json: bool) -> None:
    async with open_to_read(url) as inventory:
        async for head in _heads(inventory.store, prefix):
            if as_json:
                print_json({"stream": head.stream.text, "version": head.version})
            else:
                click.echo(f"{head.version:>9}  {head.stream.text}")


async def _heads(store: EventStore, prefix: str) -> AsyncIterator[StreamHead]:
    if not isinstance(store, StreamCatalogue):
        raise UnsupportedCapabilityError(
            store=type(store).__name__, capability="catalogue of streams", way_out="ask for the ones that you know"
        )
    last, is_end = None, False
    while not is_end:
        page = await store.streams(prefix, after=last, limit=_PAGE)
        for head in page.heads:
            yield head
            last = head.stream
        is_end = page.is_end
