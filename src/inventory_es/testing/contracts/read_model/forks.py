"""RM-10: a process forks, and parent and child both go on."""

from inventory_es.testing.contracts.processes.forked import steps_of
from inventory_es.testing.contracts.read_model.harness import ReadModelHarness, same
from inventory_es.testing.promise import promise

_FORKS = "After a fork, parent and child each commit, whichever closes first or ends, and nothing is lost; an inherited handle is closed."


class ForkCases:
    """A handle is never carried over a fork; the site is."""

    @promise("RM-10", _FORKS, seeds=0)
    async def test_rm_10_the_parent_closes_first(self, harness: ReadModelHarness) -> None:
        await _holds_every_row(harness, "parent_closes_first")

    @promise("RM-10", _FORKS, seeds=0)
    async def test_rm_10_a_daemon(self, harness: ReadModelHarness) -> None:
        await _holds_every_row(harness, "parent_ends")

    @promise("RM-10", _FORKS, seeds=0)
    async def test_rm_10_the_parent_goes_on(self, harness: ReadModelHarness) -> None:
        await _holds_every_row(harness, "parent_goes_on")


async def _holds_every_row(harness: ReadModelHarness, plan: str) -> None:
    if not (harness.contract.is_durable and harness.contract.multi_process and harness.contract.survives_fork):
        harness.run.not_declared("is_durable, multi_process and survives_fork")

    async def visit() -> None:
        async with harness.open():
            pass

    await visit()
    steps = await steps_of(harness.run, plan, visit=visit)
    committed = sorted(step["row"] for step in steps)
    async with harness.open() as model:
        rows = (await model.select()).rows
        same([row["product"] for row in rows], committed, "committed rows of the parent or of a child are lost")
        same((await model.checkpoint()).position, len(committed), "the checkpoint does not count every commit")
