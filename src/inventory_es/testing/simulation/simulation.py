"""Simulations: a plan played in a simulated world, on one event loop, and checked against the promises."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta

import anyio
import attrs

from inventory_es.domain.commands import Command
from inventory_es.domain.stream_id import StreamId
from inventory_es.testing.domain.history import PropertyError
from inventory_es.testing.domain.program import Program, other_payload
from inventory_es.testing.optional import require_event_loop
from inventory_es.testing.promise import BrokenPromiseError, MismatchError, Promise, report
from inventory_es.testing.simulation.breach import ONCE, REACHED, REBUILT, BreachError
from inventory_es.testing.simulation.clients import Answer, Clients
from inventory_es.testing.simulation.plan import Plan
from inventory_es.testing.simulation.referee import StreamReferee, check_misuse, check_orders
from inventory_es.testing.simulation.subject import Row, Subject
from inventory_es.testing.simulation.world import Counts, World

__tracebackhide__ = True
"""For pytest: a failure shows the line of the test that asked, not ours."""

_SHOWN = 12
_WIDTH = 150
_PATIENCE = 20
_DAY = timedelta(days=1)


@attrs.frozen(kw_only=True)
class Simulation:
    """A simulated run in which every promise was kept.

    Attributes:
        seed: the seed of every choice.
        trace: one line per occurrence; the same for the same plan, seed and parts, on every event loop.
        answers: every final answer, in the order in which the answers came.
        counts: how much happened.
    """

    seed: int
    trace: tuple[str, ...]
    answers: tuple[Answer, ...]
    counts: Counts

    @property
    def digest(self) -> str:
        """The fingerprint of the trace."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


def simulate(
    program: Plan | Program | None = None, /, *, seed: int = 0, backend: str = "asyncio", subject: Subject | None = None
) -> Simulation:
    """Run nodes over one store in virtual time, with a bus, a cache, restarts and clock jumps, in an order drawn from a seed.

    Args:
        program: the plan, or the :class:`~inventory_es.testing.domain.Program` of one inventory. Drawn from the seed by default.
        seed: decides the order of all tasks, the faults, and the plan if none is given.
        backend: the event loop: ``asyncio`` or ``trio``. The result is the same on both.
        subject: parts of your own.

    Returns:
        The run.

    Raises:
        BrokenPromiseError: a promise is broken. The last line of its text repeats the run.
        ImportError: the event loop is not installed.
    """
    require_event_loop(backend)
    plan = Plan.by_seed(seed) if program is None else Plan.of(program, seed=seed) if isinstance(program, Program) else program
    run = _Run(plan, seed, subject or Subject())
    repeat = _repeat(program, seed, backend, subject)
    try:
        anyio.run(run.play, backend=backend)
    except BreachError as breach:
        mismatch = MismatchError(expected=breach.expected, got=breach.got, meaning=breach.meaning)
        raise BrokenPromiseError(breach.promise, run.report(breach.promise, mismatch, backend, repeat)) from breach
    except PropertyError as error:
        promise = Promise(", ".join(sorted(error.broken)), "What a log alone shows holds after every event.", 0)
        mismatch = MismatchError(expected="a history that folds", got=str(error), meaning="the log breaks a property")
        raise BrokenPromiseError(promise, run.report(promise, mismatch, backend, repeat)) from error
    except Exception as error:
        error.add_note(f"while simulating; repeat with {repeat}")
        raise
    return Simulation(seed=seed, trace=tuple(run.world.trace), answers=tuple(run.clients.answers), counts=run.world.counts)


class _Run:
    world: World
    clients: Clients

    def __init__(self, plan: Plan, seed: int, subject: Subject) -> None:
        self.plan = plan
        self.seed = seed
        self.subject = subject
        self.inventories = [one.inventory_id for one in plan.programs]

    async def play(self) -> None:
        self.world = World(self.plan, self.seed, self.subject)
        self.clients = Clients(self.world)
        await self.world.scheduler.run("script", self._script())
        self._judge()

    def report(self, promise: Promise, mismatch: MismatchError, backend: str, repeat: str) -> str:
        return report(
            promise,
            mismatch,
            kind="nodes",
            adapter=f"{self.plan.nodes} over one store",
            circumstances=f"backend {backend}, seed {self.seed}",
            history=f"\n{'':12}".join(line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…" for line in self.world.trace[-_SHOWN:]),
            repeat=repeat,
        )

    async def _script(self) -> None:
        world, clients = self.world, self.clients
        for program in self.plan.programs:
            for call in program.setup:
                world.clock.reach(call.at)
                await clients.send((call.command,))
        world.begin_storm()
        for program in self.plan.programs:
            clients.start_program(program)
        for number, order in enumerate(self.plan.orders):
            clients.start(f"shopper {number}", orders=(order,))
        clients.start_reader(self.inventories, questions=5)
        began = world.scheduler.count
        while clients.busy and world.scheduler.count - began < self.plan.heals_at:
            await world.scheduler.sleep(0.2)
        world.end_storm()
        while clients.busy:
            await world.scheduler.sleep(0.5)
        await self._redeliver()
        await self._reach()
        world.is_over = True
        await world.bus.aclose()

    async def _redeliver(self) -> None:
        """Send every accepted command once more, a day later, and some of them with another payload."""
        world, head = self.world, self.world.log.head
        accepted = {(one.command.inventory_id, one.command.command_id): one for one in self.clients.answers if one.is_accepted}
        world.clock.reach(world.clock.now() + _DAY)
        for first in accepted.values():
            again = (await self.clients.send((first.command,)))[0]
            got = again.outcome
            if (
                isinstance(got, Exception)
                or not got.replayed
                or isinstance(first.outcome, Exception)
                or got.version != first.outcome.version
            ):
                raise BreachError(ONCE, f"{first.outcome} again", f"{got}", "an accepted command was sent once more")
            if world.chance.random() < 0.2:
                misused = other_payload(first.command)
                refused = (await self.clients.send((misused,)))[0]
                check_misuse(misused, refused.outcome, head, world.log.head)
        if world.log.head != head:
            raise BreachError(ONCE, f"{head} events", f"{world.log.head} events", "commands that were accepted before were accepted again")

    async def _reach(self) -> None:
        """Check that every consumer reaches the end by itself, and that a new one reaches it from zero."""
        world = self.world
        for _ in range(_PATIENCE):
            if all(one.checkpoint >= world.log.head for one in world.consumers):
                break
            await world.scheduler.sleep(1.0)
        expected = self._rows()
        for consumer in world.consumers:
            if consumer.rows != expected or consumer.taken != world.log.head:
                got = f"{_describe_rows(consumer.rows)}, {consumer.taken} events"
                raise BreachError(
                    REACHED, f"{_describe_rows(expected)}, {world.log.head} events", got, "a projection is behind, or took what it had"
                )
        rebuilt = self.subject.consumer(self.subject.codec)
        await rebuilt.catch_up(world.nodes[0].feed)
        if rebuilt.rows != expected:
            raise BreachError(REBUILT, _describe_rows(expected), _describe_rows(rebuilt.rows), "a rebuild gives something else")

    def _rows(self) -> dict[StreamId, Row]:
        rows: dict[StreamId, Row] = {}
        for one in self.world.log.read_feed(0, self.world.log.head):
            event = self.subject.codec.decode(one)
            rows[one.stream] = Row(one.version, event.on_hand, event.reserved)
        return rows

    def _judge(self) -> None:
        world, clients = self.world, self.clients
        commands: list[Command] = [one.command for one in clients.answers]
        referees = {one: StreamReferee(one, world.log, self.subject.codec) for one in self.inventories}
        check_orders(self.plan.orders, referees)
        for inventory_id, referee in referees.items():
            referee.check(
                [one for one in commands if one.inventory_id == inventory_id],
                [one for one in clients.answers if one.command.inventory_id == inventory_id],
                [one for one in clients.observations if one.inventory_id == inventory_id],
            )


def _describe_rows(rows: Mapping[StreamId, Row]) -> str:
    return ", ".join(f"{stream}@{row.version} {row.on_hand}/{row.reserved}" for stream, row in sorted(rows.items()))


def _repeat(program: object, seed: int, backend: str, subject: object) -> str:
    if program is None and subject is None:
        return f"python -m inventory_es.testing.simulation --seed {seed} --backend {backend}"
    given = "" if program is None else "<the same program>, "
    return f"simulate({given}seed={seed}, backend={backend!r}{'' if subject is None else ', subject=<the same parts>'})"
