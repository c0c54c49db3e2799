"""Commands on whole stores: ``streams``, ``verify``, ``backup`` and ``copy``."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import attrs
import click
from rich.markup import escape

from inventory_es.adapters.serialization import JsonEventCodec
from inventory_es.application.commands.stream_heads import stream_heads
from inventory_es.application.retiming import Retiming
from inventory_es.application.store_copy import CopyOutcome, CopyProgress, copy_store
from inventory_es.cli.checks import check_rows, check_store, check_stream
from inventory_es.cli.failures import WRONG
from inventory_es.cli.interruptions import stop_when_told
from inventory_es.cli.options import (
    SPAN,
    STORE_URL,
    TIME,
    FilePath,
    adapter_of,
    json_option,
    lasting_option,
    stored_option,
    url_option,
)
from inventory_es.cli.output import tell
from inventory_es.cli.progress_bar import progress_bar
from inventory_es.cli.reading import SERVERS, open_to_read, run
from inventory_es.cli.tables import console, error_console, number, print_json, print_line
from inventory_es.ports.toolkit.paths import absolute_path
from inventory_es.ports.toolkit.urls import masked
from inventory_es.wiring import open_inventory

_AGREES = {
    "file": "journal, index, people's files and balances agree",
    "sqlite": "database, checksums, streams and balances agree",
    **dict.fromkeys(SERVERS, "feed, streams and balances agree"),
}


@click.command()
@click.argument("prefix", metavar="[PREFIX]", default="")
@url_option
@json_option
def streams(*, prefix: str, url: str, as_json: bool) -> None:
    """List the streams of a store whose ids start with PREFIX, each with its version.

    The stream of a product in a store is inventory-PRODUCT-STORE. With --json, print one object per line.
    """
    run(partial(_list, url, prefix, as_json=as_json), url)


async def _list(url: str, prefix: str, *, as_json: bool) -> None:
    async with open_to_read(url) as inventory:
        async for head in stream_heads(inventory.store, prefix):
            if as_json:
                print_json({"stream": head.stream.text, "version": head.version})
            else:
                print_line(f"{head.version:>9}  {head.stream.text}")


@click.command()
@lasting_option
@click.option("--repair", "repairs", is_flag=True, help="Rebuild derived files (index, readable copies), and add missing checksums.")
@click.option(
    "--read-model", metavar="FILE", type=click.Path(dir_okay=False), help="Compare the rows in this SQLite file with the events, too."
)
@json_option
@click.pass_context
def verify(ctx: click.Context, /, *, url: str, repairs: bool, read_model: str | None, as_json: bool) -> None:
    """Verify a store, and repair derived data.

    Of a file store, the journal, the index and the readable copies are compared with each other. Of a SQLite file, every checksum is
    computed, and events, streams and SQLite's own structures are compared. Of a PostgreSQL store, the feed, the streams and the list of
    streams are compared. The balances of every stream are folded. Events are never changed. Stop the writers of a file store before
    --repair. With --json, print one object per finding, each on its line.
    """
    scheme, _, place = url.partition(":")
    if repairs and scheme in SERVERS:
        msg = "nothing in a PostgreSQL store is derived but its indexes: REINDEX SCHEMA CONCURRENTLY makes them anew"
        raise click.UsageError(msg)
    with error_console().status("verifying"):
        findings: list[Any] = []
        if scheme in SERVERS:
            place = masked(url)
            findings += run(partial(check_store, url), url)
        else:
            adapter, _ = adapter_of(url)
            if repairs:
                adapter.repair(place)
            findings += adapter.verify(place, check_stream=check_stream)
        if read_model is not None and not findings:
            findings += run(partial(check_rows, url, read_model), url)
    if as_json:
        for finding in findings:
            print_json({**attrs.asdict(finding), "is_derived": finding.is_derived})
    else:
        _show_findings(place, findings, _AGREES[scheme])
    if findings:
        ctx.exit(WRONG)


def _show_findings(place: str, findings: Sequence[Any], agrees: str) -> None:
    out = console()
    if not findings:
        out.print(f"[good]✓[/] {escape(place)}: {agrees}", soft_wrap=True)
        return
    for finding in findings:
        out.print(f"[bad]✗[/] {finding.concern}: {escape(str(finding))}", soft_wrap=True)
    if all(finding.is_derived for finding in findings):
        out.print("[quiet]Nothing is lost: all of it is derived, and --repair makes it anew.[/]", soft_wrap=True)


@click.command()
@click.argument("target", metavar="TARGET", type=FilePath())
@stored_option
@json_option
def backup(*, target: str, url: str, as_json: bool) -> None:
    """Back up a store while it is in use, to the new folder or SQLite file TARGET.

    The copy is the store at one instant. The copy of a SQLite file is verified before it gets its name.
    """
    adapter, place = adapter_of(url)
    with error_console().status("copying"):
        position = adapter.back_up(place, target)
    if as_json:
        print_json({"source": place, "target": target, "events": position})
    else:
        console().print(f"[good]✓[/] {number(position)} events of {escape(place)} are in {escape(target)}, on the disk", soft_wrap=True)


@click.command()
@click.argument("source", metavar="FROM", type=STORE_URL)
@click.argument("target", metavar="TO", type=STORE_URL)
@click.option("--recorded-after", metavar="TIME", type=TIME, help="Set back the times of events that were recorded after this time.")
@click.option("--set-back", metavar="SPAN", type=SPAN, help="Time span to set them back, such as 3650d: the error of the clock.")
@click.option("--follow", "follows", is_flag=True, help="Go on with later events until told to stop (Ctrl-C, SIGTERM).")
@json_option
def copy(*, source: str, target: str, recorded_after: datetime | None, set_back: timedelta | None, follows: bool, as_json: bool) -> None:
    """Copy a store to another store of any kind: every event with its id, its time and its place in the order.

    TO is empty, or an earlier copy of FROM. Events that TO has are compared, missing ones are copied, and every copied event is read
    back and compared. So a copy that was killed goes on when it is started again. FROM may be in use: the copy has the events that
    FROM had at the start, and another run copies later ones, or --follow. Nobody else may write to TO.

    Use --recorded-after and --set-back if the clock was ahead. Events recorded then get the time of a right clock, and so do the ends of
    reservations. Rebuild the read models afterwards.
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
    outcome = anyio.run(_follow, source, target, retiming) if follows else run(partial(_copy, source, target, retiming), source, target)
    seconds = perf_counter() - started
    if as_json:
        print_json({"source": masked(source), "target": masked(target), **attrs.asdict(outcome), "seconds": round(seconds, 3)})
    else:
        _show_copy(masked(source), masked(target), outcome, seconds, is_retimed=retiming is not None)


def _place(url: str) -> tuple[str, str]:
    scheme, _, place = url.partition(":")
    if scheme in SERVERS:
        from inventory_es.adapters.postgresql import parse_place  # noqa: PLC0415  # its driver comes with an extra

        return "server", str(parse_place(url))
    return scheme, str(Path(absolute_path(place)).resolve()) if scheme in {"file", "sqlite"} else place


async def _follow(source: str, target: str, retiming: Retiming | None) -> CopyOutcome:
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_when_told, stop.set)
        outcome = await _copy(source, target, retiming, stop)
        tasks.cancel_scope.cancel()
    return outcome


async def _copy(source: str, target: str, retiming: Retiming | None, stop: anyio.Event | None = None) -> CopyOutcome:
    async with open_to_read(source) as original, open_inventory(target) as copy:
        with progress_bar("opening") as update:
            is_told = stop is None

            def advanced(progress: CopyProgress) -> None:
                nonlocal is_told
                if not is_told and (progress.phase, progress.position) == ("verifying", progress.end):
                    is_told = True
                    tell(f"inventory-es: copied up to position {progress.end}, and following")
                update(description=progress.phase, completed=progress.position, total=progress.end)

            try:
                return await copy_store(original.store, copy.store, advanced=advanced, retiming=retiming, stop=stop)
            except ValueError as problem:
                raise click.UsageError(str(problem)) from problem


def _show_copy(source: str, target: str, outcome: CopyOutcome, seconds: float, *, is_retimed: bool) -> None:
    out = console()
    streams = "" if outcome.streams is None else f" in {number(outcome.streams)} stream{'' if outcome.streams == 1 else 's'}"
    held = f"[number]{number(outcome.events)}[/] events{streams}"
    out.print(f"[good]✓[/] {escape(target)} holds the {held} of {escape(source)}, compared one by one", soft_wrap=True)
    new = f"{number(outcome.events_now)} of them are new, in {seconds:.1f} s" if outcome.events_now else "nothing was left to copy"
    places = "every position is the same, so checkpoints hold" if outcome.keeps_positions else "positions differ: project from the start"
    if is_retimed:
        places = "their times may be others: rebuild the read models"
    out.print(f"  [quiet]{new}; {places}[/]", soft_wrap=True)
