"""A writer of rows that tells each row when it is committed."""

from collections.abc import Callable

from inventory_es.ports import ReadModel
from inventory_es.ports.errors import CheckpointConflictError
from inventory_es.testing.other_process import Step
from inventory_es.testing.read_model.bench import ID, TABLES, ahead, level


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


async def use(model: ReadModel) -> None:
    """Use a read model once."""
    await model.checkpoint(ID)
