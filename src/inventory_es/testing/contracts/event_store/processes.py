"""ES-43, ES-45, ES-54, ES-55: a second process writes to the site; a process is killed while it writes; a process forks."""

import time
from collections.abc import Sequence

import anyio
from anyio.lowlevel import checkpoint

from inventory_es.testing.contracts.core.event_labels import stream_id
from inventory_es.testing.contracts.core.tested_port import expect
from inventory_es.testing.contracts.event_store.harness import StoreHarness
from inventory_es.testing.contracts.event_store.linearizability import find_violation
from inventory_es.testing.contracts.event_store.races import describe_operation
from inventory_es.testing.contracts.event_store.tested_store import TestedStore
from inventory_es.testing.contracts.event_store.writer import STREAM, operations, write_rounds
from inventory_es.testing.contracts.processes.other_process import OtherProcess, Step, other_process, steps_of, task
from inventory_es.testing.promise import MismatchError, promise

_ROUNDS = 300
"""Batches per process: enough to see in every run a race that a store gets wrong once in fifty times."""
_BATCH = 3
_KILLED = 500
_STEPS_BEFORE_THE_KILL = 9
_MOMENTS = (0.5, 0.75)
"""The shares of an append's time after which its process is killed."""
_CHILD = "A forked child that opens the site loses nothing when its parent closes first or ends; a handle that it inherited is closed."


class ProcessCases:
    """Cases of several processes, and of killed ones."""

    @promise("ES-43", "Two processes on one site: no lost update, no double one, no half batch, the history is linearizable.", seeds=0)
    async def test_es_43_two_processes(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, durable=True, multi_process=True)
            size = min(_BATCH, store.capabilities.max_append_events)
            steps: list[Step] = []
            async with other_process(_command(harness, "there", size=size)) as other, anyio.create_task_group() as watcher:
                watcher.start_soon(_watch, store, size)
                await other.go()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(other.hear_all)
                    await write_rounds(store.raw, "here", _ROUNDS, steps.append, size=size)
                watcher.cancel_scope.cancel()
            await linearizable(store, [*steps, *other.steps])
            version = (await store.whole(STREAM)).version
            expect(
                that=version == 2 * size * _ROUNDS,
                expected=f"version {2 * size * _ROUNDS}",
                got=version,
                meaning="acknowledged events of one of the processes are lost, or doubled",
            )

    @promise(
        "ES-45",
        "Acknowledged appends survive reopening, and a killed process; what was not acknowledged is there whole or not at all.",
        seeds=0,
    )
    async def test_es_45_what_was_acknowledged_survives(self, harness: StoreHarness) -> None:
        async with harness.open() as store:
            harness.need(store, durable=True)
            await store.append("y@0 p q")
            await store.append("y@2 r")
        async with harness.reopened() as store:
            await harness.holds(store, "y", "p q r", meaning="what was acknowledged before reopening is not there")
            await store.append("y@3 s", meaning="after reopening, the stream goes on where it was")
            size = min(_KILLED, store.capabilities.max_append_events)
        steps: list[Step] = []
        for number, moment in enumerate(_MOMENTS):
            async with other_process(_command(harness, f"there{number}", rounds=10_000, size=size)) as other:
                await other.go()
                await _hear_some(other)
                await _until(other.steps, moment)
                await other.kill()
            steps += other.steps
        async with harness.reopened() as store:
            await linearizable(store, steps)
            await harness.holds(store, "y", "p q r s", meaning="what was acknowledged before the other process was killed is not there")
            version = (await store.whole(STREAM)).version
            expect(
                that=version % size == 0,
                expected=f"batches of {size} events",
                got=f"version {version}",
                meaning="a batch that was under way when its process was killed is there half",
            )
            await store.append(f"{STREAM}@{version} after", meaning="a killed process keeps nobody from writing")


class ForkCases:
    """Cases of forks: a handle never survives a fork, and the site does."""

    @promise("ES-54", _CHILD, seeds=0)
    async def test_es_54_the_parent_closes_first(self, harness: StoreHarness) -> None:
        await _holds_every_step(harness, "parent_closes_first")

    @promise("ES-54", _CHILD, seeds=0)
    async def test_es_54_a_daemon(self, harness: StoreHarness) -> None:
        await _holds_every_step(harness, "parent_ends")

    @promise("ES-55", "A parent that forks, idle or in the middle of commits, goes on beside its children, and nothing is lost.", seeds=0)
    async def test_es_55_the_parent_goes_on(self, harness: StoreHarness) -> None:
        await _holds_every_step(harness, "parent_goes_on")


def need_other_processes(harness: StoreHarness) -> Sequence[str]:
    """Return the command of another process over the site; end the case where ``spawn`` returns none."""
    arguments = harness.contract.spawn(harness.run.site)
    if arguments is None:
        harness.run.not_declared("spawn: no other process can import this contract; put it at the top level of a module")
    return arguments


def _command(harness: StoreHarness, writer: str, rounds: int = _ROUNDS, *, size: int) -> list[str]:
    return [*need_other_processes(harness), task(harness.run, writer, rounds, size=size)]


async def _watch(store: TestedStore, size: int) -> None:
    """Read while others write: each batch is seen whole or not at all."""
    last = 0
    while True:
        page = await store.raw.read_stream(stream_id(STREAM), after=last, limit=1)
        expect(
            that=page.version % size == 0 and page.version >= last,
            expected=f"batches of {size} events, after version {last}",
            got=f"version {page.version}",
            meaning="a reader sees a part of a batch that another process appends, or sees it go",
        )
        last = page.version
        await checkpoint()


async def _hear_some(other: OtherProcess) -> None:
    """Hear some steps, and stop after one that begins an append."""
    while len(other.steps) < _STEPS_BEFORE_THE_KILL or "asked" not in other.steps[-1]:
        if await other.hear() is None:
            raise MismatchError(
                expected="a second process that writes", got=f"it ended after {len(other.steps)} steps", meaning="the second process died"
            )


async def _until(steps: Sequence[Step], moment: float) -> None:
    """Wait until a share ``moment`` of the last append's expected time has passed."""
    asked = {step["asked"]: step["at"] for step in steps if "asked" in step}
    took = sorted(step["at"] - asked[step["answered"]] for step in steps if "version" in step)
    end = steps[-1]["at"] + moment * took[len(took) // 2]
    while time.monotonic_ns() < end:
        await checkpoint()


async def linearizable(store: TestedStore, steps: Sequence[Step]) -> None:
    """Expect the stream to agree with the steps of the writers, and to hold every acknowledged event."""
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


async def _holds_every_step(harness: StoreHarness, plan: str) -> None:
    async with harness.open() as store:
        harness.need(store, survives_fork=True, durable=True, multi_process=True)
    need_other_processes(harness)

    steps = await steps_of(harness.run, plan, reopen=harness.open)
    async with harness.open() as store:
        await linearizable(store, steps)
        version = (await store.whole(STREAM)).version
        acknowledged = 2 * sum("version" in step and not step["replayed"] for step in steps)
        expect(
            that=version == acknowledged,
            expected=f"version {acknowledged}",
            got=version,
            meaning="acknowledged events of the parent or of a child are lost",
        )
