"""Whose turn it is: tasks in virtual time, one at a time, in an order drawn from a seed, the same on asyncio and on trio.

Every simulated task is a task of the event loop, since scopes and events of the code under test need one. Its coroutine is driven by
hand. Wherever it was suspended and could go on, it waits for its turn, and only one task ever has one. After each turn the event loop
spins until whatever that turn woke has come back to wait; then the next is drawn. So the event loop's own order decides nothing.

Time stands still while anybody can go on, but for now and then, and jumps to the next sleeper when nobody can.
"""

import random
import types
from collections.abc import Callable, Coroutine, Generator
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol

import anyio
import attrs
from anyio.lowlevel import checkpoint

from inventory_es.testing.simulation.breach import ENDS, BreachError

_SPINS = 3
"""Turns of the event loop after which whoever was woken has come back: one is what both event loops take."""

_HASTE = 0.1
"""How often time goes on although somebody could still act: then a timer is faster than an answer."""


class StoppedError(BaseException):
    """The process that ran this is gone. No handler of errors may see it as one."""


class Process(Protocol):
    """What a task runs in, and dies with."""

    @property
    def is_stopped(self) -> bool:
        """Whether it is gone."""
        ...


class State(Enum):
    """Where a task is: waits for its turn, has it, is with the event loop, sleeps, or has ended."""

    READY = auto()
    RUNNING = auto()
    AWAY = auto()
    ASLEEP = auto()
    DONE = auto()


class _Sleep(NamedTuple):
    until: float


@attrs.define(eq=False)
class Task:
    """A simulated task.

    Attributes:
        name: in the trace.
        process: what it runs in now; ``None``: nothing that could stop.
        state: where it is.
        until: while it sleeps: until when.
        turn: set when its turn has come.
        is_free: whether nobody gives turns any more: it ends by itself.
    """

    name: str
    process: Process | None
    state: State = State.READY
    until: float = 0.0
    turn: anyio.Event = attrs.field(factory=anyio.Event)
    is_free: bool = False


class Scheduler:
    """The scheduler of a simulation.

    Args:
        seed: of the order.
        most: turns after which the run counts as endless.
        before_each: called before each turn.

    Attributes:
        now: virtual seconds since the start; they never go back.
        count: turns so far.
        running: whose turn it is.
    """

    def __init__(self, seed: int, *, most: int, before_each: Callable[[], None]) -> None:
        self.now: float = 0.0
        self.count: int = 0
        self.running: Task = Task("nobody", None)
        self._chance = random.Random(f"turns:{seed}")
        self._most = most
        self._before_each = before_each
        self._tasks: list[Task] = []
        self._failure: Exception | None = None
        self._group: Any = None

    async def run(self, name: str, call: Coroutine[Any, Any, None]) -> None:
        """Run ``call`` and every task that it starts, to their ends.

        Raises:
            Exception: the first failure of any of them, the others being stopped.
        """
        async with anyio.create_task_group() as self._group:
            self.start(name, call)
            await self._loop()
            for task in self._tasks:
                task.is_free = True
                task.turn.set()
            self._group.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    def start(self, name: str, call: Coroutine[Any, Any, None], process: Process | None = None) -> Task:
        """Start a task; it waits for its first turn."""
        task = Task(name, process)
        self._tasks.append(task)
        self._group.start_soon(self._play, task, call)
        return task

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time."""
        await _sleep(self.now + max(seconds, 0.0))

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self.now

    async def _play(self, task: Task, call: Coroutine[Any, Any, None]) -> None:
        try:
            await _drive(task, call, self._is_over)
        except StoppedError:
            pass  # its process was stopped: that is how this task ends, and no failure of the run
        except Exception as problem:  # noqa: BLE001  # told by run, once everybody has stopped
            self._failure = self._failure or problem
        finally:
            task.state = State.DONE

    def _is_over(self, task: Task) -> bool:
        return self._failure is not None or (task.process is not None and task.process.is_stopped)

    async def _loop(self) -> None:
        while await self._settle():
            task = self._next()
            if task is None:
                waiting = ", ".join(sorted(one.name for one in self._tasks))
                self._failure = self._failure or BreachError(
                    ENDS, "everybody goes on", f"these wait for ever: {waiting}", "a wake-up got lost"
                )
                return
            self.count += 1
            if self.count > self._most and self._failure is None:
                self._failure = BreachError(ENDS, f"an end within {self._most:,} turns", f"{task.name} goes on", "somebody tries for ever")
            if self._failure is None:
                self._guard()
            self.running = task
            task.state = State.RUNNING
            task.turn.set()
            while task.state is State.RUNNING:
                await checkpoint()

    def _guard(self) -> None:
        try:
            self._before_each()
        except Exception as problem:  # noqa: BLE001  # as that of a task
            self._failure = problem

    async def _settle(self) -> bool:
        for _ in range(_SPINS):
            if any(task.state is State.AWAY for task in self._tasks):
                await checkpoint()
        self._tasks = [task for task in self._tasks if task.state is not State.DONE]
        return bool(self._tasks)

    def _next(self) -> Task | None:
        ready = [task for task in self._tasks if self._can_go_on(task)]
        asleep = [task for task in self._tasks if task.state is State.ASLEEP]
        if asleep and (not ready or self._chance.random() < _HASTE):
            first = min(asleep, key=lambda task: task.until)
            self.now = max(self.now, first.until)
            return first
        return self._chance.choice(ready) if ready else None

    def _can_go_on(self, task: Task) -> bool:
        if task.state is State.ASLEEP:
            return task.until <= self.now or self._is_over(task)
        return task.state is State.READY


@types.coroutine
def _sleep(until: float) -> Generator[Any, Any, None]:
    yield _Sleep(until)


@types.coroutine
def _drive(task: Task, call: Coroutine[Any, Any, None], is_over: Callable[[Task], bool]) -> Generator[Any, Any, None]:
    go_on: Callable[[Any], Any] = call.send
    argument: Any = None
    while True:
        try:
            yield from task.turn.wait().__await__()
            if not task.is_free:
                task.turn = anyio.Event()
            if is_over(task):
                go_on, argument = call.throw, StoppedError()
        except BaseException as problem:  # noqa: BLE001  # the driven call decides about a cancellation
            go_on, argument = call.throw, problem
        try:
            trap = go_on(argument)
        except StopIteration:
            return
        go_on, argument = call.send, None
        if isinstance(trap, _Sleep):
            task.until, task.state = trap.until, State.ASLEEP
            continue
        task.state = State.AWAY
        try:
            argument = yield trap
        except BaseException as problem:  # noqa: BLE001  # as above
            go_on, argument = call.throw, problem
        task.state = State.READY
