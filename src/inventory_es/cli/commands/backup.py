"""``inventory-es backup``."""

import click
from rich.markup import escape

from inventory_es.adapters.file import back_up
from inventory_es.cli.options import FilePath, folder_option, json_option
from inventory_es.cli.terminal import console, error_console, number, print_json


@click.command()
@click.argument("target", metavar="DIR", type=FilePath(file_okay=False))
@folder_option
@json_option
def command(*, target: str, folder: str, as_json: bool) -> None:
    """Copy a file store while it is in use: up to its durable end, into the new folder DIR."""
    with error_console().status("copying"):
        position = back_up(folder, target)
    if as_json:
        print_json({"source": folder, "target": target, "events": position})
    else:
        console().print(f"[good]✓[/] {number(position)} events of {escape(folder)} are in {escape(target)}, on the disk", soft_wrap=True)
