"""The ports of time and identity, which have no other sources."""

from datetime import datetime
from typing import Protocol, runtime_checkable


class Clock(Protocol):
    """A source of the time."""

    def now(self) -> datetime:
        """Return the time now: aware, in UTC, to the microsecond."""
        ...


@runtime_checkable
class SteadyClock(Clock, Protocol):
    """A clock that notices when it is set.

    The command side uses it to refuse a time that suddenly is far from the one before. A stream never goes back in time, so one event from
    a clock years ahead would make every later event impossible. Other clocks, such as that of a replay, may show any time.
    """

    def jump(self) -> float:
        """Return by how many seconds the time was set since the clock was made: ahead above zero, back below.

        Time that passed does not count.
        """
        ...


class IdGenerator(Protocol):
    """A source of the ids that a caller did not give."""

    def new_id(self) -> str:
        """Return a text of 1 to 128 characters that was never returned before."""
        ...
