"""Feed partitions and cells on paper: ``python -m benchmarks.processes.partitions`` writes the tables of their page.

Nothing of this is built. A store with one feed takes one commit at a time. A store with partitions takes one for each partition, and
appends that wait for the disk share its next sync. The costs are those that reproduce six measured rates of one server, see
:data:`MEASURED`. A run is in virtual time, so it gives the same figures on every machine.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Literal

import attrs

from benchmarks.contender_line import ROOT
from benchmarks.processes.kernel import Kernel, Semaphore, Signal, Steps
from benchmarks.report import short, table

Grouping = Literal["by partition", "together", "owned"]
"""How a process groups its commands: an append for each partition; one append over all partitions, with their locks in order; the same,
and each partition belongs to one process, to which its commands are sent."""

GROUPINGS: dict[Grouping, str] = {
    "by partition": "any process, an append for each partition",
    "together": "any process, one append over all its partitions",
    "owned": "each partition owned by one process",
}
PARTITIONS = (1, 2, 4, 16, 64, 256, 1_024, 4_096)
CELLS = (1, 2, 4, 8, 16)
HOT = {"any product": 0.0, "a fifth wants one product": 0.2}
MEASURED = ((1, 1, 1, 1_279), (1, 1, 64, 21_029), (1, 8, 1, 1_663), (1, 8, 64, 25_234), (8, 8, 1, 3_350), (8, 8, 64, 36_937))
"""Partitions, connections, events in a commit, and measured appends per second: PostgreSQL 18.6 on two cores, which the clients shared."""

HEAD = "<!-- Written by `python -m benchmarks.processes.partitions`: run that instead of editing this. -->"
MAX_BATCH = 512


@attrs.frozen(kw_only=True)
class Costs:
    """Costs, in seconds unless stated.

    Attributes:
        statement: processor time of the server for one append.
        event: the same, more for each event.
        sync: time of one sync of the log. Appends that wait for it share it.
        client: processor time of the process for one append.
        command: the same, more for each command.
        forward: time until a command, or its answer, has reached another process.
        cores: processors of one server.
        connections: appends of one process that may be under way at once.
        is_shared: True if the clients use the processors of the server.
    """

    statement: float = 310e-6
    event: float = 31e-6
    sync: float = 290e-6
    client: float = 150e-6
    command: float = 15e-6
    forward: float = 60e-6
    cores: int = 32
    connections: int = 4
    is_shared: bool = False


class Cell:
    """One server: a lock for each of its partitions, processors, and a log that one sync at a time makes durable."""

    def __init__(self, kernel: Kernel, costs: Costs) -> None:
        self.cores = Semaphore(kernel, costs.cores)
        self._kernel = kernel
        self._costs = costs
        self._locks: defaultdict[int, Semaphore] = defaultdict(lambda: Semaphore(kernel, 1))
        self._next = Signal(kernel)
        self._waiting = 0
        self._is_syncing = False

    def append(self, partitions: Sequence[int], events: int) -> Steps:
        """Append events under the locks of their partitions, which are taken in order and held until the log is synced."""
        locks = [self._locks[one] for one in sorted(partitions)]
        for lock in locks:
            yield from lock.take()
        yield from self.cores.take()
        yield self._costs.statement + self._costs.event * events
        self.cores.give()
        self._waiting += 1
        synced = self._next
        if not self._is_syncing:
            self._is_syncing = True
            self._kernel.start(self._sync())
        yield synced
        for lock in locks:
            lock.give()

    def _sync(self) -> Steps:
        while self._waiting:
            synced, self._next, self._waiting = self._next, Signal(self._kernel), 0
            yield self._costs.sync
            synced.set()
        self._is_syncing = False


class Process:
    """One process. Its callers wait in a queue for each partition, and the next append takes what has gathered."""

    def __init__(self, kernel: Kernel, costs: Costs, grouping: Grouping, cells: Sequence[Cell]) -> None:
        self._kernel = kernel
        self._costs = costs
        self._grouping = grouping
        self._cells = cells
        self._interpreter = Semaphore(kernel, 1)
        self._connections = Semaphore(kernel, costs.connections)
        self._queues: defaultdict[int, list[tuple[int, Signal]]] = defaultdict(list)
        self._open: set[int] = set()
        self.answered = 0

    def accept(self, partition: int) -> Signal:
        """Queue a command and return the signal of its answer."""
        lane = partition if self._grouping == "by partition" else partition % len(self._cells)
        answered = Signal(self._kernel)
        self._queues[lane].append((partition, answered))
        if lane not in self._open:
            self._open.add(lane)
            self._kernel.start(self._commit(lane))
        return answered

    def _commit(self, lane: int) -> Steps:
        while self._queues[lane]:
            yield from self._connections.take()
            batch, self._queues[lane] = self._queues[lane][:MAX_BATCH], self._queues[lane][MAX_BATCH:]
            yield from self._interpreter.take()
            yield from self._compute(self._costs.client + self._costs.command * len(batch), lane)
            self._interpreter.give()
            yield from self._cells[lane % len(self._cells)].append(list({partition for partition, _ in batch}), len(batch))
            self._connections.give()
            self.answered += len(batch)
            for _, answered in batch:
                answered.set()
        self._open.discard(lane)

    def _compute(self, seconds: float, lane: int) -> Steps:
        cores = self._cells[lane % len(self._cells)].cores
        if self._costs.is_shared:
            yield from cores.take()
        yield seconds
        if self._costs.is_shared:
            cores.give()


def simulate(
    grouping: Grouping,
    *,
    partitions: int,
    costs: Costs,
    processes: int = 16,
    callers: int = 4_096,
    cells: int = 1,
    hot: float = 0.0,
    seconds: float = 0.25,
) -> float:
    """Return the accepted commands per second.

    Args:
        grouping: how a process groups commands.
        partitions: of the feed, spread over the cells by their number.
        costs: the costs.
        processes: number of processes.
        callers: callers, spread evenly over the processes. Each sends again as soon as it is answered.
        cells: servers.
        hot: share of the commands for one product, which is in partition 0. The others are for any product.
        seconds: of virtual time.
    """
    kernel, chance = Kernel(), Random(1)
    servers = [Cell(kernel, costs) for _ in range(cells)]
    workers = [Process(kernel, costs, grouping, servers) for _ in range(processes)]

    def call(home: Process) -> Steps:
        while True:
            partition = 0 if chance.random() < hot else chance.randrange(partitions)
            worker = workers[partition % processes] if grouping == "owned" else home
            if worker is not home:
                yield costs.forward
            yield worker.accept(partition)
            if worker is not home:
                yield costs.forward

    for number in range(callers):
        kernel.start(call(workers[number % processes]))
    kernel.run(seconds)
    return sum(one.answered for one in workers) / seconds


def check() -> Iterator[str]:
    """Return a table of the measured rates, each beside the rate of the model."""
    costs = Costs(cores=2, connections=1, is_shared=True, forward=0.0)
    rows: list[Sequence[str]] = [("Appends per second, two cores", "connections", "events in a commit", "measured", "simulated")]
    for partitions, connections, events, rate in MEASURED:
        grouping: Grouping = "together" if partitions == 1 else "owned"
        told = simulate(grouping, partitions=partitions, processes=connections, callers=connections * events, costs=costs)
        way = "one feed" if partitions == 1 else f"{partitions} partitions"
        rows.append((way, str(connections), str(events), short(rate), short(told)))
    yield from table(rows)


def predict() -> Iterator[str]:
    """Return the tables of more and more partitions in one server, and of more and more cells."""
    yield from table(
        [
            ("Partitions of one server with 32 cores, 16 processes", *(f"{number:,}" for number in PARTITIONS)),
            *(
                (told, *(short(simulate(grouping, partitions=number, costs=Costs())) for number in PARTITIONS))
                for grouping, told in GROUPINGS.items()
            ),
        ]
    )
    yield ""
    yield from table(
        [
            ("Cells for 4,096 partitions, 16 processes each", *(str(number) for number in CELLS)),
            *((told, *(short(_of_cells(number, hot)) for number in CELLS)) for told, hot in HOT.items()),
        ]
    )


def _of_cells(number: int, hot: float) -> float:
    return simulate("owned", partitions=4_096, processes=16 * number, callers=4_096 * number, cells=number, hot=hot, costs=Costs())


def main() -> None:
    """Write the page's tables into the docs."""
    written: Path = ROOT / "docs" / "benchmarks" / "partitions.md"
    written.write_text("\n".join((HEAD, "", *check(), "", *predict(), "")), encoding="utf-8")
    print(written.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
