"""The operating system's clock."""

from datetime import UTC, datetime


class SystemClock:
    """A :class:`~inventory_es.ports.Clock`: the wall clock of this machine, in UTC. It may step when the machine's time is set."""

    def now(self) -> datetime:
        """The time now: aware, in UTC, to the microsecond."""
        return datetime.now(UTC)
