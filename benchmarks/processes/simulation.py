"""The simulation: processes with lanes and a shared commit each, over one store that takes one writer at a time.

The simulation follows the engine. A lane decides all waiting commands on the state that its process knows, and appends once. Concurrent
appends of one process share the next commit, one in flight. A conflict costs a read of the tail and another decision, after a random
pause, a bounded number of times. The store checks only versions, so a stale view of the owners costs time, never a unit. Readers see only
synced events. So a process that decides during another's commit comes too late. If the store gives priority, a process that was late
three times reads, decides and appends in one.
"""

from collections import defaultdict
from random import Random

from benchmarks.processes.kernel import Kernel, Lock, Semaphore, Signal, Steps
from benchmarks.processes.model import Costs, Load, Outcome, Way
from benchmarks.processes.routing import owner_of

MAX_ATTEMPTS = 12
RACES = 3
MAX_BATCH = 512
FIRST_WAIT = 0.002
LONGEST_WAIT = 1.0


class Command:
    """A command that waits for its answer."""

    __slots__ = ("answered", "asked_at", "home", "product")

    def __init__(self, kernel: Kernel, product: int, home: str) -> None:
        self.product = product
        self.home = home
        self.asked_at = kernel.now
        self.answered = Signal(kernel)


class Append:
    """An append of one lane, or of one free command."""

    __slots__ = ("done", "events", "expected", "is_stored", "product")

    def __init__(self, kernel: Kernel, product: int, expected: int, events: int) -> None:
        self.product = product
        self.expected = expected
        self.events = events
        self.is_stored = False
        self.done = Signal(kernel)


class Store:
    """A store that takes one commit at a time."""

    def __init__(self, kernel: Kernel, costs: Costs) -> None:
        self.writer = Lock(kernel, wake=costs.wake, polls=costs.polls)
        self.position = 0


class World:
    """Everything that processes share: the time, the versions of streams, the processor, the outcome."""

    def __init__(self, costs: Costs, seed: int) -> None:
        self.kernel = Kernel()
        self.costs = costs
        self.chance = Random(seed)
        self.cores = Semaphore(self.kernel, costs.cores)
        self.versions: defaultdict[int, int] = defaultdict(int)
        self.asking: set[Command] = set()
        self.outcome = Outcome()

    def answer(self, command: Command, *, is_accepted: bool) -> None:
        """Note the outcome of a command."""
        self.asking.discard(command)
        if is_accepted:
            self.outcome.waits.append(self.kernel.now - command.asked_at)
            self.outcome.at(self.kernel.now, accepted=1)
            self.outcome.served[command.home] += 1
        else:
            self.outcome.failed += 1
        command.answered.set()


class Process:
    """One process: its lanes, its knowledge, and its commits."""

    def __init__(self, name: str, world: World, store: Store, way: Way) -> None:
        self.name = name
        self.view: tuple[str, ...] = (name,)
        self._world = world
        self._store = store
        self._way = way
        self._known: dict[int, int] = {}
        self._waiting: defaultdict[int, list[Command]] = defaultdict(list)
        self._open: set[int] = set()
        self._appends: list[Append] = []
        self._is_committing = False
        self._position = 0
        self._interpreter = Semaphore(world.kernel, 1)
        self._owners: dict[tuple[int, tuple[str, ...]], str] = {}

    def learn(self, names: tuple[str, ...]) -> None:
        """Learn the members. A process that has just opened the store knows its contents."""
        self.view = names
        self._position = self._position or self._store.position

    def owner(self, product: int) -> str:
        """Return the owner of a product, as far as this process knows."""
        key = (product, self.view)
        if key not in self._owners:
            self._owners[key] = owner_of(str(product), self.view)
        return self._owners[key]

    def accept(self, command: Command) -> None:
        """Serve a command."""
        product, kernel = command.product, self._world.kernel
        if self._way == "free":
            kernel.start(self._serve(product, [command]))
        else:
            self._waiting[product].append(command)
            if product not in self._open:
                self._open.add(product)
                kernel.start(self._lane(product))

    def _lane(self, product: int) -> Steps:
        while self._waiting[product]:
            batch = self._waiting[product][:MAX_BATCH]
            del self._waiting[product][:MAX_BATCH]
            yield from self._serve(product, batch)
        self._open.discard(product)

    def _serve(self, product: int, batch: list[Command]) -> Steps:
        world, costs = self._world, self._world.costs
        is_stored = False
        for attempt in range(MAX_ATTEMPTS):
            has_turn = costs.turns and attempt >= RACES
            if has_turn:
                yield from self._store.writer.take()
            elif attempt > 1:
                yield min(FIRST_WAIT * 2.0 ** (attempt - 2), LONGEST_WAIT) * (0.5 + 0.5 * world.chance.random())
            version = None if attempt else self._known.pop(product, None)
            if version is None:
                yield costs.read
                version = world.versions[product]
            yield from self._compute(costs.decide * len(batch))
            world.outcome.decided += len(batch)
            append = Append(world.kernel, product, version, len(batch))
            if has_turn:
                yield from self._write([append])
                self._store.writer.give()
            else:
                yield from self._append(append)
            is_stored = append.is_stored
            if is_stored:
                self._known[product] = version + len(batch)
                break
            world.outcome.at(world.kernel.now, in_vain=len(batch))
        for command in batch:
            world.answer(command, is_accepted=is_stored)

    def _append(self, append: Append) -> Steps:
        self._appends.append(append)
        if not self._is_committing:
            self._is_committing = True
            self._world.kernel.start(self._commit())
        yield append.done

    def _commit(self) -> Steps:
        while self._appends:
            appends, self._appends = self._appends[:MAX_BATCH], self._appends[MAX_BATCH:]
            yield from self._store.writer.take()
            yield from self._write(appends)
            self._store.writer.give()
            for append in appends:
                append.done.set()
            yield self._world.costs.turn
        self._is_committing = False

    def _write(self, appends: list[Append]) -> Steps:
        """Write one commit while the store is held."""
        world, store, costs = self._world, self._store, self._world.costs
        held = costs.check + costs.foreign * (store.position - self._position)
        versions: dict[int, int] = {}
        events = 0
        for append in appends:
            version = versions.get(append.product, world.versions[append.product])
            append.is_stored = version == append.expected
            if append.is_stored:
                versions[append.product] = version + append.events
                events += append.events
        if events:
            held += costs.commit + costs.write * events
            world.outcome.stored += events
        store.position += events
        self._position = store.position
        yield held
        world.versions.update(versions)

    def _compute(self, seconds: float) -> Steps:
        yield from self._interpreter.take()
        yield from self._world.cores.take()
        yield seconds
        self._world.cores.give()
        self._interpreter.give()


def simulate(
    load: Load, way: Way, costs: Costs, *, seconds: float, seed: int = 1, joins_at: float | None = None, lag: float = 0.0
) -> Outcome:
    """Run ``seconds`` of virtual time.

    Args:
        load: the load.
        way: how commands are served.
        costs: the costs.
        seconds: duration.
        seed: decides all chance; the same seed gives the same outcome.
        joins_at: when the last process joins; from the beginning by default.
        lag: seconds within which every other process learns of that.
    """
    world = World(costs, seed)
    names = tuple(f"process-{number}" for number in range(load.processes))
    shared = Store(world.kernel, costs)
    processes = {name: Process(name, world, Store(world.kernel, costs) if way == "parted" else shared, way) for name in names}
    world.outcome.served = dict.fromkeys(names, 0)
    for process in processes.values():
        process.view = names if joins_at is None else names[:-1]
    if joins_at is not None:
        for name, process in processes.items():
            world.kernel.wake(_learn(process, names), joins_at + (lag * world.chance.random() if name != names[-1] else 0.0))
    for number in range(load.callers):
        world.kernel.start(_caller(world, processes, names[number % load.processes], load, way))
    world.kernel.run(seconds)
    world.outcome.seconds = seconds
    world.outcome.unanswered = sorted(seconds - command.asked_at for command in world.asking)
    return world.outcome


def _caller(world: World, processes: dict[str, Process], name: str, load: Load, way: Way) -> Steps:
    """Send commands to a process, which forwards them to the owner that it knows if streams are routed."""
    home = processes[name]
    while True:
        is_hot = world.chance.random() < load.hot
        command = Command(world.kernel, 0 if is_hot else world.chance.randrange(load.products), name)
        world.asking.add(command)
        server = processes[home.owner(command.product)] if way in {"routed", "parted"} else home
        if server is not home:
            yield world.costs.forward
        server.accept(command)
        yield command.answered
        if server is not home:
            yield world.costs.forward


def _learn(process: Process, names: tuple[str, ...]) -> Steps:
    process.learn(names)
    yield 0.0
