"""RM-10: a process forks, and parent and child both go on."""

from inventory_es.testing.contracts.processes.forked import steps_of
from inventory_es.testing.contracts.read_model.harness import ReadModelBench, same
from inventory_es.testing.promise import promise

_FORKS = "After a fork, parent and child each commit, whichever closes first or ends, and nothing is lost; an inherited handle is closed."


class ForkCases:
    """A handle is never carried over a fork; the site is."""

    @promise("RM-10", _FORKS, seeds=0)
    async def test_rm_10_the_parent_closes_first(self, bench: ReadModelBench) -> None:
        await _holds_every_row(bench, "parent_closes_first")

    @promise("RM-10", _FORKS, seeds=0)
    async def test_rm_10_a_daemon(self, bench: ReadModelBench) -> None:
        await _holds_every_row(bench, "parent_ends")

    @promise("RM-10", _FORKS, seeds=0)
    async def test_rm_10_the_parent_goes_on(self, bench: ReadModelBench) -> None:
        await _holds_every_row(bench, "parent_goes_on")


async def _holds_every_row(bench: ReadModelBench, plan: str) -> None:
    if not (bench.contract.is_durable and bench.contract.multi_process and bench.contract.survives_fork):
        bench.run.not_declared("is_durable, multi_process and survives_fork")

    async def visit() -> None:
        async with bench.open():
            pass

    await visit()
    steps = await steps_of(bench.run, plan, visit=visit)
    committed = sorted(step["row"] for step in steps)
    async with bench.open() as model:
        rows = (await model.select()).rows
        same([row["product"] for row in rows], committed, "committed rows of the parent or of a child are lost")
        same((await model.checkpoint()).position, len(committed), "the checkpoint does not count every commit")
