"""Virtual time: generators as coroutines, run in the order of their wake-ups. Nothing sleeps."""

import heapq
from collections import deque
from collections.abc import Generator
from typing import Union

Steps = Generator[Union[float, "Signal"], None, None]
"""A generator that yields seconds to wait, or a signal to wait for."""


class Signal:
    """An event that happens once."""

    __slots__ = ("_kernel", "_waiting", "is_set")

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel
        self._waiting: list[Steps] = []
        self.is_set = False

    def set(self) -> None:
        """Wake all that wait for the signal, now."""
        self.is_set = True
        for steps in self._waiting:
            self._kernel.wake(steps, 0.0)
        self._waiting.clear()

    def wait(self, steps: Steps) -> None:
        """Continue ``steps`` once the signal is set."""
        if self.is_set:
            self._kernel.wake(steps, 0.0)
        else:
            self._waiting.append(steps)


class Kernel:
    """A kernel that runs steps in virtual time. Equal instants keep the order of their requests, so a run repeats exactly."""

    def __init__(self) -> None:
        self.now = 0.0
        self._number = 0
        self._due: list[tuple[float, int, Steps]] = []

    def start(self, steps: Steps) -> None:
        """Start steps now."""
        self.wake(steps, 0.0)

    def wake(self, steps: Steps, seconds: float) -> None:
        """Continue steps after a number of seconds."""
        self._number += 1
        heapq.heappush(self._due, (self.now + seconds, self._number, steps))

    def run(self, until: float) -> None:
        """Run up to an instant, or until no step is left."""
        while self._due and self._due[0][0] <= until:
            self.now, _, steps = heapq.heappop(self._due)
            try:
                asked = next(steps)
            except StopIteration:
                continue
            if isinstance(asked, Signal):
                asked.wait(steps)
            else:
                self.wake(steps, asked)
        self.now = until


class Lock:
    """A lock between processes. A free lock goes to the first that asks, and a waiting process has to wake up first.

    Args:
        kernel: source of the time.
        wake: seconds until a waiting process notices that the lock is free.
        polls: seconds between looks; the last value repeats. By default the release itself wakes the waiting processes.
    """

    def __init__(self, kernel: Kernel, *, wake: float, polls: tuple[float, ...] = ()) -> None:
        self._kernel = kernel
        self._wake = wake
        self._polls = polls
        self._is_free = True
        self._released = Signal(kernel)

    def take(self) -> Steps:
        """Acquire, perhaps after waiting."""
        looks = 0
        while not self._is_free:
            if self._polls:
                yield self._polls[min(looks, len(self._polls) - 1)]
                looks += 1
            else:
                yield self._released
                yield self._wake
        self._is_free = False

    def give(self) -> None:
        """Release the lock."""
        self._is_free = True
        released, self._released = self._released, Signal(self._kernel)
        released.set()


class Semaphore:
    """A semaphore, first come, first served.

    Args:
        kernel: source of the time.
        places: how many may hold the semaphore at once.
    """

    def __init__(self, kernel: Kernel, places: int) -> None:
        self._kernel = kernel
        self._free = places
        self._waiting: deque[Signal] = deque()

    def take(self) -> Steps:
        """Acquire, perhaps after waiting."""
        if self._free:
            self._free -= 1
            return
        turn = Signal(self._kernel)
        self._waiting.append(turn)
        yield turn

    def give(self) -> None:
        """Pass the place to the longest waiting steps."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._free += 1
