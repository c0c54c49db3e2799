"""A clock that stands still until it is moved."""

from datetime import UTC, datetime, timedelta

import attrs

_START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@attrs.define(eq=False)
class ManualClock:
    """The ``Clock`` of cases and tests: time passes only when the test says so.

    Args:
        at: where it starts: aware, in UTC.
    """

    at: datetime = _START

    def now(self) -> datetime:
        """The time now."""
        return self.at

    def advance(self, by: timedelta) -> None:
        """Let time pass; a negative ``by`` sets the clock back."""
        self.at += by
