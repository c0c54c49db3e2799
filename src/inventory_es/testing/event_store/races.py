"""ES-41, ES-42: many tasks race for one version, in one instance and in two."""

from collections.abc import Sequence

import anyio

from inventory_es.ports.errors import ConcurrencyError
from inventory_es.testing.event_store.bench import StoreBench, expect
from inventory_es.testing.event_store.tested_store import TestedStore
from inventory_es.testing.failure import MismatchError
from inventory_es.testing.linearizability import Operation, find_violation
from inventory_es.testing.promise import promise

_RACERS = 8
_ROUNDS = 4


class RaceCases:
    """Optimistic locking under load."""

    @promise(
        "ES-41", "N tasks race for one version: exactly one wins, losers see the actual version, the history is linearizable.", seeds=8
    )
    async def test_es_41_one_winner(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            bench.need(store, together=2)
            await _one_winner([store] * _RACERS)
            await _race([store] * _RACERS)
            await _linearizable(store, store.operations)

    @promise("ES-42", "Two instances on one site: exactly one wins, losers see the actual version, the history is linearizable.", seeds=4)
    async def test_es_42_two_instances(self, bench: StoreBench) -> None:
        async with bench.open() as store:
            bench.need(store, durable=True, multi_process=True)
            async with bench.open() as other:
                await store.append("y@0 p")
                await bench.holds(other, "y", "p", meaning="what one instance acknowledged, the other does not see")
                await other.append("y@1 q", meaning="the version as the other instance left it")
                await bench.holds(store, "y", "p q", meaning="what one instance acknowledged, the other does not see")
                await _one_winner([store, other] * (_RACERS // 2))
                await _race([store, other] * (_RACERS // 2))
                operations = [o for o in (*store.operations, *other.operations) if o.name == "x"]
                await _linearizable(store, operations)
                if store.has_feed:
                    feeds = await store.whole_feed(), await other.whole_feed()
                    expect(that=feeds[0] == feeds[1], expected="one feed", got="two", meaning="the instances don't agree on the order")


async def _one_winner(racers: Sequence[TestedStore]) -> None:
    """All racers expect a new stream at 0, at once."""
    won: list[str] = []

    async def run(store: TestedStore, name: str) -> None:
        try:
            await store.append(f"x@0 {name}1 {name}2")
        except ConcurrencyError as error:
            expect(
                that=error.actual == 2, expected="actual 2", got=error.actual, meaning="a loser is told a version that the stream never had"
            )
        else:
            won.append(name)

    async with anyio.create_task_group() as tasks:
        for number, store in enumerate(racers):
            tasks.start_soon(run, store, f"r{number}_")
    expect(
        that=len(won) == 1,
        expected=f"one winner of {len(racers)}",
        got=f"{len(won)}: {won}",
        meaning="two writers were told that the same version is theirs" if won else "nobody got through",
    )


async def _race(racers: Sequence[TestedStore]) -> None:
    """Each racer appends some batches after whatever it read last, and reads."""

    async def run(store: TestedStore, name: str) -> None:
        version = 2
        for number in range(_ROUNDS):
            while True:
                try:
                    await store.append(f"x@{version} {name}n{number} {name}m{number}")
                except ConcurrencyError as error:
                    if error.actual <= version:
                        raise MismatchError(
                            expected=f"actual above {version}", got=str(error.actual), meaning="a loser is told an old version"
                        ) from error
                    version = (await store.whole("x")).version
                else:
                    version += 2
                    break

    async with anyio.create_task_group() as tasks:
        for number, store in enumerate(racers):
            tasks.start_soon(run, store, f"r{number}_")


async def _linearizable(store: TestedStore, operations: Sequence[Operation]) -> None:
    page = await store.whole("x")
    expected = 2 + 2 * _ROUNDS * _RACERS
    expect(
        that=page.version == expected, expected=f"version {expected}", got=page.version, meaning="acknowledged events are lost, or doubled"
    )
    violation = find_violation(operations, [event.event_id for event in page.events])
    if violation is not None:
        raise MismatchError(expected="a linearizable history", got=describe_operation(violation.operation), meaning=violation.problem)


def describe_operation(operation: Operation | None) -> str:
    """An operation of a history in the words of the report."""
    if operation is None:
        return "an impossible log"
    if not operation.events:
        return f"a read of {operation.name}: {operation.outcome}"
    return f"append {operation.name}@{operation.expected} of {len(operation.events)} events: {operation.outcome}"
