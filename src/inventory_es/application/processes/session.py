"""The state of a process with the events that were decided and are not stored yet."""

from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from inventory_es.domain.processes.decider import Decider
from inventory_es.domain.stream_id import StreamId

State = TypeVar("State")
Event = TypeVar("Event")


class DraftedEvent(NamedTuple):
    """An event on its way to the store.

    Attributes:
        event: what happened.
        command_id: of what was decided to it.
        at: when.
    """

    event: object
    command_id: str
    at: datetime


class ProcessDraft(Generic[State, Event]):
    """One process in the hands of one task.

    Args:
        decider: of its kind.
        process_id: which.

    Attributes:
        stream: its own.
        state: with the drafted events.
        version: of the stream, without them.
        last_time: of the last event; ``None`` before the first.
        drafted: what is not stored yet.
    """

    __slots__ = ("_decider", "drafted", "last_time", "state", "stream", "version")

    def __init__(self, decider: Decider[State, Event], process_id: str) -> None:
        self._decider = decider
        self.stream: StreamId = StreamId(decider.category, process_id)
        self.state: State = decider.start(process_id)
        self.version: int = 0
        self.last_time: datetime | None = None
        self.drafted: list[DraftedEvent] = []

    def fold(self, event: Event, at: datetime) -> None:
        """Take an event that is stored.

        Raises:
            CorruptStreamError: it can't follow.
        """
        self.state = self._decider.evolve(self.state, event, at)
        self.version += 1
        self.last_time = at

    def take(self, events: tuple[Event, ...], at: datetime, *, command_id: str) -> None:
        """Take events that were decided on this state."""
        for event in events:
            self.state = self._decider.evolve(self.state, event, at)
            self.drafted.append(DraftedEvent(event, command_id, at))
            self.last_time = at

    def stored(self) -> None:
        """The drafted events are in the store."""
        self.version += len(self.drafted)
        self.drafted = []

    def copy(self) -> "ProcessDraft[State, Event]":
        """The same, to go on from without touching this one."""
        other = ProcessDraft.__new__(ProcessDraft)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.drafted = list(self.drafted)
        return other
