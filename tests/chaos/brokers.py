"""Chaos on the buses on servers: ``python -m tests.chaos.brokers --rounds N``.

Each campaign breaks something once a round, while a publisher and the processes of one group work. The publisher sends a batch again
until it is acknowledged, as the relay does. Every process appends a line to one file when it has handled an event, before it
acknowledges it. At the end, the group has handled every acknowledged event, none before an earlier one of its stream, and the dead
letters are those that the campaign made.
"""

import argparse
import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.adapters.nats import open_nats_event_bus
from inventory_es.adapters.rabbitmq import open_rabbitmq_event_bus
from inventory_es.adapters.redis import open_redis_event_bus
from inventory_es.adapters.system import SystemClock
from inventory_es.ports import BusSubscription, EventBus, RecordedEvent
from inventory_es.ports.errors import EventBusUnavailableError
from tests.integration.bus_events import events
from tests.servers import nats, rabbitmq, valkey
from tests.servers.proxy import Proxy

STREAMS = ("a", "b", "c")
BATCH = 4
LEASE = 0.5
POISON = "poison"
PARTED = "connections cut or frozen"
RETENTION = "group away for longer than the retention"
_BACKLOG = 60
_PATIENCE = 60.0

SERVERS: Mapping[str, Callable[[], AbstractContextManager[valkey.Server]]] = {
    "redis": partial(valkey.running_valkey, valkey.DURABLE),
    "nats": nats.running_nats,
    "rabbitmq": rabbitmq.running_rabbitmq,
}


def bus_at(url: str) -> AbstractAsyncContextManager[EventBus]:
    """Open the bus of a URL."""
    clock = SystemClock()
    if url.startswith("amqp:"):
        return open_rabbitmq_event_bus(f"{url}?shards=4&heartbeat=1&timeout=2", clock=clock)
    opening = open_nats_event_bus if url.startswith("nats:") else open_redis_event_bus
    return opening(f"{url}?shards=4&lease={LEASE}&timeout=1", clock=clock)


@attrs.define
class Account:
    """What was acknowledged to the publisher, and what the group's processes have handled.

    Attributes:
        handled_in: the file to which they append.
        published: by stream, the events that the bus acknowledged.
        away: refusals that the publisher met.
        missing: acknowledged events that the group never handled.
        repeated: events that it handled again.
        owner: the id of the process that handled the last event.
        is_ending: set when the publisher shall end.
        is_over: set when it has ended.
    """

    handled_in: Path
    published: dict[str, list[RecordedEvent]] = attrs.field(factory=lambda: {name: [] for name in STREAMS})
    away: int = 0
    missing: int = 0
    repeated: int = 0
    owner: int = 0
    is_ending: anyio.Event = attrs.field(factory=anyio.Event)
    is_over: anyio.Event = attrs.field(factory=anyio.Event)
    _handled: list[tuple[str, int]] = attrs.field(factory=list)
    _distinct: set[tuple[str, int]] = attrs.field(factory=set)
    _read: int = 0

    @property
    def acknowledged(self) -> int:
        """The number of events that the bus acknowledged."""
        return sum(map(len, self.published.values()))

    def handled(self) -> Sequence[tuple[str, int]]:
        """Return stream and version of every event in the order in which they were handled."""
        with self.handled_in.open() as file:
            file.seek(self._read)
            text = file.read()
        lines = text[: text.rfind("\n") + 1]
        self._read += len(lines)
        for name, version, process in map(str.split, lines.splitlines()):
            self._handled.append((name, int(version)))
            self._distinct.add((name, int(version)))
            self.owner = int(process)
        return self._handled

    def backlog(self) -> int:
        """Return the number of acknowledged events that the group has not handled."""
        self.handled()
        return self.acknowledged - len(self._distinct)

    async def wait_for(self, batches: int) -> None:
        """Wait until so many more batches are acknowledged."""
        least = self.acknowledged + batches * BATCH
        await until(lambda: self.acknowledged >= least, "the publisher stands still")

    async def wait_until_handled(self, least: int) -> None:
        """Wait until the group has handled so many more events, repeated ones too."""
        least += len(self.handled())
        await until(lambda: len(self.handled()) >= least, "the group stands still")

    async def wait_for_a_repeated_one(self) -> None:
        """Wait until one more event was handled again."""
        seen = self.count_repeated()
        await until(lambda: self.count_repeated() > seen, "nobody takes over from a process that stands still")

    def count_repeated(self) -> int:
        """Return the number of events that were handled again."""
        return len(self.handled()) - len(self._distinct)

    async def wait_until_all_is_handled(self) -> None:
        """Wait until the group has handled every acknowledged event."""
        await until(lambda: self.backlog() <= 0, "acknowledged events never come to the group")

    def check(self) -> None:
        """Compare what was handled with what was acknowledged."""
        handled, newest = self.handled(), dict.fromkeys(STREAMS, 0)
        for name, version in handled:
            assert version <= newest[name] + 1, f"event {version} of {name} was handled before event {newest[name] + 1}"
            newest[name] = max(newest[name], version)
        self.missing = sum(max(0, len(sent) - newest[name]) for name, sent in self.published.items())
        self.repeated = self.count_repeated()

    def figures(self) -> Mapping[str, int]:
        """Return the figures of a campaign that has ended."""
        return {"acknowledged": self.acknowledged, "missing": self.missing, "repeated": self.repeated, "away": self.away}


async def until(is_so: Callable[[], bool], problem: str) -> None:
    """Wait until something is so, with a bound."""
    give_up = anyio.current_time() + _PATIENCE
    while not is_so():
        assert anyio.current_time() < give_up, problem
        await anyio.sleep(0.005)  # other processes make it so


async def publish(bus: EventBus, account: Account) -> None:
    """Publish batch after batch, each again until it is acknowledged, and slowly while the group has a long backlog."""
    while not account.is_ending.is_set():
        if account.backlog() > _BACKLOG:
            await anyio.sleep(0.3)
        for name, sent in account.published.items():
            batch = events(name, BATCH, first=len(sent) + 1)
            await send(bus, batch, account)
            sent.extend(batch)
    account.is_over.set()


async def send(bus: EventBus, batch: Sequence[RecordedEvent], account: Account) -> None:
    """Publish a batch until it is acknowledged."""
    with anyio.fail_after(_PATIENCE):
        while True:
            try:
                await bus.publish(batch)
            except EventBusUnavailableError:
                account.away += 1
                await anyio.sleep(0.005)
            else:
                return


class Consumers:
    """The processes of the group.

    Args:
        url: of the server, for them.
        account: names the file of what they have handled.
    """

    def __init__(self, url: str, account: Account) -> None:
        self._url = url
        self._account = account
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["__main__", __name__])  # imported once, not by each process
        self.running = [self._start(), self._start()]

    def _start(self) -> BaseProcess:
        process = self._context.Process(target=consume_until_killed, args=(self._url, str(self._account.handled_in)), daemon=True)
        process.start()
        return process

    def kill(self) -> None:
        """Let a process that handles events die when it has handled its next one, and start another one."""
        process = self._owner()
        _send(process, signal.SIGUSR2)
        process.join(_PATIENCE)
        assert process.exitcode == -signal.SIGKILL, "the process has handled no event since"
        self.running.remove(process)
        self.running.append(self._start())

    def stop(self) -> Callable[[], None]:
        """Let a process that handles events stop when it has handled its next one; return a call that lets it go on."""
        process = self._owner()
        _send(process, signal.SIGUSR1)
        return partial(_send, process, signal.SIGCONT)

    def _owner(self) -> BaseProcess:
        self._account.handled()
        return next(process for process in self.running if process.pid == self._account.owner)

    def end(self) -> None:
        """Kill them all."""
        for process in self.running:
            process.kill()
            process.join()


def _send(process: BaseProcess, number: signal.Signals) -> None:
    assert process.pid is not None, "it was started"
    os.kill(process.pid, number)


FATES: Mapping[signal.Signals, signal.Signals] = {signal.SIGUSR1: signal.SIGSTOP, signal.SIGUSR2: signal.SIGKILL}
"""By signal to a process of the group, the one that it sends to itself between handling and acknowledging its next event."""

fates: list[signal.Signals] = []


def consume_until_killed(url: str, handled_in: str) -> None:
    """Handle the group's events in this process."""
    anyio.run(consume, url, handled_in)


async def consume(url: str, handled_in: str) -> None:
    """Handle the group's events until killed. A poison event is given back each time."""
    for number in FATES:
        signal.signal(number, lambda number, _: fates.append(FATES[signal.Signals(number)]))
    file = os.open(handled_in, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while True:
        try:
            async with bus_at(url) as bus, bus.subscribe("g") as deliveries:
                await handle(deliveries, file)
        except EventBusUnavailableError:
            await anyio.sleep(0.01)


async def handle(deliveries: BusSubscription, file: int) -> None:
    """Append a line for each event, and acknowledge it after that."""
    async for delivery in deliveries:
        name = label_of(delivery.event)
        if name == POISON:
            await delivery.nack("poison")
            continue
        os.write(file, f"{name} {delivery.event.version} {os.getpid()}\n".encode())
        if fates:
            os.kill(os.getpid(), fates.pop())
        await delivery.ack()


def label_of(event: RecordedEvent) -> str:
    """Return the short name of an event's stream."""
    return str(event.stream).rpartition("-")[2]


@attrs.frozen
class Trial:
    """The parts of a campaign under load.

    Attributes:
        bus: of the publisher.
        account: of the publisher and the group.
        consumers: the processes of the group.
    """

    bus: EventBus
    account: Account
    consumers: Consumers

    async def go_on(self) -> None:
        """Wait until the publisher and the group have got on."""
        await self.account.wait_for(2)
        await self.account.wait_until_handled(2 * BATCH)


@asynccontextmanager
async def under_load(url: str, consumer_url: str | None = None) -> AsyncIterator[Trial]:
    """Run the publisher and two processes of the group for the block, and check everything at its end."""
    with tempfile.TemporaryDirectory() as folder:
        account = Account(Path(folder, "handled"))
        account.handled_in.touch()
        async with bus_at(url) as bus, bus.subscribe("g"):
            pass  # RabbitMQ keeps events for the groups that there are
        consumers = Consumers(consumer_url or url, account)
        try:
            async with bus_at(url) as bus, anyio.create_task_group() as tasks:
                tasks.start_soon(publish, bus, account)
                trial = Trial(bus, account, consumers)
                await trial.go_on()
                yield trial
                await trial.go_on()
                account.is_ending.set()
                await account.is_over.wait()
                await account.wait_until_all_is_handled()
        finally:
            consumers.end()
        account.check()


async def kill_the_broker(server: valkey.Server, rounds: int) -> Account:
    """Kill the server, and start it again with what it had synced, as soon as the publisher has met its absence."""
    async with under_load(server.url) as trial:
        for _ in range(rounds):
            seen = trial.account.away
            server.kill()
            await until(partial(lambda seen: trial.account.away > seen, seen), "a killed server acknowledges events")
            await anyio.to_thread.run_sync(server.start)
            await trial.go_on()
    return trial.account


async def kill_a_consumer(server: valkey.Server, rounds: int) -> Account:
    """Kill a process of the group that has handled an event and not acknowledged it."""
    async with under_load(server.url) as trial:
        for _ in range(rounds):
            await anyio.to_thread.run_sync(trial.consumers.kill)
            await trial.go_on()
    assert trial.account.repeated >= rounds, "no event was handled again, so nothing is proven"
    return trial.account


async def stop_an_owner(server: valkey.Server, rounds: int) -> Account:
    """Stop a process that has handled an event, until the other has taken over its shards. Then it goes on, and acknowledges in vain."""
    async with under_load(server.url) as trial:
        for _ in range(rounds):
            go_on = trial.consumers.stop()
            await trial.account.wait_for_a_repeated_one()
            go_on()
            await trial.go_on()
    return trial.account


async def part_from_the_broker(server: valkey.Server, rounds: int) -> Account:
    """Cut the connections of the group, or let nothing pass them any more."""
    with Proxy(server.port, lambda: None) as proxy:
        async with under_load(server.url, server.url.replace(f":{server.port}", f":{proxy.port}")) as trial:
            for number in range(rounds):
                if number % 2 == 0:
                    proxy.cut()
                else:
                    proxy.freeze()
                await trial.go_on()
    return trial.account


async def publish_poison(server: valkey.Server, rounds: int) -> Account:
    """Publish an event that no process can handle. It becomes a dead letter, the only one, and its neighbours go on."""
    async with under_load(server.url) as trial:
        poison = events(POISON, rounds)
        for number in range(1, rounds + 1):
            await send(trial.bus, poison[number - 1 : number], trial.account)
            with anyio.fail_after(_PATIENCE):
                while len(letters := await trial.bus.dead_letters("g")) < number:
                    await checkpoint()
            assert [letter.event for letter in letters] == poison[:number]
            await trial.go_on()
    return trial.account


async def stay_away(server: valkey.Server, rounds: int) -> Account:
    """Trim the bus before another group comes for the first time. What is gone comes to it when the relay publishes all again."""
    async with under_load(server.url) as trial:
        bus, account = trial.bus, trial.account
        for number in range(rounds):
            await trial.go_on()
            trimmed: Any = bus
            assert await trimmed.trim() > 0
            sent = {name: list(events) for name, events in account.published.items()}
            async with bus.subscribe(f"late{number}") as deliveries:
                for again in sent.values():
                    await send(bus, again, account)
                missing = {(event.stream, event.version) for again in sent.values() for event in again}
                with anyio.fail_after(_PATIENCE):
                    async for delivery in deliveries:
                        await delivery.ack()
                        missing.discard((delivery.event.stream, delivery.event.version))
                        if not missing:
                            break
    return trial.account


CAMPAIGNS: Mapping[str, Callable[[valkey.Server, int], Awaitable[Account]]] = {
    "kill -9 of the broker": kill_the_broker,
    "kill -9 of a consumer": kill_a_consumer,
    "owner stopped for longer than its lease": stop_an_owner,
    PARTED: part_from_the_broker,
    "poison event": publish_poison,
    RETENTION: stay_away,
}


def campaigns_on(broker: str) -> Sequence[str]:
    """Return the names of the campaigns that a broker can be in. RabbitMQ keeps no events for a group that has not come yet."""
    return [name for name in CAMPAIGNS if name != RETENTION or broker != "rabbitmq"]


def run(broker: str, campaign: str, rounds: int) -> Mapping[str, int]:
    """Run a campaign on a server of its own, and return its figures."""
    with SERVERS[broker]() as server:
        return anyio.run(CAMPAIGNS[campaign], server, rounds).figures()


def main() -> None:
    """Run every campaign on every broker, and print its figures as a line of JSON."""
    parser = argparse.ArgumentParser(description="Break the buses on servers under load.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", choices=SERVERS, help="one broker")
    given = parser.parse_args()
    for broker in [given.only] if given.only else SERVERS:
        for campaign in campaigns_on(broker):
            print(
                json.dumps({"broker": broker, "chaos": campaign, "rounds": given.rounds, **run(broker, campaign, given.rounds)}), flush=True
            )


if __name__ == "__main__":
    main()
