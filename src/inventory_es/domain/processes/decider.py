"""A process as values and pure functions."""

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

import attrs

from inventory_es.domain.commands import Command
from inventory_es.domain.errors import CorruptStreamError
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.processes.lines import LineShortage
from inventory_es.domain.stream_id import StreamId

Status = TypeVar("Status", bound=StrEnum)
State = TypeVar("State", bound="ProcessState")
Event = TypeVar("Event")


class ProcessState(Protocol):
    """The state of a process, as far as every kind has it. Immutable."""

    @property
    def stream(self) -> StreamId:
        """Its own stream."""
        ...

    @property
    def status(self) -> StrEnum:
        """The state's name."""
        ...

    @property
    def version(self) -> int:
        """Events folded; 0 before the first."""
        ...

    @property
    def lines(self) -> Sequence[Any]:
        """Numbered lines, in their order."""
        ...

    @property
    def step(self) -> StrEnum | None:
        """The next thing to do to the inventories; ``None`` while the process waits for its host, or has ended."""
        ...


@attrs.frozen(kw_only=True)
class Decider(Generic[State, Event]):
    """A process as values and functions. Its stream is ``StreamId(category, process_id)``.

    A step is what a process does to inventories before it can go on. Its commands are either appended at once, together with the
    events of the process, or executed one by one. Either way it ends with one event.

    Attributes:
        category: of its streams.
        start: the state of a process of this id before its first event.
        decide: the events of a command at a time; none for a no-op. Raises a rejection, changes nothing.
        evolve: the state after an event that happened at a time. Raises ``CorruptStreamError`` for one that can't follow.
        plan: the commands of the step that is due, and the event that ends it if all are accepted; ``None`` where a command depends on the
            result of another.
        refuse: the event that ends the first step where lines could not be had.
        release: the event that ends the last step, once everything is given back.
        close: the event of a process that has nothing left to do, if it has one.
        source: the inventory that a line takes units from.
    """

    category: str
    start: Callable[[str], State]
    decide: Callable[[State, Any, datetime], tuple[Event, ...]]
    evolve: Callable[[State, Event, datetime], State]
    plan: Callable[[State, datetime], tuple[list[Command], Event] | None]
    refuse: Callable[[State, tuple[LineShortage, ...]], Event]
    release: Callable[[State], Event]
    close: Callable[[State], tuple[Event, ...]]
    source: Callable[[State, Any], InventoryId]


def next_status(leads_to: Sequence[Status], state: ProcessState, event: object, *, ends_as: Status | None = None) -> Status:
    """Return the status that an event leads to.

    Args:
        leads_to: the statuses that it may lead to from here.
        state: before the event.
        event: the next one.
        ends_as: the status that the event itself names, if it names one.

    Raises:
        CorruptStreamError: the event can't follow.
    """
    for status in leads_to:
        if ends_as is None or status is ends_as:
            return status
    problem = f"{type(event).__name__} can't follow while the {state.stream.category} is {state.status}"
    raise CorruptStreamError(stream=state.stream, version=state.version + 1, problem=problem)
