"""``inventory-es streams``."""

from functools import partial

import anyio
import click

from inventory_es.application.commands.stream_heads import stream_heads
from inventory_es.cli.options import json_option, url_option
from inventory_es.cli.reading import open_to_read
from inventory_es.cli.terminal import print_json, print_line


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
        async for head in stream_heads(inventory.store, prefix):
            if as_json:
                print_json({"stream": head.stream.text, "version": head.version})
            else:
                print_line(f"{head.version:>9}  {head.stream.text}")
