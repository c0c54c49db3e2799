"""``inventory-es copy``."""

from pathlib import Path
from time import perf_counter

import anyio
import attrs
import click
from rich.markup import escape

from inventory_es.application.store_copy import CopyOutcome, copy_store
from inventory_es.cli.options import StoreUrl, json_option
from inventory_es.cli.progress_bar import copy_bar
from inventory_es.cli.reading import open_to_read
from inventory_es.cli.terminal import console, number, print_json
from inventory_es.ports.paths import absolute_path
from inventory_es.wiring import open_inventory


@click.command()
@click.argument("source", metavar="FROM", type=StoreUrl())
@click.argument("target", metavar="TO", type=StoreUrl())
@json_option
def command(*, source: str, target: str, as_json: bool) -> None:
    """Copy a store into another one, of any kind: every event with its id, its time and its place in the order.

    TO is empty, or an earlier copy of FROM: what is there is compared, what lacks is copied, and what was copied is read back and
    compared. So a copy that was killed goes on when it is started again. FROM may be in use: the copy ends where FROM was when it began,
    and another run brings what came later. Nobody else may write to TO.
    """
    if _place(source) == _place(target):
        msg = "FROM and TO are the same store"
        raise click.UsageError(msg)
    started = perf_counter()
    outcome = anyio.run(_copy, source, target)
    seconds = perf_counter() - started
    if as_json:
        print_json({"source": source, "target": target, **attrs.asdict(outcome), "seconds": round(seconds, 3)})
    else:
        _show(source, target, outcome, seconds)


def _place(url: str) -> tuple[str, str]:
    scheme, _, place = url.partition(":")
    return scheme, str(Path(absolute_path(place)).resolve()) if scheme in {"file", "sqlite"} else place


async def _copy(source: str, target: str) -> CopyOutcome:
    async with open_to_read(source) as original, open_inventory(target) as copy:
        with copy_bar() as advanced:
            return await copy_store(original.store, copy.store, advanced=advanced)


def _show(source: str, target: str, outcome: CopyOutcome, seconds: float) -> None:
    out = console()
    streams = "" if outcome.streams is None else f" in {number(outcome.streams)} streams"
    held = f"[number]{number(outcome.events)}[/] events{streams}"
    out.print(f"[good]✓[/] {escape(target)} holds the {held} of {escape(source)}, compared one by one", soft_wrap=True)
    new = f"{number(outcome.events_now)} of them are new, in {seconds:.1f} s" if outcome.events_now else "nothing was left to copy"
    places = "every position is the same, so checkpoints hold" if outcome.keeps_positions else "positions differ: project from the start"
    out.print(f"  [quiet]{new}; {places}[/]", soft_wrap=True)
