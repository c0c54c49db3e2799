"""A clock that moves only when it is told to."""

from datetime import UTC, datetime, timedelta

import attrs

_START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@attrs.define(eq=False)
class ManualClock:
    """A ``Clock`` for tests: time passes only when the test says so.

    Args:
        at: the time at which it starts; aware, in UTC.
    """

    at: datetime = _START

    def now(self) -> datetime:
        """Return the current time."""
        return self.at

    def advance(self, by: timedelta) -> None:
        """Let time pass; a negative ``by`` sets the clock back."""
        self.at += by
