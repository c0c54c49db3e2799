"""What ``replay`` and ``demo`` share: run, show, and end with the right code."""

import click

from inventory_es.cli.failures import WRONG
from inventory_es.cli.output import tell
from inventory_es.cli.progress_bar import replay_bar
from inventory_es.cli.replay.orders_file import OrderSource
from inventory_es.cli.replay_report import print_report
from inventory_es.cli.replay_run import run_replay
from inventory_es.cli.terminal import console, print_json


def run_and_tell(ctx: click.Context, source: OrderSource, url: str, *, opening: int | None, skip_bad: bool, as_json: bool) -> None:
    """Bring the orders in and tell how it went, with the exit code of a refusal if something does not add up."""
    run = run_replay(source, url, opening=opening, skip_bad=skip_bad, bar=replay_bar, warn=_warn)
    if as_json:
        print_json(run.to_dict())
        for violation in run.audit.violations:
            _warn(violation)
    else:
        print_report(console(), run, name=source.name, url=url)
    if run.audit.violations:
        ctx.exit(WRONG)


def _warn(text: str) -> None:
    tell(f"inventory-es: {text}")
