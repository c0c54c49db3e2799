"""``inventory-es demo``."""

import click

from inventory_es.cli.demo_day import OPENING, DemoDay
from inventory_es.cli.options import StoreUrl, json_option
from inventory_es.cli.replay_command import run_and_tell


@click.command()
@click.option("--url", type=StoreUrl(), default="memory:", show_default=True, help="The store, such as file:stock.")
@click.option("--invoices", metavar="N", type=click.IntRange(1, 36_000), default=1_000, show_default=True, help="Invoices of the day.")
@click.option("--seed", metavar="N", type=int, default=1, show_default=True, help="Which day: the same seed, the same day.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, *, url: str, invoices: int, seed: int, as_json: bool) -> None:
    """Sell a made-up day of a gift shop, and show what happened. Needs no file, and writes none unless --url says so."""
    run_and_tell(ctx, DemoDay(invoices=invoices, seed=seed), url, opening=OPENING, skip_bad=False, as_json=as_json)
