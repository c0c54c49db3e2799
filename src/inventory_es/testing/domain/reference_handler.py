"""The reference handler: the write side of one inventory without a store, in a hundred lines.

Every handler over every store must give its answers. The reference handler does what the pure domain leaves to its caller: the replay
check, the rule of time, and the figure behind a count. The machine compares a real service with it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

import attrs

from inventory_es.domain.command_identity import EventIds, fingerprint
from inventory_es.domain.commands import Command, RecordCount, ReserveStock
from inventory_es.domain.errors import ClockSkewError, CommandIdReusedError, InventoryError, RejectionError, ReservationIdTakenError
from inventory_es.domain.events import Event, Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory, Policy
from inventory_es.domain.reservation_book import InventorySnapshot
from inventory_es.testing.domain.purity import ask_twice

MAX_CLOCK_SKEW = timedelta(seconds=60)
"""How far the clock may be behind the last event by default."""


@attrs.frozen
class Answer:
    """The answer to one command.

    Attributes:
        command: the command.
        clock: the time of the clock.
        at: the time of the decision: the clock's, or that of the last event if later.
        before: the state before the command.
        after: the state after the command.
        recorded: the events that the command appended; of a replayed one, the events of the first time.
        error: why the command was refused; ``None`` if it was accepted.
        replayed: True if the command had been accepted before, so that nothing was appended.
    """

    command: Command
    clock: datetime
    at: datetime
    before: InventorySnapshot
    after: InventorySnapshot
    recorded: tuple[Recorded, ...] = ()
    error: InventoryError | None = None
    replayed: bool = False

    @property
    def events(self) -> tuple[Event, ...]:
        """The events, without version and time."""
        return tuple(one.event for one in self.recorded)

    @property
    def appended(self) -> tuple[Recorded, ...]:
        """The events that this call appended: none for a replayed command."""
        return () if self.replayed else self.recorded


class ReferenceHandler:
    """A handler that executes commands on one inventory, in memory, one after the other.

    Args:
        inventory_id: the inventory.
        policies: the host's rules. Each is asked twice, and must answer the same.
        max_clock_skew: how far the clock may be behind the last event.

    Attributes:
        inventory: the state.
        history: every event so far.
        answers: every answer so far.
    """

    def __init__(self, inventory_id: InventoryId, *, policies: Sequence[Policy] = (), max_clock_skew: timedelta = MAX_CLOCK_SKEW) -> None:
        self.inventory: Inventory = Inventory(inventory_id)
        self.history: list[Recorded] = []
        self.answers: list[Answer] = []
        self._policies = ask_twice(policies)
        self._max_clock_skew = max_clock_skew
        self._ids = EventIds(inventory_id.stream)
        self._first_time: dict[UUID, tuple[str, tuple[Recorded, ...]]] = {}

    def fork(self) -> Self:
        """Return an independent handler in the same state."""
        twin = type(self)(self.inventory.inventory_id, policies=self._policies, max_clock_skew=self._max_clock_skew)
        twin.inventory = Inventory.from_snapshot(self.inventory.snapshot())
        twin.history = list(self.history)
        twin.answers = list(self.answers)
        twin._first_time = dict(self._first_time)  # noqa: SLF001  # an instance of this class
        return twin

    def take(self, recorded: Recorded) -> None:
        """Take an event that is already in the stream.

        Raises:
            CorruptStreamError: the event can't be the next one.
        """
        self.inventory.apply(recorded)
        self.history.append(recorded)

    def execute(self, command: Command, *, at: datetime) -> Answer:
        """Execute one command.

        Args:
            command: a command to this inventory.
            at: the time of the clock.

        Raises:
            ValueError: a command to another inventory, or a count of a version that is still to come.
        """
        before = self.inventory.snapshot()
        now = at if before.last_time is None else max(at, before.last_time)
        try:
            recorded, replayed = self._recorded(command, at, now)
        except (RejectionError, ClockSkewError) as error:
            answer = Answer(command, at, now, before, self.inventory.snapshot(), error=error)
        else:
            answer = Answer(command, at, now, before, self.inventory.snapshot(), recorded, replayed=replayed)
        self.answers.append(answer)
        return answer

    def observed_on_hand(self, command: Command) -> int | None:
        """Return the units on hand at the observed version of a count; ``None`` for any other command."""
        if not isinstance(command, RecordCount) or command.observed_version > len(self.history):
            return None
        return self.history[command.observed_version - 1].event.on_hand if command.observed_version else 0

    def _recorded(self, command: Command, clock: datetime, now: datetime) -> tuple[tuple[Recorded, ...], bool]:
        first = self._ids.first_own(command)
        if first in self._first_time:
            known, recorded = self._first_time[first]
            if known != fingerprint(command):
                raise _reused(command)
            return recorded, True
        if now - clock > self._max_clock_skew:
            raise ClockSkewError(stream=command.inventory_id.stream, now=clock, last_time=now, max_clock_skew=self._max_clock_skew)
        events = self.inventory.decide(command, at=now, observed_on_hand=self.observed_on_hand(command), policies=self._policies)
        recorded = tuple(Recorded(event, self.inventory.version + number, now) for number, event in enumerate(events, start=1))
        for one in recorded:
            self.take(one)
        if recorded:
            self._first_time[first] = (fingerprint(command), recorded)
        return recorded, False


def _reused(command: Command) -> RejectionError:
    stream = command.inventory_id.stream
    if isinstance(command, ReserveStock):
        return ReservationIdTakenError(inventory=stream, reservation_id=command.reservation_id)
    return CommandIdReusedError(inventory=stream, command_id=command.command_id)
