"""Commands on event buses: publish the events of a store, and consume those of a group."""

import json
import re
import sys
from collections.abc import AsyncIterator
from functools import partial

import anyio
import click
import msgspec
from rich.markup import escape

from inventory_es.adapters.system import SystemClock
from inventory_es.application.followers import RELAY
from inventory_es.application.following.projection import ProjectionStatus
from inventory_es.application.following.relay import Relay
from inventory_es.cli.interruptions import stop_when_told
from inventory_es.cli.options import GROUP_NAME, bus_option, json_option, read_model_option, url_option
from inventory_es.cli.projecting import open_workshop
from inventory_es.cli.reading import open_bus
from inventory_es.cli.tables import console, number, print_json
from inventory_es.ports import Delivery, RecordedEvent
from inventory_es.ports.toolkit.cloudevents import to_json

_LOOK_PAUSE = 0.1
_NO_ASCII = re.compile(r"[^\x00-\x7f]")


@click.command()
@url_option
@read_model_option
@bus_option
@click.option("--once", is_flag=True, help="End at the end of the feed, instead of following it.")
@click.option("--name", default=RELAY, show_default=True, help="Name of the relay's checkpoint.")
@json_option
def publish(*, url: str, read_model: str, bus: str, once: bool, name: str, as_json: bool) -> None:
    """Publish the events of a store to a bus.

    The relay publishes each event at least once, in order within its stream, as CloudEvents where the bus is on a server. Its checkpoint
    is in the read model. The command runs until it is told to stop (Ctrl-C, SIGTERM), and ends after the batch in flight. Any number of
    processes may run it at once: one of them works, and another takes over when that one is gone. 'inventory-es relay' sets it back.
    """
    status = anyio.run(partial(_publish, url, read_model, bus, name, once=once))
    if as_json:
        print_json({"name": name, "position": status.position, "lag_events": status.lag_events})
    else:
        behind = f", {number(status.lag_events)} events are left" if status.lag_events else ""
        console().print(
            f"[good]✓[/] {escape(name)} has published the events up to position {number(status.position)}{behind}", soft_wrap=True
        )


async def _publish(url: str, read_model: str, bus_url: str, name: str, *, once: bool) -> ProjectionStatus:
    async with open_workshop(url, read_model, creates=True) as workshop, open_bus(bus_url) as bus:
        try:
            relay = Relay(name, feed=workshop.feed, bus=bus, read_model=workshop.read_model, clock=SystemClock(), owner=workshop.owner)
        except ValueError as problem:
            raise click.UsageError(str(problem)) from problem
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_when_told, relay.stop)
            if once:
                tasks.start_soon(_stop_at_end, relay)
            await relay.run()
            tasks.cancel_scope.cancel()
        return await relay.status()


async def _stop_at_end(relay: Relay) -> None:
    """Stop the relay when every event has been published, by this process or by another one."""
    while (await relay.status()).lag_events:  # noqa: ASYNC110  # another process may publish the last one
        await anyio.sleep(_LOOK_PAUSE)
    relay.stop()


@click.command()
@bus_option
@click.option("--group", type=GROUP_NAME, required=True, help="Group of consumers. A new one gets what the bus has kept.")
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N events.")
@click.option("--idle", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="End when no event has come for so long.")
@click.option("--cloudevents", is_flag=True, help="Write CloudEvents in structured mode.")
@click.option("--source", metavar="NAME", default="inventory_es", show_default=True, help="Publisher in the source of CloudEvents.")
def consume(*, bus: str, group: str, count: int | None, idle: float | None, cloudevents: bool, source: str) -> None:
    """Write the events of a group of a bus as lines of JSON.

    An event is acknowledged after its line has been written and flushed. If that fails, it comes again. The command runs until it is told
    to stop (Ctrl-C, SIGTERM), or until nobody reads its output. Consumers recognise a repeated event by stream and version.
    """
    if not source:
        msg = "--source is empty: give the name of the publisher, such as that of a shop"
        raise click.UsageError(msg)
    consumer = _Consumer(count, idle, source if cloudevents else None)
    anyio.run(partial(_consume, consumer, bus, group))


async def _consume(consumer: "_Consumer", url: str, group: str) -> None:
    async with open_bus(url) as bus, bus.subscribe(group) as deliveries, anyio.create_task_group() as tasks:
        tasks.start_soon(stop_when_told, consumer.stop)
        await consumer.run(aiter(deliveries))
        tasks.cancel_scope.cancel()


class _Consumer:
    """A consumer that writes each event to the standard output.

    Args:
        count: the most events; ``None`` for no bound.
        idle: the longest wait for an event, in seconds; ``None`` for no bound.
        source: of CloudEvents; ``None`` for the stored form.
    """

    def __init__(self, count: int | None, idle: float | None, source: str | None) -> None:
        self._left = count
        self._idle = idle
        self._source = source
        self._receiving: anyio.CancelScope | None = None
        self._is_stopping = False

    def stop(self) -> None:
        """End :meth:`run` after the event in hand. Idempotent."""
        self._is_stopping = True
        if self._receiving is not None:
            self._receiving.cancel()

    async def run(self, deliveries: AsyncIterator[Delivery]) -> None:
        """Write and acknowledge event after event."""
        while self._left != 0 and (delivery := await self._receive(deliveries)) is not None:
            sys.stdout.write(f"{_line_of(delivery.event, self._source)}\n")
            sys.stdout.flush()
            await delivery.ack()
            self._left = None if self._left is None else self._left - 1

    async def _receive(self, deliveries: AsyncIterator[Delivery]) -> Delivery | None:
        """Return the next delivery; ``None`` if the time is over or :meth:`stop` was called. A cancelled receive keeps no event."""
        with anyio.move_on_after(self._idle) as self._receiving:
            if not self._is_stopping:
                return await anext(deliveries)
        return None


class _Line(msgspec.Struct):
    stream: str
    version: int
    position: int
    event_id: str
    event_type: str
    schema_version: int
    recorded_at: str
    data: msgspec.Raw
    metadata: msgspec.Raw


def _line_of(event: RecordedEvent, source: str | None) -> str:
    """Return an event as one line of JSON, in ASCII for every encoding of the output.

    Raises:
        click.ClickException: the data or the metadata is no JSON object.
    """
    try:
        text = to_json(event, source=source or "-")
    except ValueError as problem:
        raise click.ClickException(str(problem)) from problem
    if source is None:
        of_event = (str(event.event_id), event.event_type, event.schema_version, event.recorded_at.isoformat())
        raw = (msgspec.Raw(event.data), msgspec.Raw(event.metadata))
        text = msgspec.json.encode(_Line(event.stream.text, event.version, event.position, *of_event, *raw))
    return _NO_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], text.decode())
