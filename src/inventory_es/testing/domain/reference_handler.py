"""The write side of one inventory without a store: what every handler over every store must answer, in a hundred lines.

The handler owns what the pure domain leaves to its caller: the replay check, the rule of time, the figure behind a count. It is
the reference that the machine holds a real service against.
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
"""How far the clock may stand behind the last event, by default."""


@attrs.frozen
class Answer:
    """What became of one command.

    Attributes:
        command: what was asked.
        clock: what the clock said.
        at: the time that counted: the clock's, or that of the last event if it is later.
        before: the state that the command met.
        after: the state that it left.
        recorded: the events that it appended; of a replayed one, the events of the first time.
        error: why it was refused; ``None`` if it was not.
        replayed: whether it had been accepted before, and nothing was appended now.
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
        """The events, without their place."""
        return tuple(one.event for one in self.recorded)

    @property
    def appended(self) -> tuple[Recorded, ...]:
        """The events that this very call appended: none for a replayed one."""
        return () if self.replayed else self.recorded


class ReferenceHandler:
    """Executes commands on one inventory, in memory, one after the other.

    Args:
        inventory_id: of which inventory.
        policies: the host's rules. Each is asked twice, and must give one answer.
        max_clock_skew: how far the clock may stand behind the last event.

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
        """A handler of its own in the same state."""
        twin = type(self)(self.inventory.inventory_id, policies=self._policies, max_clock_skew=self._max_clock_skew)
        twin.inventory = Inventory.from_snapshot(self.inventory.snapshot())
        twin.history = list(self.history)
        twin.answers = list(self.answers)
        twin._first_time = dict(self._first_time)  # noqa: SLF001  # one of our own kind
        return twin

    def take(self, recorded: Recorded) -> None:
        """Accept an event that stands in the stream already.

        Raises:
            CorruptStreamError: it can't be the next one.
        """
        self.inventory.apply(recorded)
        self.history.append(recorded)

    def execute(self, command: Command, *, at: datetime) -> Answer:
        """Execute one command as a handler must.

        Args:
            command: addressed to this inventory.
            at: what the clock says.

        Raises:
            ValueError: a command for another inventory, or a count of a version that is not there.
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
        """The figure that a count needs: units on hand at its observed version; ``None`` for anything else."""
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
