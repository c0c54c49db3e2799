"""An event with its place in a stream: what a fold takes."""

from datetime import datetime
from typing import NamedTuple

from inventory_es.domain.events import Event


class Recorded(NamedTuple):
    """A domain event, the version that it made, and when it happened."""

    event: Event
    version: int
    recorded_at: datetime
