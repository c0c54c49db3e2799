"""The clock of a replay: it shows when things happened."""

from datetime import UTC, datetime


class ReplayClock:
    """A :class:`~inventory_es.ports.Clock` that stands where the replay sets it.

    Attributes:
        time: what it shows.
    """

    def __init__(self) -> None:
        self.time: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """The time that was set."""
        return self.time
