"""A scheduler that runs tasks in virtual time, one at a time, in an order drawn from a seed. The order is the same on asyncio and trio.

Every simulated task is a task of the event loop, because cancel scopes and events of the code under test need one. The scheduler drives
the task's coroutine by hand. A suspended task that could go on waits for its turn, and only one task ever has the turn. After each turn
the event loop spins until every task that was woken waits for its own turn. Then the next task is drawn, so the event loop's order
decides nothing.

While any task can go on, time usually stands still. It jumps to the next sleeper when no task can.
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
"""Turns of the event loop after which every woken task has come back. Both event loops need one."""

_HASTE = 0.1
"""How often time goes on although a task could still act, so that a timer fires before an answer comes."""


class StoppedError(BaseException):
    """End of the process that ran the task. A BaseException, so that no handler of errors catches it."""


class Process(Protocol):
    """A process that a task runs in, and ends with."""

    @property
    def is_stopped(self) -> bool:
        """True if the process has ended."""
        ...


class State(Enum):
    """State of a task: waiting for its turn, having it, waiting in the event loop, sleeping, or ended."""

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
        name: the task in the trace.
        process: the process that the task runs in now; ``None`` for none that could stop.
        state: the task's state.
        until: end of the sleep, in virtual seconds.
        turn: set when the task's turn has come.
        is_free: True once the scheduler has ended, so that the task ends without turns.
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
        seed: decides the order.
        most: turns after which the run counts as endless.
        before_each: called before each turn.

    Attributes:
        now: virtual seconds since the start; never decreasing.
        count: turns so far.
        running: the task that has the turn.
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
        """Run ``call``, and every task that it starts, to the end.

        Raises:
            Exception: the first failure of any task. The other tasks are stopped.
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
        """Start a task, which waits for its first turn."""
        task = Task(name, process)
        self._tasks.append(task)
        self._group.start_soon(self._play, task, call)
        return task

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time."""
        await _sleep(self.now + max(seconds, 0.0))

    def monotonic(self) -> float:
        """Return the virtual seconds."""
        return self.now

    async def _play(self, task: Task, call: Coroutine[Any, Any, None]) -> None:
        try:
            await _drive(task, call, self._is_over)
        except StoppedError:
            pass  # the end of a task whose process was stopped is no failure of the run
        except Exception as problem:  # noqa: BLE001  # raised by run, once every task has stopped
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
        except Exception as problem:  # noqa: BLE001  # fails the run, as a task does
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
