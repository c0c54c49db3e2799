"""ES-43, ES-45: a second process writes to the site; a process is killed while it writes."""

from collections.abc import Sequence

import anyio

from inventory_es.testing.event_store.bench import StoreBench, expect
from inventory_es.testing.event_store.races import describe_operation
from inventory_es.testing.event_store.tested_store import TestedStore
from inventory_es.testing.event_store.writer import STREAM, operations, write_rounds
from inventory_es.testing.failure import MismatchError
from inventory_es.testing.linearizability import find_violation
from inventory_es.testing.other_process import OtherProcess, Step, other_process, task
from inventory_es.testing.promise import promise

_ROUNDS = 10
_STEPS_BEFORE_THE_KILL = 15


class ProcessCases:
    """Several processes, and dead ones."""

    @promise("ES-43", "Two processes on one site: no lost update, no double one, the history is linearizable.", seeds=0)
    async def test_es_43_two_processes(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            bench.need(store, durable=True, multi_process=True)
            steps: list[Step] = []
            async with other_process(_command(bench, "there")) as other:
                await other.go()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(other.hear_all)
                    await write_rounds(store.raw, "here", _ROUNDS, steps.append)
            await linearizable(store, [*steps, *other.steps])
            version = (await store.whole(STREAM)).version
            expect(
                that=version == 4 * _ROUNDS,
                expected=f"version {4 * _ROUNDS}",
                got=version,
                meaning="acknowledged events of one of the processes are lost, or doubled",
            )

    @promise(
        "ES-45",
        "Acknowledged appends survive reopening, and a killed process; what was not acknowledged is there whole or not at all.",
        seeds=0,
    )
    async def test_es_45_what_was_acknowledged_survives(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            bench.need(store, durable=True)
            await store.append("y@0 p q")
            await store.append("y@2 r")
        async with bench.reopened() as store:
            await bench.holds(store, "y", "p q r", meaning="what was acknowledged before reopening is not there")
            await store.append("y@3 s", meaning="after reopening, the stream goes on where it was")
        async with other_process(_command(bench, "there", rounds=10_000)) as other:
            await other.go()
            await _hear_some(other)
            await other.kill()
        async with bench.reopened() as store:
            await linearizable(store, other.steps)
            await bench.holds(store, "y", "p q r s", meaning="what was acknowledged before the other process was killed is not there")
            version = (await store.whole(STREAM)).version
            await store.append(f"{STREAM}@{version} after", meaning="a killed process keeps nobody from writing")


def need_other_processes(bench: StoreBench) -> Sequence[str]:
    """Return the command of another process over the site, or end the case: ``spawn`` says that there can be none."""
    arguments = bench.contract.spawn(bench.run.site)
    if arguments is None:
        bench.run.not_declared("spawn: no other process can import this contract; put it at the top level of a module")
    return arguments


def _command(bench: StoreBench, writer: str, rounds: int = _ROUNDS) -> list[str]:
    return [*need_other_processes(bench), task(bench.run, writer, rounds)]


async def _hear_some(other: OtherProcess) -> None:
    while len(other.steps) < _STEPS_BEFORE_THE_KILL:
        if await other.hear() is None:
            raise MismatchError(
                expected="a second process that writes", got=f"it ended after {len(other.steps)} steps", meaning="the second process died"
            )


async def linearizable(store: TestedStore, steps: Sequence[Step]) -> None:
    """Expect the stream to bear out what writers told, with every acknowledged event."""
    page = await store.whole(STREAM)
    violation = find_violation(operations(steps), [event.event_id for event in page.events])
    if violation is not None:
        raise MismatchError(
            expected="a linearizable history of both processes", got=describe_operation(violation.operation), meaning=violation.problem
        )
    acknowledged = max((step["version"] for step in steps if "version" in step), default=0)
    expect(
        that=page.version >= acknowledged,
        expected=f"version {acknowledged} or more",
        got=page.version,
        meaning="an acknowledged append is lost",
    )
