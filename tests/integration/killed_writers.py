"""Four processes write to one stream of a file store and are killed at random, round after round; then their histories are judged.

Deep run: ``python -m tests.integration.killed_writers 100``.
"""

import sys
import tempfile
from collections.abc import Hashable
from pathlib import Path
from random import Random

import anyio

from inventory_es.testing import Site
from inventory_es.testing.contracts.core.contract import Run
from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.core.history import History
from inventory_es.testing.contracts.core.schedule import PLAIN, Schedule
from inventory_es.testing.contracts.event_store import EventStoreContract
from inventory_es.testing.contracts.event_store.linearizability import find_violation
from inventory_es.testing.contracts.event_store.writer import STREAM, operations
from inventory_es.testing.contracts.processes.other_process import OtherProcess, Step, other_process, task
from inventory_es.testing.promise import Promise
from tests.contract.test_file_event_store import TestFileEventStore as FileContract

WRITERS = 4
_ENDLESS = 1_000_000


async def torture(contract: EventStoreContract, folder: Path, *, rounds: int, seed: int, backend: str) -> dict[str, int]:
    """Run the rounds on one site, check the merged history of all of them, and count what happened.

    Raises:
        AssertionError: an acknowledged append is lost, or the history is not linearizable.
    """
    site = Site("torture", folder)
    run = Run(contract, Promise("ES-43", "torture", 0), backend, PLAIN, site, History(), Schedule(PLAIN, ""))
    chance = Random(seed)
    steps: list[Step] = []
    for number in range(rounds):
        async with anyio.create_task_group() as tasks:
            for writer in range(WRITERS):
                tasks.start_soon(_write_until_killed, contract, run, f"r{number}w{writer}", chance.randint(3, 60), steps)
        await _judge(contract, site, steps)
    answered = [step for step in steps if "answered" in step]
    unknown = sum("asked" in step for step in steps) - len(answered)
    return {
        "kills": rounds * WRITERS,
        "acknowledged": sum("version" in step for step in answered),
        "conflicts": sum("actual" in step for step in answered),
        "cut off": unknown,
    }


async def _write_until_killed(contract: EventStoreContract, run: Run, writer: str, steps_to_live: int, steps: list[Step]) -> None:
    arguments = contract.spawn(run.site)
    assert arguments is not None
    async with other_process([*arguments, task(run, writer, _ENDLESS)]) as other:
        await other.go()
        await _hear(other, steps_to_live)
        await other.kill()
        steps += other.steps


async def _hear(other: OtherProcess, count: int) -> None:
    while len(other.steps) < count:
        assert await other.hear() is not None, "a writer ended by itself"


async def _judge(contract: EventStoreContract, site: Site, steps: list[Step]) -> None:
    async with contract.open_store(site) as store:
        log: list[Hashable] = []
        is_end = False
        while not is_end:
            page = await store.read_stream(stream_id(STREAM), after=len(log), limit=1_000)
            log += [event.event_id for event in page.events]
            is_end = page.is_end
    violation = find_violation(operations(steps), log)
    assert violation is None, violation


def main() -> None:
    """The deep run."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as folder:
        counts = anyio.run(lambda: torture(FileContract(), Path(folder), rounds=rounds, seed=1, backend="asyncio"))
    print(f"{rounds} rounds: {counts}, no violation")


if __name__ == "__main__":
    main()
