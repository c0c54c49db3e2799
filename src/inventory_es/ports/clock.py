"""The only sources of time and identity."""

from datetime import datetime
from typing import Protocol, runtime_checkable


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The time now: aware, in UTC, to the microsecond."""
        ...


@runtime_checkable
class SteadyClock(Clock, Protocol):
    """A clock that notices when it is set.

    With it, nothing is written at a time that is suddenly far from the one before: a stream never goes back in time, so one event from
    a clock that stands years ahead would refuse every later one. A clock without it, such as that of a replay, may go as it likes.
    """

    def jump(self) -> float:
        """Return by how many seconds the time was set since the clock was made: ahead above zero, back below.

        The time that merely passed does not count, however long.
        """
        ...


class IdGenerator(Protocol):
    """Where ids come from that the caller did not give."""

    def new_id(self) -> str:
        """A text of 1 to 128 characters that was never handed out before."""
        ...
