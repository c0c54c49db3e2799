"""``inventory-es backup``."""

import click
from rich.markup import escape

from inventory_es.cli.options import FilePath, adapter_of, json_option, stored_option
from inventory_es.cli.terminal import console, error_console, number, print_json


@click.command()
@click.argument("target", metavar="TARGET", type=FilePath())
@stored_option
@json_option
def command(*, target: str, url: str, as_json: bool) -> None:
    """Copy a store while it is in use, as it is at one instant: into the new folder or SQLite file TARGET.

    A copy of a SQLite file is verified before it has its name.
    """
    adapter, place = adapter_of(url)
    with error_console().status("copying"):
        position = adapter.back_up(place, target)
    if as_json:
        print_json({"source": place, "target": target, "events": position})
    else:
        console().print(f"[good]✓[/] {number(position)} events of {escape(place)} are in {escape(target)}, on the disk", soft_wrap=True)
