"""Where to go next from a state: turns a few drawn numbers into a time and a command that lead into the corners of the domain."""

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

import attrs

from inventory_es.domain.commands import (
    AddStock,
    AdjustStock,
    Command,
    CommitStock,
    ConfirmReservation,
    ExpireReservations,
    ExtendReservation,
    RecordCount,
    ReleaseStock,
    ReserveStock,
)
from inventory_es.domain.identifiers import InventoryId
from inventory_es.domain.inventory import Inventory, Policy
from inventory_es.domain.quantity import MAX_QUANTITY
from inventory_es.domain.reasons import AddReason, AdjustReason, CommitReason, Purpose, ReleaseReason, Remainder, Shortfall
from inventory_es.testing.domain.history import PropertyError
from inventory_es.testing.domain.program import Call, Program, other_payload
from inventory_es.testing.domain.reference_handler import ReferenceHandler
from inventory_es.testing.domain.scenarios import SHELF, START

T = TypeVar("T")

OPENINGS = (20, 5, 100, 1)
"""Units at the start of a program."""

RUSHES = (0, 6)
"""How many of the first steps of a program are reserves at one time."""

_A_RESERVE = 1

_TICK = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_LIVES = (600 * _SECOND, 60 * _SECOND, None, 600 * _SECOND, 60 * _SECOND, _SECOND, _TICK)
_BACK = (_TICK, 30 * _SECOND, 60 * _SECOND, 61 * _SECOND)
_DIFFERENCES = tuple(reason for reason in AdjustReason if reason is not AdjustReason.COUNT)


class Choices:
    """Reads choices off a number, like digits of changing base. The first option is the choice of 0.

    Args:
        number: 0 or more.
    """

    def __init__(self, number: int) -> None:
        self._left = number

    def of(self, *options: T) -> T:
        """One of ``options``."""
        self._left, choice = divmod(self._left, len(options))
        return options[choice]


def next_time(choices: Choices, inventory: Inventory, clock: datetime) -> datetime:
    """What the clock says next.

    Args:
        choices: where to take the choices from.
        inventory: whose open reservations have times of expiry.
        clock: what it says now.
    """
    due = sorted({hold.expires_at for hold in inventory.reservations() if hold.expires_at is not None})
    match choices.of("stand", "second", "due", "stand", "tick", "minute", "due", "stand", "later", "stand", "due", "stand", "rare"):
        case "stand":
            return clock
        case "tick":
            return clock + _TICK
        case "minute":
            return clock + 60 * _SECOND
        case "later":
            return clock + 601 * _SECOND
        case "due" if due:
            return choices.of(due[0], due[-1], due[-1], due[len(due) // 2]) + choices.of(timedelta(0), -_TICK, _TICK)
        case "rare":
            return clock + choices.of(timedelta(days=1), *(-back for back in _BACK))
        case _:
            return clock + _SECOND


def next_command(
    kind: Choices, fields: Choices, inventory: Inventory, at: datetime, *, name: str, earlier: Sequence[Command] = ()
) -> Command:
    """A command that makes sense in a state, or one right beyond the edge of it.

    Args:
        kind: where to take the choice of its kind from.
        fields: where to take the choices of its fields from.
        inventory: the state.
        at: when it will be sent.
        name: unique among the commands to this inventory.
        earlier: commands that were sent before.
    """
    generator = CommandGenerator(fields, inventory, at, name, tuple(earlier))
    return kind.of(*generator.kinds())()


def walk(
    numbers: Iterable[tuple[int, int, int]], *, opening: int, rush: int, inventory_id: InventoryId, policies: Sequence[Policy]
) -> tuple[tuple[Call, ...], tuple[Call, ...], ReferenceHandler]:
    """Make the steps of a program, each for the state that it meets.

    Args:
        numbers: of each step: for the time, the kind of command, and its fields.
        opening: units at the start.
        rush: so many of the first steps are reserves at one time, so that many holds are open at once.
        inventory_id: to which inventory.
        policies: the host's rules.

    Returns:
        The setup, the steps, and the handler where they were executed.
    """
    handler, clock = ReferenceHandler(inventory_id, policies=policies), START
    opened = AddStock(inventory_id=inventory_id, command_id="opening", quantity=opening, reason=AddReason.OPENING)
    setup = (Call(opened, START),)
    handler.execute(opened, at=START)
    steps: list[Call] = []
    for number, (time, kind, fields) in enumerate(numbers, start=1):
        if number > rush:
            clock = next_time(Choices(time), handler.inventory, clock)
        kinds = Choices(_A_RESERVE if number <= rush else kind)
        earlier = [answer.command for answer in handler.answers]
        command = next_command(kinds, Choices(fields), handler.inventory, clock, name=str(number), earlier=earlier)
        steps.append(Call(command, clock))
        try:
            handler.execute(command, at=clock)
        except PropertyError:
            raise
        except Exception:  # noqa: BLE001  # whoever plays the program meets it, and can tell the whole of it
            break
    return setup, tuple(steps), handler


def random_program(seed: int, *, inventory_id: InventoryId = SHELF, steps: int = 30, policies: Sequence[Policy] = ()) -> Program:
    """Make one program from a seed, without hypothesis: the same one each time.

    Args:
        seed: which one.
        inventory_id: to which inventory.
        steps: how many steps it has.
        policies: the host's rules, under which the steps are made.
    """
    chance = random.Random(seed)
    numbers = [(chance.randrange(2**24), chance.randrange(2**24), chance.randrange(2**24)) for _ in range(steps)]
    opening, rush = chance.choice(OPENINGS), chance.choice(RUSHES)
    setup, made, _ = walk(numbers, opening=opening, rush=rush, inventory_id=inventory_id, policies=policies)
    return Program(inventory_id=inventory_id, setup=setup, steps=made, seed=seed)


@attrs.frozen
class CommandGenerator:
    """Makes commands of each kind for one state.

    Attributes:
        choices: where the choices of their fields come from.
        inventory: the state.
        at: when they will be sent.
        name: unique among the commands to this inventory; their ids are made of it.
        earlier: commands that were sent before.
    """

    choices: Choices
    inventory: Inventory
    at: datetime
    name: str
    earlier: tuple[Command, ...]

    def kinds(self) -> list[Callable[[], Command]]:
        """What can be made here, the more often the more likely."""
        kinds: list[Callable[[], Command]] = [self.add, *[self.reserve] * 6, self.adjust, self.count]
        if self.inventory.open_count:
            kinds += [*[self.commit] * 6, *[self.confirm, self.bump, self.release] * 2, self.extend, self.bump]
        due = len(self.inventory.due(self.at, limit=2))
        kinds += [self.sweep, *[self.sweep, self.bump] * (2 * due)]
        return [*kinds, self.again, self.misuse] if self.earlier else kinds

    @property
    def _where(self) -> InventoryId:
        return self.inventory.inventory_id

    @property
    def _command_id(self) -> str:
        return f"c{self.name}"

    def add(self) -> Command:
        """Units come in, now and then more than can be counted."""
        quantity = self.choices.of(5, 20, 1, 2, 5, 20, 100, MAX_QUANTITY)
        return AddStock(inventory_id=self._where, command_id=self._command_id, quantity=quantity, reason=self.choices.of(*AddReason))

    def reserve(self) -> Command:
        """A hold of a few units, of all that is available, or of one more."""
        of, available = self.choices.of, int(self.inventory.available_at(self.at))
        return ReserveStock(
            inventory_id=self._where,
            reservation_id=f"{'RA'[len(self.earlier) % 2]}{self.name}",  # so that ids are not in the order of versions
            quantity=min(MAX_QUANTITY, of(3, 2, 4, 1, 5, 3, 2, max(1, available // 2), max(1, available), available + 1)),
            ttl=of(*_LIVES),
            owner_id=of(None, None, "ann", "bob"),
            purpose=of(*Purpose),
            keep_available=of(0, 0, 0, 0, 0, 0, 0, 0, 1, available),
            not_after=of(None, None, None, None, None, None, None, None, self.at + _TICK, self.at),
        )

    def extend(self) -> Command:
        """A hold is made longer, or was to be made shorter."""
        ttl = self.choices.of(700, 600, 60, 1) * _SECOND
        return ExtendReservation(inventory_id=self._where, command_id=self._command_id, reservation_id=self._held(), ttl=ttl)

    def confirm(self) -> Command:
        """A hold becomes firm."""
        return ConfirmReservation(inventory_id=self._where, command_id=self._command_id, reservation_id=self._held())

    def release(self) -> Command:
        """A hold gives back some, all, or more than it has."""
        held = self._held()
        reason = self.choices.of(ReleaseReason.CANCELLED, ReleaseReason.COMPENSATION)
        return ReleaseStock(
            inventory_id=self._where, command_id=self._command_id, reservation_id=held, quantity=self._some(held), reason=reason
        )

    def commit(self) -> Command:
        """A hold ships some, all, or more than it has."""
        held = self._held()
        return CommitStock(
            inventory_id=self._where,
            command_id=self._command_id,
            reservation_id=held,
            quantity=self._some(held),
            remainder=self.choices.of(Remainder.KEEP, Remainder.KEEP, Remainder.RELEASE),
            reason=self.choices.of(*CommitReason),
        )

    def adjust(self) -> Command:
        """The books are corrected, up to and beyond the promises."""
        on_hand, reserved = self.inventory.units_on_hand, self.inventory.units_reserved
        delta = self.choices.of(1, -1, 5, reserved - on_hand, reserved - on_hand - 1, -on_hand, -on_hand - 1, MAX_QUANTITY)
        return self._adjust(delta, self.choices.of(*Shortfall))

    def bump(self) -> Command:
        """Units are lost that were promised."""
        on_hand = self.inventory.units_on_hand
        promised = on_hand - int(self.inventory.available_at(self.at))
        return self._adjust(max(promised - self.choices.of(1, 2, 3, 6, 4), 0) - on_hand, Shortfall.BUMP)

    def count(self) -> Command:
        """Somebody counted the shelf: now, at an older version, or too late."""
        of, last, version = self.choices.of, self.inventory.last_count_version, self.inventory.version
        on_hand, reserved = self.inventory.units_on_hand, self.inventory.units_reserved
        return RecordCount(
            inventory_id=self._where,
            command_id=self._command_id,
            counted=of(max(on_hand - 1, 0), on_hand, min(on_hand + 1, MAX_QUANTITY), max(reserved - 1, 0), max(reserved - 4, 0), 0),
            observed_version=of(version, max(version - 1, 0), max(version - 3, 0), last, max(last - 1, 0), 0),
            shortfall=of(*Shortfall),
        )

    def sweep(self) -> Command:
        """What is due is closed, a few at a time."""
        return ExpireReservations(inventory_id=self._where, command_id=self._command_id, limit=self.choices.of(1, 500, 2))

    def again(self) -> Command:
        """An earlier command is sent once more."""
        return self.choices.of(*self.earlier)

    def misuse(self) -> Command:
        """Another payload is sent under the id of an earlier command."""
        return other_payload(self.choices.of(*self.earlier))

    def _held(self) -> str:
        snapshot = self.inventory.snapshot()
        known = [hold.reservation_id for hold in snapshot.open]
        closed = [reservation_id for reservation_id, _ in snapshot.closed[-3:]]
        return self.choices.of(*known * 4, *closed, "nobody's")

    def _some(self, reservation_id: str) -> int | None:
        hold = self.inventory.reservation(reservation_id)
        remaining = 1 if hold is None else hold.remaining
        return self.choices.of(1, None, (remaining + 1) // 2, remaining, min(remaining + 1, MAX_QUANTITY), max(1, remaining - 1))

    def _adjust(self, delta: int, shortfall: Shortfall) -> Command:
        bounded = max(-MAX_QUANTITY, min(delta, MAX_QUANTITY)) or -1
        reason = self.choices.of(*_DIFFERENCES)
        return AdjustStock(inventory_id=self._where, command_id=self._command_id, delta=bounded, reason=reason, shortfall=shortfall)
