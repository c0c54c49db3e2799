"""The commands ``demo`` and ``replay``: survey, replay, audit, and a report."""

import gc
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import attrs
import click
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from inventory_es.cli.failures import WRONG
from inventory_es.cli.options import STORE_URL, FilePath, json_option, url_option
from inventory_es.cli.output import tell
from inventory_es.cli.progress_bar import progress_bar
from inventory_es.cli.reading import run
from inventory_es.cli.replay.audit import Audit, audit
from inventory_es.cli.replay.demo_day import OPENING, DemoDay
from inventory_es.cli.replay.ledger import LEDGER
from inventory_es.cli.replay.order_lines import COLUMNS, DESCRIPTION, STORE, DateOrder, Reading
from inventory_es.cli.replay.orders_file import OrdersError, OrdersFile, OrderSource
from inventory_es.cli.replay.progress import ReplayAdvancedEvent
from inventory_es.cli.replay.replayer import ReplayClock, Replayer, ReplayOutcome
from inventory_es.cli.replay.steps import Survey, survey
from inventory_es.cli.tables import console, number, print_json
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports.errors import ConcurrencyError
from inventory_es.ports.toolkit.urls import masked
from inventory_es.wiring import open_inventory

_HOTTEST = 8
_BAR_WIDTH = 14
_DESCRIPTION_WIDTH = 24
_MOST_VIOLATIONS = 20


@click.command()
@click.option("--url", type=STORE_URL, default="memory:", show_default=True, help="URL of the store, such as file:stock.")
@click.option("--invoices", metavar="N", type=click.IntRange(1, 36_000), default=1_000, show_default=True, help="Number of invoices.")
@click.option("--seed", metavar="N", type=int, default=1, show_default=True, help="Seed of the day: the same seed makes the same day.")
@json_option
@click.pass_context
def demo(ctx: click.Context, /, *, url: str, invoices: int, seed: int, as_json: bool) -> None:
    """Simulate a day of a gift shop, and show the results.

    The command needs no file, and writes none unless --url names one.
    """
    _run(ctx, DemoDay(invoices=invoices, seed=seed), url, opening=OPENING, skip_bad=False, as_json=as_json)


def _encoding(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        "".encode(value)
    except LookupError:
        msg = f"{value!r} is no encoding of text; utf-8, cp1252 and utf-16 are some"
        raise click.BadParameter(msg) from None
    return value


def _columns(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for value in values:
        column, _, name = value.partition("=")
        if column not in {*COLUMNS, DESCRIPTION} or not name.strip():
            msg = f"{value!r} is not COLUMN=NAME, with one of {', '.join((*COLUMNS, DESCRIPTION))} and its name in the file"
            raise click.BadParameter(msg)
        columns[column] = name.strip()
    return columns


@click.command()
@click.argument("orders", metavar="ORDERS.csv[.gz]", type=FilePath(exists=True, dir_okay=False, path_type=Path))
@url_option
@click.option(
    "--opening", metavar="N", type=click.IntRange(0, 10**9), help="Open each inventory with N units, and refuse what exceeds the stock."
)
@click.option("--skip-bad", is_flag=True, help="Leave out bad lines and report them, instead of stopping.")
@click.option("--store", "store_id", metavar="STORE", default=STORE, show_default=True, help="Store of all lines.")
@click.option(
    "--dates",
    metavar="ORDER",
    type=click.Choice(["day-first", "month-first"]),
    help="Order of dates such as 12/1/2010 8:26: day-first or month-first.",
)
@click.option(
    "--column",
    "columns",
    metavar="COLUMN=NAME",
    multiple=True,
    callback=_columns,
    help="Name of a column in the file, such as StockCode='Item number'.",
)
@click.option(
    "--encoding",
    metavar="NAME",
    default="utf-8",
    show_default=True,
    callback=_encoding,
    help="Encoding of a file without a byte order mark, such as cp1252.",
)
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    /,
    *,
    orders: Path,
    url: str,
    opening: int | None,
    skip_bad: bool,
    as_json: bool,
    store_id: str,
    dates: DateOrder | None,
    columns: dict[str, str],
    encoding: str,
) -> None:
    """Replay a file of orders into an inventory, exactly once.

    The file has the columns InvoiceNo, StockCode, Quantity and InvoiceDate, and its lines are sorted by date. All lines of an invoice
    within a day that have a Quantity above zero are one order. An order is sold or refused as a whole. An InvoiceNo that begins with C
    brings units back; another Quantity below zero writes units off. Without --opening, missing units are received first.

    A replay that was killed goes on when it is started again; a finished one changes nothing. An invoice that the store has from another
    file is skipped. The same number with other content is refused, before anything is written.
    """
    reading = Reading(store_id=store_id, dates=dates, columns=columns, encoding=encoding)
    _run(ctx, OrdersFile(orders, reading), url, opening=opening, skip_bad=skip_bad, as_json=as_json)


def _run(ctx: click.Context, source: OrderSource, url: str, *, opening: int | None, skip_bad: bool, as_json: bool) -> None:
    """Replay the orders and report, with the exit code of a refusal if something does not add up."""
    run = run_replay(source, url, opening=opening, skip_bad=skip_bad)
    if as_json:
        print_json(run.to_dict())
        for violation in run.audit.violations:
            _warn(violation)
    else:
        _print_report(console(), run, name=source.name, url=url)
    if run.audit.violations:
        ctx.exit(WRONG)


def _warn(text: str) -> None:
    tell(f"inventory-es: {text}")


@attrs.frozen(kw_only=True)
class ReplayRun:
    """Result of one run.

    Attributes:
        survey: the survey of the source.
        outcome: the outcome of the replay.
        audit: the audit of the streams.
        seconds: the time from the start of the survey to the last acknowledged append.
        audit_seconds: the time of the audit after it.
    """

    survey: Survey
    outcome: ReplayOutcome
    audit: Audit
    seconds: float
    audit_seconds: float

    @property
    def events_per_second(self) -> float:
        """The rate at which this run appended events."""
        return self.outcome.events_now / self.seconds

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints."""
        return {
            **attrs.asdict(self.outcome.totals),
            "inventories": self.audit.inventories,
            "invariant_violations": len(self.audit.violations),
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.events_per_second, 1),
            "resumed_at_row": self.outcome.resumed_at_row,
        }


def run_replay(source: OrderSource, url: str, *, opening: int | None, skip_bad: bool) -> ReplayRun:
    """Replay the orders, and audit every inventory that they moved.

    Args:
        source: the orders.
        url: the URL of the store.
        opening: the units that each inventory is opened with; ``None``: missing units are received.
        skip_bad: True to leave out bad lines, with a warning for each.

    Raises:
        OrdersError: the orders can't be taken as they are.
    """
    with _rare_collections():
        return run(partial(_replay, source, url, opening=opening, skip_bad=skip_bad), url)


async def _replay(source: OrderSource, url: str, *, opening: int | None, skip_bad: bool) -> ReplayRun:
    started = perf_counter()
    found = survey(source, skip_bad=skip_bad)
    for line in found.bad_lines:
        _warn(f"{source.name}:{line.number}: {line.reason}; left out")
    clock = ReplayClock()
    async with open_inventory(url, clock=clock) as inventory:
        with progress_bar("selling", total=found.rows, unit="rows · 0 events") as update:

            def advanced(event: ReplayAdvancedEvent) -> None:
                description = "checking" if event.is_finished else "selling"
                update(description=description, completed=event.row, unit=f"rows · {number(event.totals.events)} events")

            replayer = Replayer(inventory, clock, source, found, opening=opening, advanced=advanced)
            try:
                outcome = await replayer.run()
            except ConcurrencyError as conflict:
                if conflict.stream not in {replayer.stream, LEDGER}:
                    raise
                msg = f"{source.name} is being brought into {masked(url)} by another process too, which was faster: leave it to that one"
                if conflict.stream == LEDGER:
                    msg = f"{masked(url)} takes orders from another process too, which was faster: start again when that one has ended"
                raise OrdersError(msg) from None
            replayed = perf_counter()
            audited = await audit(inventory.store, found, replayer.stream, outcome.totals)
            return ReplayRun(
                survey=found, outcome=outcome, audit=audited, seconds=replayed - started, audit_seconds=perf_counter() - replayed
            )


@contextmanager
def _rare_collections() -> Generator[None, None, None]:
    """Collect garbage rarely: a replay makes millions of objects with hardly a cycle, and the search would take a fifth of its time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(1_000_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _print_report(out: Console, run: ReplayRun, *, name: str, url: str) -> None:
    """Print the totals, the hottest products, the verdict of the audit, the speed, and commands to go on with."""
    hottest = sorted(run.audit.sold, key=lambda one: (-run.audit.sold[one], one.product_id))[:_HOTTEST]
    out.print()
    out.print(f"[title]{escape(name)}[/] → [title]{escape(masked(url))}[/]  [quiet]{_how(run)}[/]", soft_wrap=True)
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
    where = f"{shlex.quote(hottest.product_id)} {shlex.quote(hottest.store_id)} --url {shlex.quote(masked(url))}"
    out.print("  [quiet]Look into it:[/]")
    for command in (f"explain {where}", f"history {where}"):
        out.print(f"    [command]inventory-es {escape(command)}[/]", soft_wrap=True)
    if url.startswith("file:"):
        out.print(f"    [command]inventory-es verify --url {escape(shlex.quote(url))}[/]", soft_wrap=True)
