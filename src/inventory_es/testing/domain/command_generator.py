"""A generator of commands and times that lead into the corners of the domain, made from a state and a few drawn numbers."""

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
"""How many of the first steps of a program are reserves at the same time."""

_A_RESERVE = 1

_TICK = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_LIVES = (600 * _SECOND, 60 * _SECOND, None, 600 * _SECOND, 60 * _SECOND, _SECOND, _TICK)
_BACK = (_TICK, 30 * _SECOND, 60 * _SECOND, 61 * _SECOND)
_DIFFERENCES = tuple(reason for reason in AdjustReason if reason is not AdjustReason.COUNT)


class Choices:
    """Choices read off a number, like digits of changing base. Number 0 always chooses the first option.

    Args:
        number: the number, 0 or more.
    """

    def __init__(self, number: int) -> None:
        self._left = number

    def of(self, *options: T) -> T:
        """Return one of ``options``."""
        self._left, choice = divmod(self._left, len(options))
        return options[choice]


def next_time(choices: Choices, inventory: Inventory, clock: datetime) -> datetime:
    """Return the next time of the clock.

    Args:
        choices: source of the choices.
        inventory: the state, whose open reservations have times of expiry.
        clock: the present time.
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
    """Return a command that is valid in a state, or only just invalid.

    Args:
        kind: source of the choice of the command's kind.
        fields: source of the choices of the command's fields.
        inventory: the state.
        at: the time at which the command will be sent.
        name: unique among the commands to this inventory.
        earlier: commands that were sent before.
    """
    generator = CommandGenerator(fields, inventory, at, name, tuple(earlier))
    return kind.of(*generator.kinds())()


def generate(
    numbers: Iterable[tuple[int, int, int]], *, opening: int, rush: int, inventory_id: InventoryId, policies: Sequence[Policy]
) -> tuple[tuple[Call, ...], tuple[Call, ...], ReferenceHandler]:
    """Generate the steps of a program, each for the state that it meets.

    Args:
        numbers: three numbers per step: for the time, the kind of command, and its fields.
        opening: units at the start.
        rush: how many of the first steps are reserves at the same time, so that many reservations are open at once.
        inventory_id: the inventory.
        policies: the host's rules.

    Returns:
        The setup, the steps, and the handler that executed them.
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
        except Exception:  # noqa: BLE001  # playing the program raises it again, where it is reported
            break
    return setup, tuple(steps), handler


def random_program(seed: int, *, inventory_id: InventoryId = SHELF, steps: int = 30, policies: Sequence[Policy] = ()) -> Program:
    """Return the program of a seed, which is the same each time. It needs no hypothesis.

    Args:
        seed: the seed.
        inventory_id: the inventory.
        steps: the number of steps.
        policies: the host's rules, under which the steps are made.
    """
    chance = random.Random(seed)
    numbers = [(chance.randrange(2**24), chance.randrange(2**24), chance.randrange(2**24)) for _ in range(steps)]
    opening, rush = chance.choice(OPENINGS), chance.choice(RUSHES)
    setup, made, _ = generate(numbers, opening=opening, rush=rush, inventory_id=inventory_id, policies=policies)
    return Program(inventory_id=inventory_id, setup=setup, steps=made, seed=seed)


@attrs.frozen
class CommandGenerator:
    """A generator of commands of each kind for one state.

    Attributes:
        choices: source of the choices of the fields.
        inventory: the state.
        at: the time at which the commands will be sent.
        name: unique among the commands to this inventory, because ids are made of it.
        earlier: commands that were sent before.
    """

    choices: Choices
    inventory: Inventory
    at: datetime
    name: str
    earlier: tuple[Command, ...]

    def kinds(self) -> list[Callable[[], Command]]:
        """Return the methods that fit the state, the likelier ones more often."""
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
        """Return an addition of units, now and then of more than can be counted."""
        quantity = self.choices.of(5, 20, 1, 2, 5, 20, 100, MAX_QUANTITY)
        return AddStock(inventory_id=self._where, command_id=self._command_id, quantity=quantity, reason=self.choices.of(*AddReason))

    def reserve(self) -> Command:
        """Return a reserve of a few units, of all that is available, or of one more."""
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
        """Return an extension to a later or an earlier time."""
        ttl = self.choices.of(700, 600, 60, 1) * _SECOND
        return ExtendReservation(inventory_id=self._where, command_id=self._command_id, reservation_id=self._held(), ttl=ttl)

    def confirm(self) -> Command:
        """Return a confirmation."""
        return ConfirmReservation(inventory_id=self._where, command_id=self._command_id, reservation_id=self._held())

    def release(self) -> Command:
        """Return a release of some, all, or too many units of a reservation."""
        held = self._held()
        reason = self.choices.of(ReleaseReason.CANCELLED, ReleaseReason.COMPENSATION)
        return ReleaseStock(
            inventory_id=self._where, command_id=self._command_id, reservation_id=held, quantity=self._some(held), reason=reason
        )

    def commit(self) -> Command:
        """Return a commit of some, all, or too many units of a reservation."""
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
        """Return an adjustment, up to and below the reserved units."""
        on_hand, reserved = self.inventory.units_on_hand, self.inventory.units_reserved
        delta = self.choices.of(1, -1, 5, reserved - on_hand, reserved - on_hand - 1, -on_hand, -on_hand - 1, MAX_QUANTITY)
        return self._adjust(delta, self.choices.of(*Shortfall))

    def bump(self) -> Command:
        """Return an adjustment that loses reserved units."""
        on_hand = self.inventory.units_on_hand
        promised = on_hand - int(self.inventory.available_at(self.at))
        return self._adjust(max(promised - self.choices.of(1, 2, 3, 6, 4), 0) - on_hand, Shortfall.BUMP)

    def count(self) -> Command:
        """Return a count: of the present version, of an older one, or too late."""
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
        """Return a sweep of due reservations, a few at a time."""
        return ExpireReservations(inventory_id=self._where, command_id=self._command_id, limit=self.choices.of(1, 500, 2))

    def again(self) -> Command:
        """Return an earlier command once more."""
        return self.choices.of(*self.earlier)

    def misuse(self) -> Command:
        """Return another payload under the id of an earlier command."""
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
