"""Schedules: where the tasks of a case pause. The plain one never pauses; a seeded one is the same on asyncio and on trio.

An adapter's coroutine is driven by hand. After a suspension, the schedule may hold it back for some turns of the event loop, in which
other tasks run. A case can act at the n-th suspension too: cancel there, or close there.
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
"""Called at each suspension of a call. It may return the number of turns of the event loop to hold the call there."""

PLAIN = 0
_PAUSES = (0, 0, 0, 1, 1, 2, 3, 8)
_TURNS = 64


class Schedule:
    """The number of turns of the event loop that a task waits at each await point.

    A driven call may drive further calls. Each suspension then counts once: the inner call alone is paused, and the turns of a pause are no
    suspensions.

    Args:
        seed: 0 for the plain schedule, which never waits; any other number for a schedule of its own.
        salt: makes two cases with one seed differ.
    """

    def __init__(self, seed: int, salt: str) -> None:
        self.seed = seed
        self.chance: random.Random = random.Random(f"{salt}:{seed}")
        self._on_its_way: _Trap | None = None

    def pauses(self) -> int:
        """Return the number of turns to wait at this await point: 0 to 8."""
        return 0 if self.seed == PLAIN else self.chance.choice(_PAUSES)

    def turns(self) -> Iterable[object]:
        """Return the turns to wait at this await point, one item per turn."""
        return range(self.pauses())

    async def drive(
        self,
        call: Coroutine[Any, Any, T],
        at_suspension: AtSuspension | None = None,
        held: Callable[[], Iterable[object]] | None = None,
    ) -> T:
        """Await ``call``, and pause after each suspension.

        Args:
            call: the call to run.
            at_suspension: called at each suspension, before the event loop goes on. It may return turns to add to the pause.
            held: returns the turns to wait at each await point, in place of the schedule's own.
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
            inner = self._on_its_way  # set by a call that is driven within this one
            stay = at_suspension() if inner is not _Trap.PAUSE else None
            try:
                self._on_its_way = inner or _Trap.SUSPENSION
                argument = yield trap
                go_on = call.send
                pauses = held() if held is not None else self.turns() if inner is None else ()
                for _ in chain(range(stay or 0), pauses):
                    self._on_its_way = _Trap.PAUSE
                    yield from cancel_shielded_checkpoint().__await__()
            except BaseException as error:  # noqa: BLE001  # every error belongs to the driven call: the call decides
                go_on, argument = call.throw, error


class _Trap(Enum):
    """A mark of a driven call for the calls around it, on its way to the event loop."""

    SUSPENSION = auto()
    PAUSE = auto()


async def all_tasks_wait() -> None:
    """Return when every other task of the event loop waits for something.

    On asyncio the check itself sleeps for 0.1 seconds when a task could go on. So the tasks get turns before it.
    """
    for _ in range(_TURNS):
        await checkpoint()
    await anyio.wait_all_tasks_blocked()


def _nothing() -> None: ...
