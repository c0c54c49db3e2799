"""``inventory-es copy``."""

from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter

import anyio
import attrs
import click
from rich.markup import escape

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.retiming import Retiming
from inventory_es.application.store_copy import CopyOutcome, copy_store
from inventory_es.cli.options import Span, StoreUrl, Time, json_option
from inventory_es.cli.progress_bar import copy_bar
from inventory_es.cli.reading import open_to_read
from inventory_es.cli.terminal import console, number, print_json
from inventory_es.ports.toolkit.paths import absolute_path
from inventory_es.wiring import open_inventory


@click.command()
@click.argument("source", metavar="FROM", type=StoreUrl())
@click.argument("target", metavar="TO", type=StoreUrl())
@click.option("--recorded-after", metavar="TIME", type=Time(), help="Set back the times of events that were recorded later than this.")
@click.option("--set-back", metavar="SPAN", type=Span(), help="By how much, such as 3650d: as far as the clock stood ahead.")
@json_option
def command(*, source: str, target: str, recorded_after: datetime | None, set_back: timedelta | None, as_json: bool) -> None:
    """Copy a store into another one, of any kind: every event with its id, its time and its place in the order.

    TO is empty, or an earlier copy of FROM: what is there is compared, what lacks is copied, and what was copied is read back and
    compared. So a copy that was killed goes on when it is started again. FROM may be in use: the copy ends where FROM was when it began,
    and another run brings what came later. Nobody else may write to TO.

    With --recorded-after and --set-back the copy is the way back after a clock that stood ahead: what it recorded gets the time that a
    right clock would have given, and so do the ends of reservations. Rebuild the read models then.
    """
    if _place(source) == _place(target):
        msg = "FROM and TO are the same store"
        raise click.UsageError(msg)
    if (recorded_after is None) != (set_back is None):
        msg = "--recorded-after and --set-back go together"
        raise click.UsageError(msg)
    retiming = None
    if recorded_after is not None and set_back is not None:
        retiming = Retiming(JsonEventCodec(), after=recorded_after, by=set_back)
    started = perf_counter()
    try:
        outcome = anyio.run(_copy, source, target, retiming)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from problem
    seconds = perf_counter() - started
    if as_json:
        print_json({"source": source, "target": target, **attrs.asdict(outcome), "seconds": round(seconds, 3)})
    else:
        _show(source, target, outcome, seconds, is_retimed=retiming is not None)


def _place(url: str) -> tuple[str, str]:
    scheme, _, place = url.partition(":")
    return scheme, str(Path(absolute_path(place)).resolve()) if scheme in {"file", "sqlite"} else place


async def _copy(source: str, target: str, retiming: Retiming | None) -> CopyOutcome:
    async with open_to_read(source) as original, open_inventory(target) as copy:
        with copy_bar() as advanced:
            return await copy_store(original.store, copy.store, advanced=advanced, retiming=retiming)


def _show(source: str, target: str, outcome: CopyOutcome, seconds: float, *, is_retimed: bool) -> None:
    out = console()
    streams = "" if outcome.streams is None else f" in {number(outcome.streams)} stream{'' if outcome.streams == 1 else 's'}"
    held = f"[number]{number(outcome.events)}[/] events{streams}"
    out.print(f"[good]✓[/] {escape(target)} holds the {held} of {escape(source)}, compared one by one", soft_wrap=True)
    new = f"{number(outcome.events_now)} of them are new, in {seconds:.1f} s" if outcome.events_now else "nothing was left to copy"
    places = "every position is the same, so checkpoints hold" if outcome.keeps_positions else "positions differ: project from the start"
    if is_retimed:
        places = "their times may be others: rebuild the read models"
    out.print(f"  [quiet]{new}; {places}[/]", soft_wrap=True)
