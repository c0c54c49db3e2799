"""Clients that send commands and read stock. They repeat a command, to any node, until it has an answer; some send it twice at once."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import attrs

from inventory_es.application.commands.decision import CommandOutcome
from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.commands import Command, RecordCount
from inventory_es.domain.errors import ClockSkewError, CommandsRejectedError, InventoryError, RejectionError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError, UnavailableError
from inventory_es.testing.domain.formatting import describe
from inventory_es.testing.domain.program import Call, Program
from inventory_es.testing.simulation.breach import CACHED, EXPLAINED, KEPT, BreachError
from inventory_es.testing.simulation.node import Node
from inventory_es.testing.simulation.scheduler import StoppedError
from inventory_es.testing.simulation.world import World, cache_key

T = TypeVar("T")

TTL = timedelta(seconds=30)
_AGAIN = (AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError, ClockSkewError)
_TWICE = 0.15


@attrs.frozen(kw_only=True)
class Answer:
    """One command and its answer.

    Attributes:
        command: the command.
        outcome: an acceptance or a refusal. ``ValueError`` refuses a count of a version that is still to come.
        since: version of the stream when the command was sent.
        until: version of the stream when the answer came.
        clocks: times that the node's clock gave in between.
    """

    command: Command
    outcome: CommandOutcome | RejectionError | ValueError
    since: int
    until: int
    clocks: tuple[datetime, ...]

    @property
    def is_accepted(self) -> bool:
        """True if the command was accepted and is no no-op."""
        return not isinstance(self.outcome, Exception) and getattr(self.outcome, "changed", True)


@attrs.frozen(kw_only=True)
class Observation:
    """The stock of one inventory, as a reader was shown it.

    Attributes:
        inventory_id: the inventory.
        version: version that the figures belong to.
        on_hand: units on hand.
        reserved: units reserved.
        since: version of the stream when the figures were read; of cached figures, when they were read for the cache.
        until: version of the stream when the reader was shown them.
    """

    inventory_id: InventoryId
    version: int
    on_hand: int
    reserved: int
    since: int
    until: int


class Clients:
    """All senders and readers outside the application.

    Args:
        world: the application, in its world.

    Attributes:
        answers: every final answer to a command.
        observations: every answer to a reader.
        busy: how many clients are not done.
    """

    def __init__(self, world: World) -> None:
        self.answers: list[Answer] = []
        self.observations: list[Observation] = []
        self.busy: int = 0
        self._world = world
        self._fills = 0
        self._kept_at: dict[int, datetime] = {}

    def start(self, name: str, *calls: Call, orders: Sequence[Sequence[Command]] = ()) -> None:
        """Start a client that sends calls one after the other, then orders."""
        self.busy += 1
        self._world.scheduler.start(name, self._work(calls, orders))

    def start_program(self, program: Program) -> None:
        """Start a client that sends the steps, and then starts one client per parallel call."""
        self.busy += 1
        self._world.scheduler.start(f"clerk of {program.inventory_id.product_id}", self._go_through(program))

    def start_reader(self, inventories: Sequence[InventoryId], *, questions: int) -> None:
        """Start a client that reads stock now and then."""
        self.busy += 1
        self._world.scheduler.start("reader", self._ask(inventories, questions))

    async def _go_through(self, program: Program) -> None:
        for call in program.steps:
            self._world.clock.reach(call.at)
            await self.send((call.command,))
        for number, call in enumerate(program.parallel):
            copies = 2 if self._world.chance.random() < _TWICE else 1
            for copy in range(copies):
                self.start(f"caller {program.inventory_id.product_id}/{number}.{copy}", call)
        self.busy -= 1

    async def _work(self, calls: Sequence[Call], orders: Sequence[Sequence[Command]]) -> None:
        for commands in [*[(call.command,) for call in calls], *orders]:
            await self._world.scheduler.sleep(self._world.chance.choice((0.0, 0.0, 0.001, 0.5)))
            await self.send(commands)
        self.busy -= 1

    async def _ask(self, inventories: Sequence[InventoryId], questions: int) -> None:
        for _ in range(questions):
            await self._world.scheduler.sleep(3 * self._world.chance.random())
            await self._read_stock(self._world.chance.choice(inventories))
        self.busy -= 1

    async def send(self, commands: Sequence[Command]) -> list[Answer]:
        """Send commands together, again and again until they have their answers."""
        world = self._world
        while True:
            node = world.chance.choice(world.nodes)
            wait = 0.01 + world.chance.random()
            try:
                answers = await self._send_once(node, commands)
            except _AGAIN as problem:
                world.counts.unknown += isinstance(problem, AppendOutcomeUnknownError)
                world.note(f"{world.scheduler.running.name}: {type(problem).__name__} from {node}")
                if isinstance(problem, AppendOutcomeUnknownError):  # another node may not know the append yet
                    wait = max(wait, problem.retry_after or 0.0)
            except StoppedError:
                if not node.life.is_stopped:
                    raise
                world.counts.unknown += 1
                world.note(f"{world.scheduler.running.name}: {node} ended")
                while node.life.in_flight:
                    await world.scheduler.sleep(1.0)
            else:
                self.answers += answers
                return answers
            await world.scheduler.sleep(wait)

    async def _send_once(self, node: Node, commands: Sequence[Command]) -> list[Answer]:
        world = self._world
        since = [world.log.version_of(one.inventory_id.stream) for one in commands]
        first = len(node.clock.readings)
        world.counts.commands += 1
        world.note(f"{world.scheduler.running.name}: {', '.join(map(describe, commands))} to {node}")
        outcomes: Sequence[CommandOutcome | RejectionError | ValueError | None]
        try:
            if len(commands) == 1:
                outcomes = [await self._in(node, lambda: node.engine.handler.execute(commands[0]))]
            else:
                outcomes = await self._in(node, lambda: node.engine.handler.execute_all(commands))
        except CommandsRejectedError as error:
            why = dict(zip(error.indexes, error.rejections, strict=True))
            outcomes = [why.get(number) for number in range(len(commands))]
        except RejectionError as error:
            outcomes = [error]
        except _AGAIN:
            raise
        except (ValueError, InventoryError) as error:
            if not isinstance(commands[0], RecordCount) or not isinstance(error, ValueError):
                raise BreachError(
                    EXPLAINED, "an answer, or a failure that another try may mend", repr(error), f"{describe(commands[0])} got neither"
                ) from error
            outcomes = [error]
        clocks = tuple(node.clock.readings[first:])
        answers: list[Answer] = []
        for command, outcome, version in zip(commands, outcomes, since, strict=True):
            if outcome is None:
                continue
            until = world.log.version_of(command.inventory_id.stream)
            answers.append(Answer(command=command, outcome=outcome, since=version, until=until, clocks=clocks))
            self._note(answers[-1])
        return answers

    def _note(self, answer: Answer) -> None:
        """Add the answer to the trace, and check an acceptance against the log at once."""
        counts, outcome, command = self._world.counts, answer.outcome, answer.command
        self._world.note(f"{self._world.scheduler.running.name}: {_describe_outcome(outcome)}")
        if isinstance(outcome, Exception) or not answer.is_accepted:
            counts.refused += 1
            return
        counts.replayed += outcome.replayed
        counts.accepted += not outcome.replayed
        stream = command.inventory_id.stream
        kept = self._world.log.find(stream, [EventIds(stream).first_own(command)])
        if not kept or kept[0].version > outcome.version or outcome.version > answer.until:
            raise BreachError(
                KEPT, f"version {outcome.version} of {stream} to be its event", f"{describe(command)} at {[one.version for one in kept]}",
                f"it was acknowledged, and the stream has version {answer.until}",
            )  # fmt: skip

    async def _read_stock(self, inventory_id: InventoryId) -> None:
        world, key = self._world, cache_key(inventory_id.stream)
        node = world.chance.choice(world.nodes)
        try:
            entry = await world.cache.get(key)
        except UnavailableError:
            entry = None
        if entry is not None:
            seen = json.loads(entry.value)
            self._check_age(seen["fill"])
            self._observe(Observation(inventory_id=inventory_id, until=world.log.version_of(inventory_id.stream), **seen["level"]))
            return
        since = world.log.version_of(inventory_id.stream)
        try:
            level = await self._in(node, lambda: node.engine.reads.stock(inventory_id))
        except _AGAIN:
            return
        except InventoryError as error:
            raise BreachError(EXPLAINED, f"the stock of {inventory_id}", repr(error), "a question got no answer") from error
        except StoppedError:
            if not node.life.is_stopped:
                raise
            return
        found = {"version": level.version, "on_hand": level.on_hand, "reserved": level.reserved, "since": since}
        self._observe(Observation(inventory_id=inventory_id, until=world.log.version_of(inventory_id.stream), **found))
        await self._keep(key, found)

    async def _keep(self, key: str, level: dict[str, int]) -> None:
        self._fills += 1
        fill = self._fills
        try:
            value = json.dumps({"fill": fill, "level": level}).encode()
            await self._world.cache.set(key, value, version=level["version"], ttl=TTL)
        except UnavailableError:
            self._world.note("reader: could not keep it")
        finally:
            self._kept_at[fill] = self._world.clock.now()

    def _check_age(self, fill: int) -> None:
        kept_at = self._kept_at.get(fill)
        if kept_at is not None and self._world.clock.now() >= kept_at + TTL:
            age = self._world.clock.now() - kept_at
            raise BreachError(CACHED, f"nothing older than {TTL}", f"an answer that is {age} old", "the cache outlived its time to live")

    def _observe(self, observation: Observation) -> None:
        self._world.counts.reads += 1
        found = f"{observation.inventory_id.product_id} {observation.on_hand}/{observation.reserved}@{observation.version}"
        self._world.note(f"{self._world.scheduler.running.name}: {found}")
        self.observations.append(observation)

    async def _in(self, node: Node, call: Callable[[], Awaitable[T]]) -> T:
        task = self._world.scheduler.running
        task.process = node.life
        try:
            return await call()
        finally:
            task.process = None


def _describe_outcome(outcome: CommandOutcome | RejectionError | ValueError) -> str:
    if isinstance(outcome, Exception):
        return describe(outcome) if isinstance(outcome, InventoryError) else repr(outcome)
    changed = "replayed" if outcome.replayed else "done" if getattr(outcome, "changed", True) else "nothing to do"
    return f"{changed}, version {outcome.version}"
