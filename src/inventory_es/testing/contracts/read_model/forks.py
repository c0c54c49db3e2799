"""RM-10: a process forks, and parent and child both use the read model. The writer that both run stands here too."""

from collections.abc import Awaitable, Callable

from inventory_es.ports import Checkpoint, ReadModel
from inventory_es.ports.errors import CheckpointConflictError
from inventory_es.testing.contracts.processes.other_process import Step, steps_of
from inventory_es.testing.contracts.read_model.harness import ID, TABLES, ReadModelHarness, ahead, level, same
from inventory_es.testing.promise import promise

_FORKS = "After a fork, parent and child each commit, whichever closes first or ends, and nothing is lost; an inherited handle is closed."


class ForkCases:
    """Cases of forks: a handle never survives a fork, and the site does."""

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

    steps = await steps_of(harness.run, plan, reopen=harness.open)
    committed = sorted(step["row"] for step in steps)
    async with harness.open() as model:
        rows = (await model.select()).rows
        same([row["product"] for row in rows], committed, "committed rows of the parent or of a child are lost")
        same((await model.checkpoint()).position, len(committed), "the checkpoint does not count every commit")


async def write_rounds(model: ReadModel, writer: str, rounds: int, tell: Callable[[Step], None]) -> None:
    """Commit ``rounds`` rows of this writer, each from the current checkpoint, and tell each."""
    await model.prepare(ID, TABLES)
    for number in range(rounds):
        name = f"{writer} {number}"
        while True:
            before = await model.checkpoint(ID)
            try:
                await model.commit(ID, [level(name, "x", number)], before=before, after=ahead(before))
            except CheckpointConflictError:
                continue
            break
        tell({"row": name, "at": 0})


def uses(model: ReadModel) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return a call of each method of a read model, by its name."""
    before = Checkpoint()
    return {
        "checkpoint": lambda: model.checkpoint(ID),
        "prepare": lambda: model.prepare(ID, TABLES),
        "commit": lambda: model.commit(ID, [level("inherited", "x", 1)], before=before, after=ahead(before)),
        "select": lambda: model.select(ID, TABLES[0].name, limit=1),
        "versions": lambda: model.versions(ID.name),
    }
