"""Where a case's tasks pause: nowhere extra, or where a seed says, the same on asyncio and on trio.

An adapter's coroutine is driven by hand. Whenever it was suspended and is about to go on, the schedule may hold it back for some
turns of the event loop, in which other tasks run. The same door lets a case act at the n-th suspension: cancel there, close there.
"""

import random
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

from anyio.lowlevel import cancel_shielded_checkpoint

T = TypeVar("T")

PLAIN = 0
_PAUSES = (0, 0, 0, 1, 1, 2, 3, 8)


class Schedule:
    """Decides how many turns of the event loop a task waits at each await point.

    Args:
        seed: 0 for the plain schedule, which never waits; any other number for one of its own.
        salt: makes two cases with one seed differ.
    """

    def __init__(self, seed: int, salt: str) -> None:
        self.seed = seed
        self.chance: random.Random = random.Random(f"{salt}:{seed}")

    def pauses(self) -> int:
        """Turns to wait at this await point: 0 to 8."""
        return 0 if self.seed == PLAIN else self.chance.choice(_PAUSES)

    async def pause(self) -> None:
        """Wait for as many turns as the schedule says."""
        for _ in range(self.pauses()):
            await cancel_shielded_checkpoint()

    async def drive(self, call: Coroutine[Any, Any, T], at_suspension: Callable[[], None] | None = None) -> T:
        """Await ``call``, pausing where it was suspended.

        Args:
            call: what to run.
            at_suspension: called each time that it is suspended, before the event loop goes on.
        """
        await self.pause()
        result = await _drive(call, self.pauses, at_suspension or _nothing)
        await self.pause()
        return result


def _nothing() -> None: ...


@types.coroutine
def _drive(call: Coroutine[Any, Any, T], pauses: Callable[[], int], at_suspension: Callable[[], None]) -> Generator[Any, Any, T]:
    go_on: Callable[[Any], Any] = call.send
    argument: Any = None
    while True:
        try:
            trap = go_on(argument)
        except StopIteration as end:
            result: T = end.value
            return result
        at_suspension()
        try:
            argument = yield trap
            go_on = call.send
            for _ in range(pauses()):
                yield from cancel_shielded_checkpoint().__await__()
        except BaseException as error:  # noqa: BLE001  # whatever arrives belongs to the driven call: it decides
            go_on, argument = call.throw, error
