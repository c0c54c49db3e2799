"""Deciders of processes: values and pure functions."""

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
    """The state that every kind of process has. Immutable."""

    @property
    def stream(self) -> StreamId:
        """The stream of the process."""
        ...

    @property
    def status(self) -> StrEnum:
        """The name of the status."""
        ...

    @property
    def version(self) -> int:
        """The number of events folded; 0 before the first."""
        ...

    @property
    def lines(self) -> Sequence[Any]:
        """The numbered lines, in their order."""
        ...

    @property
    def step(self) -> StrEnum | None:
        """The step that is due; ``None`` while the process waits for its host, or has ended."""
        ...


@attrs.frozen(kw_only=True)
class Decider(Generic[State, Event]):
    """A kind of process as values and functions. The stream of a process is ``StreamId(category, process_id)``.

    A step is what a process does to inventories before it can go on. Its commands are either appended at once, together with the
    events of the process, or executed one by one. Either way it ends with one event.

    Attributes:
        category: the category of its streams.
        start: returns the state of a process before its first event.
        decide: returns the events of a command at a time, none for a no-op, or raises a rejection.
        evolve: returns the state after an event that happened at a time. Raises ``CorruptStreamError`` if the event can't follow.
        plan: returns the commands of the due step, and the event that ends it if all are accepted. ``None`` where a command depends on
            the result of another.
        refuse: returns the event that ends the first step where lines could not be had.
        release: returns the event that ends the last step, once everything is released.
        close: returns the event of a process that has nothing left to do, if it has one.
        source: returns the inventory that a line takes units from.
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
        leads_to: the statuses that the event may lead to.
        state: the state before the event.
        event: the next event.
        ends_as: the status that the event names, if it names one.

    Raises:
        CorruptStreamError: the event can't follow.
    """
    for status in leads_to:
        if ends_as is None or status is ends_as:
            return status
    problem = f"{type(event).__name__} can't follow while the {state.stream.category} is {state.status}"
    raise CorruptStreamError(stream=state.stream, version=state.version + 1, problem=problem)
