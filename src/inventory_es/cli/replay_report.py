"""What a person reads after a replay."""

import shlex

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from inventory_es.cli.replay_run import ReplayRun
from inventory_es.cli.terminal import number
from inventory_es.domain.identifiers import InventoryId

_HOTTEST = 8
_BAR_WIDTH = 14
_DESCRIPTION_WIDTH = 24
_MOST_VIOLATIONS = 20


def print_report(out: Console, run: ReplayRun, *, name: str, url: str) -> None:
    """Print what was sold, what was refused, how fast it was, whether it adds up, and what to look at next."""
    hottest = sorted(run.audit.sold, key=lambda one: (-run.audit.sold[one], one.product_id))[:_HOTTEST]
    out.print()
    out.print(f"[title]{escape(name)}[/] → [title]{escape(url)}[/]  [quiet]{_how(run)}[/]", soft_wrap=True)
    out.print()
    out.print(Padding(_figures(run), (0, 2)))
    out.print()
    if hottest:
        out.print(Padding(_hottest(run, hottest), (0, 2)))
        out.print()
    _print_verdict(out, run)
    if hottest:
        _print_next(out, hottest[0], url)


def _how(run: ReplayRun) -> str:
    rows = f"{number(run.outcome.totals.rows)} rows"
    if run.survey.bad_lines:
        count = len(run.survey.bad_lines)
        rows += f", {number(count)} {'line' if count == 1 else 'lines'} left out"
    if not run.outcome.resumed_at_row:
        return rows
    if run.outcome.resumed_at_row == run.outcome.totals.rows:
        return f"{rows}; all of it was done before, nothing changed"
    return f"{rows}; resumed after row {number(run.outcome.resumed_at_row)}"


def _figures(run: ReplayRun) -> Table:
    totals = run.outcome.totals
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(min_width=10, justify="right")
    table.add_column(min_width=28)
    table.add_column(min_width=12, justify="right")
    table.add_column()

    def line(count: int | None, one: str, many: str, units: int | None, *, style: str = "") -> None:
        counted = "" if count is None else f"[number]{number(count)}[/]"
        moved = ("", "") if units is None else (f"{units:+,}", "[quiet]units[/]")
        table.add_row(counted, one if count == 1 else many, *moved, style=style)

    if totals.invoices_in_before:
        line(totals.invoices_in_before, "invoice skipped, in already", "invoices skipped, in already", None)
        if not (totals.orders or totals.returns or totals.adjustments):
            return table
    if totals.units_opening:
        line(None, "", "in stock at the opening", totals.units_opening)
    if totals.units_received:
        line(None, "", "received, for what lacked", totals.units_received)
    line(totals.orders - totals.orders_refused, "order sold, as a whole", "orders sold, each as a whole", -totals.units_sold)
    if totals.orders_refused:
        line(totals.orders_refused, "order refused, as a whole", "orders refused, each as a whole", None, style="bad")
    line(totals.returns, "return", "returns", totals.units_returned)
    line(totals.adjustments - totals.adjustments_refused, "write-off", "write-offs", -totals.units_written_off)
    if totals.adjustments_refused:
        line(totals.adjustments_refused, "write-off refused", "write-offs refused", None, style="bad")
    left = sum(run.audit.on_hand.values())
    table.add_row("", "[title]on the shelves now[/]", f"[title]{number(left)}[/]", "[quiet]units[/]")
    return table


def _hottest(run: ReplayRun, hottest: list[InventoryId]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="quiet")
    table.add_column("hottest products", no_wrap=True)
    table.add_column("", no_wrap=True, max_width=_DESCRIPTION_WIDTH)
    table.add_column("", no_wrap=True, min_width=_BAR_WIDTH)
    table.add_column("sold", justify="right", no_wrap=True, min_width=6)
    table.add_column("left", justify="right", no_wrap=True, min_width=6)
    most = run.audit.sold[hottest[0]] or 1
    for one in hottest:
        sold = run.audit.sold[one]
        bar = "█" * max(1, round(_BAR_WIDTH * sold / most))
        description = run.survey.descriptions.get(one, "")
        left = run.audit.on_hand[one]
        table.add_row(
            escape(one.product_id),
            f"[quiet]{escape(description)}[/]",
            f"[command]{bar}[/]",
            number(sold),
            number(left) if left else "[bad]none[/]",
        )
    return table


def _print_verdict(out: Console, run: ReplayRun) -> None:
    violations = run.audit.violations
    what = f"{number(run.outcome.totals.events)} events in {number(run.audit.inventories)} inventories"
    if violations:
        lines = [f"[bad]✗[/] {escape(violation)}" for violation in violations[:_MOST_VIOLATIONS]]
        lines.append(f"[bad]✗ {number(len(violations))} things don't add up[/] in {what}")
    else:
        took = f"[quiet]({run.audit_seconds:.1f} s)[/]"
        lines = [f"[good]✓[/] {what}, read back and folded: every balance holds, every sum agrees {took}"]
    if run.outcome.events_now:
        new = f"{run.seconds:.1f} s for {number(run.outcome.events_now)} new events"
        lines.append(f"[good]✓[/] {new}: [number]{number(run.events_per_second)} events per second[/]")
    for line in lines:
        out.print(f"  {line}", soft_wrap=True)
    out.print()


def _print_next(out: Console, hottest: InventoryId, url: str) -> None:
    if url.startswith("memory:"):
        out.print("  [quiet]memory: ended with this command. To keep what happened:[/] [command]--url file:stock[/]", soft_wrap=True)
        return
    where = f"{shlex.quote(hottest.product_id)} {shlex.quote(hottest.store_id)} --url {shlex.quote(url)}"
    out.print("  [quiet]Look into it:[/]")
    for command in (f"explain {where}", f"history {where}"):
        out.print(f"    [command]inventory-es {escape(command)}[/]", soft_wrap=True)
    if url.startswith("file:"):
        out.print(f"    [command]inventory-es verify --url {escape(shlex.quote(url))}[/]", soft_wrap=True)
