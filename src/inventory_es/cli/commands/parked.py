"""``inventory-es parked``."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import click
from rich.markup import escape

from inventory_es.adapters.sqlite import open_sqlite_read_model
from inventory_es.application.following.subscription import feed_of
from inventory_es.cli.failures import WRONG
from inventory_es.cli.options import StreamName, json_option, names_argument, read_model_option, url_option
from inventory_es.cli.projecting import Workshop
from inventory_es.cli.reading import check_read_model, open_to_read
from inventory_es.cli.shipped_projections import SHIPPED
from inventory_es.cli.terminal import console, number, print_json
from inventory_es.domain.stream_id import StreamId
from inventory_es.ports import Row

_PAGE = 1_000


@click.command()
@names_argument
@url_option
@read_model_option
@click.option("--retry", "retried", metavar="STREAM", type=StreamName(), help="Apply the parked events of this stream, all or none.")
@click.option("--drop", "dropped", metavar="STREAM", type=StreamName(), help="Forget those of this stream, without applying them.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    names: Sequence[str],
    url: str,
    read_model: str,
    retried: StreamId | None,
    dropped: StreamId | None,
    as_json: bool,
) -> None:
    """List the events that projections have set aside, or deal with those of one stream.

    That is where 'inventory-es project --on-failure park' leaves what can't be projected, and what comes behind it in its stream. The exit
    code is 1 while there are any. It may run beside a 'project' that is at work. With --json, one object for each event, each on its line.
    """
    stream = retried or dropped
    if stream is None:
        events = anyio.run(partial(_list, names or tuple(SHIPPED), url, read_model))
        _show(events, as_json=as_json)
        if events:
            ctx.exit(WRONG)
        return
    if len(names) != 1 or (retried is not None and dropped is not None):
        msg = "--retry or --drop, one of them, goes with the NAME of one projection"
        raise click.UsageError(msg)
    count = anyio.run(partial(_settle, names[0], url, read_model, stream, is_retried=retried is not None))
    _tell(names[0], stream, count, is_retried=retried is not None, as_json=as_json)
    if not count:
        ctx.exit(WRONG)


async def _list(names: Sequence[str], url: str, read_model: str) -> list[tuple[str, Row]]:
    check_read_model(read_model)
    found: list[tuple[str, Row]] = []
    async with open_to_read(url) as inventory, open_sqlite_read_model(read_model) as model:
        workshop = Workshop(feed=feed_of(inventory.store), read_model=model, on_failure="park")
        for name in [one for one in names if await model.versions(one)]:
            parked, after = await workshop.parked(name), 0
            while rows := await parked.list(after=after, limit=_PAGE):
                found += [(name, row) for row in rows]
                after = int(rows[-1]["position"] or 0)
    return found


async def _settle(name: str, url: str, read_model: str, stream: StreamId, *, is_retried: bool) -> int:
    check_read_model(read_model)
    async with open_to_read(url) as inventory, open_sqlite_read_model(read_model) as model:
        parked = await Workshop(feed=feed_of(inventory.store), read_model=model, on_failure="park").parked(name)
        return await (parked.retry(stream) if is_retried else parked.drop(stream))


def _show(events: Sequence[tuple[str, Row]], *, as_json: bool) -> None:
    if as_json:
        for name, row in events:
            print_json({"name": name, **row})
        return
    out = console()
    if not events:
        out.print("[good]✓[/] nothing is parked")
    streams: dict[tuple[str, Any], list[Row]] = {}
    for name, row in events:
        streams.setdefault((name, row["stream"]), []).append(row)
    for (name, stream), rows in streams.items():
        count = "1 event" if len(rows) == 1 else f"{number(len(rows))} events"
        first = rows[0]
        out.print(f"[bad]✗[/] {name}: {count} of {escape(str(stream))}, from version {first['version']} on", soft_wrap=True)
        out.print(f"[quiet]  {escape(str(first['event_type']))}: {escape(str(first['error']))}[/]", soft_wrap=True)


def _tell(name: str, stream: StreamId, count: int, *, is_retried: bool, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "stream": stream.text, "retried" if is_retried else "dropped": count})
        return
    what = f"{number(count)} {'event' if count == 1 else 'events'} of {escape(stream.text)}"
    if count:
        console().print(f"[good]✓[/] {name}: {what} {'applied' if is_retried else 'dropped'}", soft_wrap=True)
    else:
        console().print(f"[bad]✗[/] {name}: nothing of {escape(stream.text)} is parked", soft_wrap=True)
