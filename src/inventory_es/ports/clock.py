"""The only sources of time and identity."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """The time now: aware, in UTC, to the microsecond."""
        ...


class IdGenerator(Protocol):
    """Where ids come from that the caller did not give."""

    def new_id(self) -> str:
        """A text of 1 to 128 characters that was never handed out before."""
        ...
