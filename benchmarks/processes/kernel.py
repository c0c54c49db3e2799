"""Virtual time: coroutines written as generators, run in the order of their wake-ups. Nothing sleeps."""

import heapq
from collections import deque
from collections.abc import Generator
from typing import Union

Steps = Generator[Union[float, "Signal"], None, None]
"""Yields seconds to wait, or a signal to wait for."""


class Signal:
    """Something that happens once."""

    __slots__ = ("_kernel", "_waiting", "is_set")

    def __init__(self, kernel: "Kernel") -> None:
        self._kernel = kernel
        self._waiting: list[Steps] = []
        self.is_set = False

    def set(self) -> None:
        """Wake everyone who waits for it, now."""
        self.is_set = True
        for steps in self._waiting:
            self._kernel.wake(steps, 0.0)
        self._waiting.clear()

    def wait(self, steps: Steps) -> None:
        """Have ``steps`` go on once it is set."""
        if self.is_set:
            self._kernel.wake(steps, 0.0)
        else:
            self._waiting.append(steps)


class Kernel:
    """Runs steps in virtual time. Equal instants keep the order in which they were asked for, so a run repeats exactly."""

    def __init__(self) -> None:
        self.now = 0.0
        self._number = 0
        self._due: list[tuple[float, int, Steps]] = []

    def start(self, steps: Steps) -> None:
        """Begin, now."""
        self.wake(steps, 0.0)

    def wake(self, steps: Steps, seconds: float) -> None:
        """Go on with these steps after so many seconds."""
        self._number += 1
        heapq.heappush(self._due, (self.now + seconds, self._number, steps))

    def run(self, until: float) -> None:
        """Up to an instant, or until nothing is left to do."""
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
    """A lock as processes have it: whoever asks while it is free gets it, and one that waited has to wake up first.

    Args:
        kernel: whose time it is.
        wake: seconds until one that waits has noticed that it is free.
        polls: seconds between looks, the last one again and again; by default the release itself wakes whoever waits.
    """

    def __init__(self, kernel: Kernel, *, wake: float, polls: tuple[float, ...] = ()) -> None:
        self._kernel = kernel
        self._wake = wake
        self._polls = polls
        self._is_free = True
        self._released = Signal(kernel)

    def take(self) -> Steps:
        """Hold it, perhaps after waiting."""
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
        """Let it go."""
        self._is_free = True
        released, self._released = self._released, Signal(self._kernel)
        released.set()


class Semaphore:
    """Lets so many at a time hold something, first come, first served.

    Args:
        kernel: whose time it is.
        places: how many may hold it at once.
    """

    def __init__(self, kernel: Kernel, places: int) -> None:
        self._kernel = kernel
        self._free = places
        self._waiting: deque[Signal] = deque()

    def take(self) -> Steps:
        """Hold it, perhaps after waiting."""
        if self._free:
            self._free -= 1
            return
        turn = Signal(self._kernel)
        self._waiting.append(turn)
        yield turn

    def give(self) -> None:
        """Hand it to whoever waits longest."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._free += 1
