"""What a process is: a category of streams, and three pure functions."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import attrs

State = TypeVar("State")
Event = TypeVar("Event")


@attrs.frozen
class Decider(Generic[State, Event]):
    """A process as values and functions. Its stream is ``StreamId(category, process_id)``.

    Attributes:
        category: of its streams.
        start: the state of a process of this id before its first event.
        decide: the events that a command comes to at a time; none for a no-op. Raises a rejection, changes nothing.
        evolve: the state after an event that happened at a time. Raises ``CorruptStreamError`` for one that can't follow.
    """

    category: str
    start: Callable[[str], State]
    decide: Callable[[State, Any, datetime], tuple[Event, ...]]
    evolve: Callable[[State, Event, datetime], State]
