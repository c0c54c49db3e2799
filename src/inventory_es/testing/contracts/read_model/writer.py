"""A writer of rows that tells each row when it is committed."""

from collections.abc import Awaitable, Callable

from inventory_es.ports import Checkpoint, ReadModel
from inventory_es.ports.errors import CheckpointConflictError
from inventory_es.testing.contracts.processes.other_process import Step
from inventory_es.testing.contracts.read_model.harness import ID, TABLES, ahead, level


async def write_rounds(model: ReadModel, writer: str, rounds: int, tell: Callable[[Step], None]) -> None:
    """Commit ``rounds`` rows of this writer, each from the checkpoint that is there, and tell each."""
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
    """Return every way of using a read model, by the name of the method."""
    before = Checkpoint()
    return {
        "checkpoint": lambda: model.checkpoint(ID),
        "prepare": lambda: model.prepare(ID, TABLES),
        "commit": lambda: model.commit(ID, [level("inherited", "x", 1)], before=before, after=ahead(before)),
        "select": lambda: model.select(ID, TABLES[0].name, limit=1),
        "versions": lambda: model.versions(ID.name),
    }
