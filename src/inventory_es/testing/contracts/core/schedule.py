"""Where a case's tasks pause: nowhere extra, or where a seed says, the same on asyncio and on trio.

An adapter's coroutine is driven by hand. Whenever it was suspended and is about to go on, the schedule may hold it back for some
turns of the event loop, in which other tasks run. The same door lets a case act at the n-th suspension: cancel there, close there.
"""

import random
import types
from collections.abc import Callable, Coroutine, Generator, Iterable
from enum import Enum, auto
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

T = TypeVar("T")

AtSuspension: TypeAlias = Callable[[], int | None]
"""Called where a call is suspended; it may return for how many turns of the event loop the call is held there."""

PLAIN = 0
_PAUSES = (0, 0, 0, 1, 1, 2, 3, 8)
_TURNS = 64


class Schedule:
    """Decides how many turns of the event loop a task waits at each await point.

    A call that drives further calls (a case that acts somewhere within several of them) meets each suspension once: it is paused by the
    inner call alone, and the turns of a pause are no suspensions.

    Args:
        seed: 0 for the plain schedule, which never waits; any other number for one of its own.
        salt: makes two cases with one seed differ.
    """

    def __init__(self, seed: int, salt: str) -> None:
        self.seed = seed
        self.chance: random.Random = random.Random(f"{salt}:{seed}")
        self._on_its_way: _Trap | None = None

    def pauses(self) -> int:
        """Return the turns to wait at this await point: 0 to 8."""
        return 0 if self.seed == PLAIN else self.chance.choice(_PAUSES)

    def turns(self) -> Iterable[object]:
        """The turns to wait at this await point, each an item."""
        return range(self.pauses())

    async def drive(
        self,
        call: Coroutine[Any, Any, T],
        at_suspension: AtSuspension | None = None,
        held: Callable[[], Iterable[object]] | None = None,
    ) -> T:
        """Await ``call``, pausing where it was suspended.

        Args:
            call: what to run.
            at_suspension: called each time that it is suspended, before the event loop goes on. The turns that it returns are added to
                the pauses.
            held: the turns to wait at each await point, in place of the schedule's own.
        """
        await self.pause()
        result = await self._drive(call, at_suspension or _nothing, held)
        await self.pause()
        return result

    @types.coroutine
    def pause(self) -> Generator[Any, Any, None]:
        """Wait for as many turns as the schedule says."""
        for _ in self.turns():
            self._on_its_way = _Trap.PAUSE
            yield from cancel_shielded_checkpoint().__await__()

    @types.coroutine
    def _drive(
        self, call: Coroutine[Any, Any, T], at_suspension: AtSuspension, held: Callable[[], Iterable[object]] | None
    ) -> Generator[Any, Any, T]:
        go_on: Callable[[Any], Any] = call.send
        argument: Any = None
        while True:
            self._on_its_way = None
            try:
                trap = go_on(argument)
            except StopIteration as end:
                result: T = end.value
                return result
            inner = self._on_its_way  # set by a call that is driven within this one, in the same turn
            stay = at_suspension() if inner is not _Trap.PAUSE else None
            try:
                self._on_its_way = inner or _Trap.SUSPENSION
                argument = yield trap
                go_on = call.send
                pauses = held() if held is not None else self.turns() if inner is None else ()
                for _ in chain(range(stay or 0), pauses):
                    self._on_its_way = _Trap.PAUSE
                    yield from cancel_shielded_checkpoint().__await__()
            except BaseException as error:  # noqa: BLE001  # whatever arrives belongs to the driven call: it decides
                go_on, argument = call.throw, error


class _Trap(Enum):
    """What a driven call hands to whoever drives it, on its way to the event loop."""

    SUSPENSION = auto()
    PAUSE = auto()


async def all_tasks_wait() -> None:
    """Return when every other task of the event loop waits for something.

    On asyncio the look itself sleeps for 0.1 seconds when it finds a task that could go on, so tasks get turns before it.
    """
    for _ in range(_TURNS):
        await checkpoint()
    await anyio.wait_all_tasks_blocked()


def _nothing() -> None: ...
