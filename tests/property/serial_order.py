"""Commands that meet on few inventories, and the witness who explains what came of them by a serial order.

Some serial order must explain every outcome, and it must respect the order of calls that did not overlap. The log fixes the order of the
accepted commands. Each of them must be decided as the domain decides it on the state before it. A refusal or a no-op must be what the
domain decides on some state between the call and its answer.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import attrs
from hypothesis import event
from hypothesis import strategies as st

from inventory_es.application.results import CommandResult, Reservation
from inventory_es.domain.command_identity import EventIds
from inventory_es.domain.commands import (
    AddStock,
    AdjustStock,
    Command,
    CommitStock,
    ConfirmReservation,
    ExpireReservations,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)
from inventory_es.domain.errors import CommandIdReusedError, CommandsRejectedError, RejectionError, ReservationIdTakenError
from inventory_es.domain.events import Recorded
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import AdjustReason, Remainder, Shortfall
from inventory_es.ports.errors import AppendOutcomeUnknownError, ConcurrencyError, StoreUnavailableError
from inventory_es.testing.domain.history import check_history
from tests.integration.command_side import OTHER, SHELF, seconds

SHELVES = (SHELF, OTHER)
KINDS = 10
_SMALL = st.integers(0, 3)
COMMANDS = st.tuples(st.integers(0, KINDS - 1), st.integers(0, 4), _SMALL, st.booleans())
LINES = st.lists(COMMANDS, min_size=1, max_size=3)


@attrs.frozen
class Sent:
    """A command or a basket, its outcome, and the states and times in between.

    Attributes:
        commands: one command, or the lines of a basket.
        is_basket: True if the commands were sent together.
        outcome: the outcome of all commands; ``None`` if the caller was cancelled.
        before: versions of the streams when the commands were sent.
        after: versions of the streams when the answer came.
        times: times of the clock in between.
    """

    commands: tuple[Command, ...]
    is_basket: bool
    outcome: Any
    before: dict[InventoryId, int]
    after: dict[InventoryId, int]
    times: tuple[datetime, ...]


def a_command(kind: int, name: int, units: int, other: bool, shelves: Sequence[InventoryId] = SHELVES) -> Command:
    """Draw a command with few ids and few quantities, so that commands meet. An id may have another payload elsewhere in the program."""
    shelf, held = shelves[other], f"R{name}"
    named: dict[str, Any] = {"inventory_id": shelf, "command_id": f"c{kind}/{name}"}
    match kind:
        case 0 | 1 | 2:
            return ReserveStock(inventory_id=shelf, reservation_id=held, quantity=units % 2 + 1, ttl=(None, seconds(30))[kind % 2])
        case 3:
            return AddStock(**named, quantity=units + 1)
        case 4:
            return CommitStock(**named, reservation_id=held, quantity=1, remainder=(Remainder.KEEP, Remainder.RELEASE)[units % 2])
        case 5:
            return ReleaseStock(**named, reservation_id=held)
        case 6:
            return ConfirmReservation(**named, reservation_id=held)
        case 7:
            return AdjustStock(**named, delta=-units - 1, reason=AdjustReason.LOSS, shortfall=(Shortfall.BUMP, Shortfall.REJECT)[units % 2])
        case 8:
            return RecordCount(**named, counted=units, observed_version=name, shortfall=Shortfall.BUMP)
        case _:
            return ExpireReservations(**named, limit=units + 1)


async def witness_of(service: Any, shelves: Sequence[InventoryId]) -> "Witness":
    """Return the witness of what the service has stored of these inventories."""
    stored = {shelf: {entry.version: entry async for entry in service.history(shelf.product_id, shelf.store_id)} for shelf in shelves}
    logs = {shelf: [Recorded(one.event, one.version, one.recorded_at) for one in stored[shelf].values()] for shelf in shelves}
    for log in logs.values():
        check_history(log)
    return Witness(logs, {shelf: list(_states(shelf, logs[shelf])) for shelf in shelves}, stored)


def _states(shelf: InventoryId, log: list[Recorded]) -> Iterator[Inventory]:
    """Yield the state before the first event, and after each."""
    inventory = Inventory(shelf)
    yield Inventory.from_snapshot(inventory.snapshot())
    for recorded in log:
        inventory.apply(recorded)
        yield Inventory.from_snapshot(inventory.snapshot())


@attrs.define
class Witness:
    """A judge of outcomes, who knows the log of each inventory and every state that it led to.

    Attributes:
        logs: the history of each inventory.
        states: the state before the first event, and after each.
        stored: by version, the entry of the history that the service returns.
    """

    logs: dict[InventoryId, list[Recorded]]
    states: dict[InventoryId, list[Inventory]]
    stored: dict[InventoryId, dict[int, Any]]
    _accepted: set[UUID] = attrs.field(factory=set)

    def check(self, sent: Sent) -> None:
        """Check the outcome of what was sent, in the order in which it was sent."""
        outcome = sent.outcome
        event(type(outcome).__name__ + (" of a basket" if sent.is_basket else ""))
        if outcome is None or isinstance(outcome, AppendOutcomeUnknownError):
            return
        if isinstance(outcome, CommandsRejectedError):
            self._whole_basket_refused(sent, outcome)
        elif sent.is_basket and type(outcome) is ValueError:
            assert any(isinstance(one, RecordCount) for one in sent.commands), outcome
        elif isinstance(outcome, Exception):
            self._refused(sent, sent.commands[0], outcome)
        else:
            for command, one in zip(sent.commands, outcome if sent.is_basket else [outcome], strict=True):
                self._told(sent, command, one)

    def accepted(self, sent: Sent) -> Iterator[tuple[Command, int]]:
        """Yield the accepted commands, and the version that each was told."""
        outcomes = sent.outcome if isinstance(sent.outcome, list) else [sent.outcome]
        for command, one in zip(sent.commands, outcomes, strict=False):
            if isinstance(one, Reservation) or (isinstance(one, CommandResult) and one.changed):
                yield command, one.version

    def _told(self, sent: Sent, command: Command, told: CommandResult | Reservation) -> None:
        shelf = command.inventory_id
        if isinstance(told, CommandResult) and not told.changed:
            assert sent.before[shelf] <= told.version or sent.is_basket
            assert any(self._is_no_op(command, version, at) for version in self._span(sent, shelf) for at in sent.times)
            return
        first = EventIds(shelf.stream).first_own(command)
        mine = [entry.version for entry in self.stored[shelf].values() if entry.metadata.command_id == command.command_id]
        own = next(version for version, entry in self.stored[shelf].items() if entry.event_id == str(first))
        start = own
        while start - 1 in mine and self.stored[shelf][start - 1].event_id != str(first):
            start -= 1
        assert told.version <= sent.after[shelf]
        assert told.replayed or told.version > sent.before[shelf]
        assert told.replayed or first not in self._accepted
        if not told.replayed:
            self._accepted.add(first)
        events = [recorded.event for recorded in self.logs[shelf][start - 1 : told.version]]
        assert list(self._decide(command, start - 1, self.logs[shelf][own - 1].recorded_at)) == events

    def _refused(self, sent: Sent, command: Command, error: Exception) -> None:
        shelf = command.inventory_id
        if isinstance(error, ConcurrencyError | StoreUnavailableError):
            return
        assert isinstance(error, RejectionError | ValueError), error
        if isinstance(error, CommandIdReusedError | ReservationIdTakenError):
            assert str(EventIds(shelf.stream).first_own(command)) in {entry.event_id for entry in self.stored[shelf].values()}
            return
        assert any(self._is_refusal(command, version, at, error) for version in self._span(sent, shelf) for at in sent.times), error

    def _whole_basket_refused(self, sent: Sent, error: CommandsRejectedError) -> None:
        """Check the first refused line per inventory. No refused line is before it, so it met some state plus the lines before."""
        assert list(error.indexes) == sorted(set(error.indexes))
        assert set(error.indexes) <= set(range(len(sent.commands)))
        for index, why in zip(error.indexes, error.rejections, strict=True):
            if not any(one.inventory_id == sent.commands[index].inventory_id for one in sent.commands[:index]):
                self._refused(sent, sent.commands[index], why)

    def _span(self, sent: Sent, shelf: InventoryId) -> range:
        return range(sent.before[shelf], sent.after[shelf] + 1)

    def _decide(self, command: Command, version: int, at: datetime) -> Any:
        observed = None
        state = self.states[command.inventory_id][version]
        if isinstance(command, RecordCount) and command.observed_version <= version:
            observed = self.states[command.inventory_id][command.observed_version].units_on_hand
        return state.decide(command, at=max(at, state.last_time or at), observed_on_hand=observed)

    def _is_no_op(self, command: Command, version: int, at: datetime) -> bool:
        try:
            return not self._decide(command, version, at)
        except (RejectionError, ValueError):
            return False

    def _is_refusal(self, command: Command, version: int, at: datetime, error: Exception) -> bool:
        try:
            self._decide(command, version, at)
        except (RejectionError, ValueError) as mine:
            return type(mine) is type(error) and (not isinstance(mine, RejectionError) or mine == error)
        return False
