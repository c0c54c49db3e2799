"""Time that passes when a test says so, for whoever sleeps by it."""

from datetime import timedelta

import anyio
import anyio.lowlevel

from inventory_es.testing import ManualClock

_TURNS = 150


class VirtualTime:
    """A clock, and a sleep that ends when the clock gets there."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._count = 0
        self._start = self.clock.at

    async def sleep(self, seconds: float) -> None:
        """Wait for the clock."""
        self._count += 1
        sleeper = (self._now + seconds, self._count, anyio.Event())
        self._sleepers.append(sleeper)
        try:
            await sleeper[2].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, from one who wakes to the next, each with time to work and to fall asleep again."""
        end = self._now + seconds
        await settle()
        while self._sleepers and min(self._sleepers)[0] <= end:
            until, _, wake = sleeper = min(self._sleepers)
            self._sleepers.remove(sleeper)
            self.clock.advance(timedelta(seconds=max(0.0, until - self._now)))
            wake.set()
            await settle()
        self.clock.advance(timedelta(seconds=end - self._now))
        await settle()

    @property
    def _now(self) -> float:
        return (self.clock.at - self._start).total_seconds()


async def settle() -> None:
    """Let everybody work who does not wait for time."""
    for _ in range(_TURNS):
        await anyio.lowlevel.checkpoint()
