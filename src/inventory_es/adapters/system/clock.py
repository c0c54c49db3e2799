"""The operating system's clock."""

import time
from datetime import UTC, datetime


class SystemClock:
    """A :class:`~inventory_es.ports.SteadyClock`: the wall clock of this machine, in UTC. It may step when the machine's time is set."""

    def __init__(self) -> None:
        self._began = time.time() - _steady()

    def now(self) -> datetime:
        """The time now: aware, in UTC, to the microsecond."""
        return datetime.now(UTC)

    def jump(self) -> float:
        """Return by how many seconds the wall clock was set since this object was made: ahead above zero, back below.

        A machine that slept has not jumped, where the operating system counts sleep (Linux, macOS, Windows).
        """
        return time.time() - _steady() - self._began


def _steady() -> float:
    """Return seconds that nobody sets. The monotonic clock of Linux stands still while the machine sleeps, its boot-time clock does not."""
    return time.monotonic() if _COUNTS_SLEEP is None else time.clock_gettime(_COUNTS_SLEEP)


_COUNTS_SLEEP: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
