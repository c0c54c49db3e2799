"""``inventory-es verify``."""

from collections.abc import Sequence

import attrs
import click
from rich.markup import escape

from inventory_es.adapters.file import Finding, repair, verify
from inventory_es.cli.failures import WRONG
from inventory_es.cli.options import folder_option, json_option
from inventory_es.cli.stream_check import check_stream
from inventory_es.cli.terminal import console, error_console, print_json


@click.command()
@folder_option
@click.option("--repair", "repairs", is_flag=True, help="Make anew what is derived (index, people's files). Stop the writers first.")
@json_option
@click.pass_context
def command(ctx: click.Context, /, *, folder: str, repairs: bool, as_json: bool) -> None:
    """Check a file store, and repair what is derived.

    Its journal, index and people's files are held against each other, and every balance is folded. The journal itself is never
    changed. With --json, one object for each finding, each on its line.
    """
    with error_console().status("verifying"):
        if repairs:
            repair(folder)
        findings = list(verify(folder, check_stream=check_stream))
    if as_json:
        for finding in findings:
            print_json({**attrs.asdict(finding), "is_derived": finding.is_derived})
    else:
        _show(folder, findings)
    if findings:
        ctx.exit(WRONG)


def _show(folder: str, findings: Sequence[Finding]) -> None:
    out = console()
    if not findings:
        out.print(f"[good]✓[/] {escape(folder)}: journal, index, people's files and balances agree", soft_wrap=True)
        return
    for finding in findings:
        out.print(f"[bad]✗[/] {finding.concern}: {escape(str(finding))}", soft_wrap=True)
    if all(finding.is_derived for finding in findings):
        out.print("[quiet]Nothing is lost: all of it is derived, and --repair makes it anew.[/]", soft_wrap=True)
