"""``inventory-es verify``."""

from collections.abc import Sequence
from typing import Any

import anyio
import attrs
import click
from rich.markup import escape

from inventory_es.cli.failures import WRONG
from inventory_es.cli.options import adapter_of, json_option, stored_option
from inventory_es.cli.rows_check import check_rows
from inventory_es.cli.stream_check import check_stream
from inventory_es.cli.terminal import console, error_console, print_json

_AGREES = {"file": "journal, index, people's files and balances agree", "sqlite": "database, checksums, streams and balances agree"}


@click.command()
@stored_option
@click.option("--repair", "repairs", is_flag=True, help="Make anew or add what is derived (index, people's files; checksums).")
@click.option("--read-model", metavar="FILE", type=click.Path(dir_okay=False), help="Hold the rows in this file against the events, too.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, *, url: str, repairs: bool, read_model: str | None, as_json: bool) -> None:
    """Check a store, and repair what is derived.

    A file store's journal, index and people's files are held against each other; of a SQLite file, every checksum is computed, and events,
    streams and SQLite's own structures are held against each other. Every balance is folded. The events themselves are never changed.
    Stop the writers of a file store before --repair. With --json, one object for each finding, each on its line.
    """
    adapter, place = adapter_of(url)
    with error_console().status("verifying"):
        if repairs:
            adapter.repair(place)
        findings = list(adapter.verify(place, check_stream=check_stream))
        if read_model is not None and not findings:
            findings += anyio.run(check_rows, url, read_model)
    if as_json:
        for finding in findings:
            print_json({**attrs.asdict(finding), "is_derived": finding.is_derived})
    else:
        _show(place, findings, _AGREES[url.partition(":")[0]])
    if findings:
        ctx.exit(WRONG)


def _show(place: str, findings: Sequence[Any], agrees: str) -> None:
    out = console()
    if not findings:
        out.print(f"[good]✓[/] {escape(place)}: {agrees}", soft_wrap=True)
        return
    for finding in findings:
        out.print(f"[bad]✗[/] {finding.concern}: {escape(str(finding))}", soft_wrap=True)
    if all(finding.is_derived for finding in findings):
        out.print("[quiet]Nothing is lost: all of it is derived, and --repair makes it anew.[/]", soft_wrap=True)
