"""Processes with a service each over one store, which do what they are asked: an async function of a node and of arguments.

What a function takes and returns is pickled. Each process has a clock of its own, which the functions set.
"""

import multiprocessing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import anyio
import anyio.to_thread
import attrs

from inventory_es.domain.commands import Command
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError
from inventory_es.processes import Orders, Transfers
from inventory_es.testing import ManualClock
from inventory_es.testing.domain.scenarios import START
from inventory_es.testing.simulation.clients import Observation
from inventory_es.wiring import open_inventory
from tests.integration.command_side import outcome_of
from tests.property.serial_order import Sent
from tests.simulation.order_world import Watched

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 60.0
"""Seconds for an answer of a process."""
ATTEMPTS = 30
"""How often a command is sent while its outcome is none of the domain's."""
Task = Sequence[tuple[Command, ...] | InventoryId]
"""What one caller sends, one after the other: a command, several commands together, or the stock of which inventory to look at."""


@attrs.define
class Node:
    """A process seen from inside: its service, its clock, and the processes of orders and transfers over both."""

    service: Watched
    clock: ManualClock
    orders: Orders
    transfers: Transfers

    @classmethod
    @asynccontextmanager
    async def on(cls, url: str) -> AsyncIterator[Self]:
        """Open a service over the store of this URL."""
        clock = ManualClock(START)
        plain = open_inventory(url, clock=clock)
        service = Watched(plain._opening._open_store, plain.parts, owns_store=True)
        service.sent = []
        async with service:
            yield cls(service, clock, Orders(service), Transfers(service))

    async def version(self, inventory_id: InventoryId) -> int:
        return (await self.service.store.read_stream(inventory_id.stream, limit=1)).version

    async def send(self, commands: tuple[Command, ...]) -> Sent:
        """Send commands until the outcome is the domain's."""
        is_basket = len({(one.inventory_id, one.command_id) for one in commands}) == len(commands) > 1
        told = commands if is_basket else commands[:1]
        before = {one.inventory_id: await self.version(one.inventory_id) for one in told}
        outcome: Any = None
        for _ in range(ATTEMPTS):
            outcome = await outcome_of(self.service.execute_all(told) if is_basket else self.service.execute(told[0]))
            if not isinstance(outcome, AppendOutcomeUnknownError | ConcurrencyError | StoreUnavailableError):
                break
        after = {one.inventory_id: await self.version(one.inventory_id) for one in told}
        return Sent(told, is_basket, outcome, before, after, (self.clock.now(),))

    async def look(self, inventory_id: InventoryId) -> Observation:
        since = await self.version(inventory_id)
        level = await self.service.stock(inventory_id.product_id, inventory_id.store_id)
        until = await self.version(inventory_id)
        found = {"version": level.version, "on_hand": level.on_hand, "reserved": level.reserved}
        return Observation(inventory_id=inventory_id, since=since, until=until, **found)


async def play(node: Node, at: datetime, tasks: Sequence[Task]) -> tuple[list[Sent], list[Observation]]:
    """Play the tasks at the same time, at this time of the clock. Return what was sent and what was seen."""
    node.clock.at = at
    sent: list[Sent] = []
    seen: list[Observation] = []

    async def work(task: Task) -> None:
        for step in task:
            if isinstance(step, InventoryId):
                seen.append(await node.look(step))
            else:
                sent.append(await node.send(step))

    async with anyio.create_task_group() as group:
        for task in tasks:
            group.start_soon(work, task)
    return sent, seen


class Processes:
    """The processes, seen from outside, numbered from 0."""

    def __init__(self, pipes: Sequence["Connection[Any, Any]"]) -> None:
        self._pipes = pipes

    def __len__(self) -> int:
        return len(self._pipes)

    def open(self, url: str) -> None:
        """Let each process open the store of this URL, and close the one before."""
        self._ask([url] * len(self))

    def at_once(self, function: Callable[Concatenate[Node, P], Awaitable[T]], *works: Sequence[Any]) -> list[T]:
        """Let each process execute the function with arguments of its own, at the same time, and return their answers."""
        return self._ask([(function, arguments) for arguments in works])

    def one(self, number: int, function: Callable[Concatenate[Node, P], Awaitable[T]], *arguments: Any) -> T:
        """Let one process execute the function, and return its answer."""
        (answer,) = self._ask([(function, arguments)], number)
        return cast(T, answer)

    def _ask(self, questions: Sequence[Any], first: int = 0) -> list[Any]:
        asked = self._pipes[first : first + len(questions)]
        for pipe, question in zip(asked, questions, strict=True):
            pipe.send(question)
        answers = []
        for pipe in asked:
            assert pipe.poll(PATIENCE), "a process does not answer"
            answers.append(pipe.recv())
        for one in answers:
            if isinstance(one, Exception):
                raise one
        return answers


@contextmanager
def processes(*backends: str) -> Iterator[Processes]:
    """Start a process for each of these event loops, and end them with the block."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # imported once, not by each process
    pipes = [context.Pipe() for _ in backends]
    running = [
        context.Process(target=serve, args=(inside, backend), daemon=True) for (_, inside), backend in zip(pipes, backends, strict=True)
    ]
    try:
        for process, (_, inside) in zip(running, pipes, strict=True):
            process.start()
            inside.close()
        yield Processes([outside for outside, _ in pipes])
    finally:
        for process in running:
            process.kill()
            process.join()
        for outside, _ in pipes:
            outside.close()


def serve(pipe: "Connection[Any, Any]", backend: str) -> None:
    """Serve until killed."""
    anyio.run(_serve, pipe, backend=backend)


async def _serve(pipe: "Connection[Any, Any]") -> None:
    question = await anyio.to_thread.run_sync(pipe.recv)
    while True:
        async with Node.on(question) as node:
            pipe.send(None)
            while not isinstance(question := await anyio.to_thread.run_sync(pipe.recv), str):
                function, arguments = question
                pipe.send(await outcome_of(function(node, *arguments)))
