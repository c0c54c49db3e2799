"""Probes of a state: every command that one can try on it. Two states with equal answers are equal, whatever their representation."""

from collections.abc import Iterator
from datetime import datetime, timedelta

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
from inventory_es.domain.errors import RejectionError
from inventory_es.domain.events import Event
from inventory_es.domain.inventory import Inventory
from inventory_es.domain.reasons import AdjustReason, Shortfall

PROBE = "probe of the kit"
FAR = timedelta(days=400)


def behaviour(inventory: Inventory, at: datetime) -> dict[str, tuple[Event, ...] | RejectionError | int]:
    """Return a state's answers, at ``at`` and long after, to one command of every kind per known reservation.

    The cost grows with the square of the known reservations, so this is for small states.

    Args:
        inventory: the state, which does not change.
        at: the time, not before the last event.
    """
    answers: dict[str, tuple[Event, ...] | RejectionError | int] = {}
    for when in (at, at + FAR):
        for number, command in enumerate(probes(inventory, when)):
            try:
                answers[f"{number} {type(command).__name__} {when}"] = inventory.decide(command, at=when)
            except RejectionError as error:
                answers[f"{number} {type(command).__name__} {when}"] = error
        answers[f"available {when}"] = int(inventory.available_at(when))
    for owner_id in sorted({hold.owner_id for hold in inventory.reservations() if hold.owner_id is not None} | {PROBE}):
        answers[f"reserved for {owner_id}"] = inventory.reserved_for(owner_id)
    return answers


def probes(inventory: Inventory, at: datetime) -> Iterator[Command]:
    """Yield one command of every kind per reservation that a state knows."""
    where, on_hand = inventory.inventory_id, inventory.units_on_hand
    yield AddStock(inventory_id=where, command_id=PROBE, quantity=1)
    yield ReserveStock(inventory_id=where, reservation_id=PROBE, quantity=int(inventory.available_at(at)) or 1, ttl=None)
    yield RecordCount(inventory_id=where, command_id=PROBE, counted=0, observed_version=inventory.version, shortfall=Shortfall.BUMP)
    for limit in (1, 2, 500):
        yield ExpireReservations(inventory_id=where, command_id=PROBE, limit=limit)
    for fewer in range(1, min(on_hand, 12) + 1):
        yield AdjustStock(
            inventory_id=where, command_id=PROBE, delta=fewer - on_hand - 1, reason=AdjustReason.LOSS, shortfall=Shortfall.BUMP
        )
    snapshot = inventory.snapshot()
    for reservation_id in [*(hold.reservation_id for hold in snapshot.open), *(known for known, _ in snapshot.closed), PROBE]:
        yield ReserveStock(inventory_id=where, reservation_id=reservation_id, quantity=1, ttl=None)
        yield CommitStock(inventory_id=where, command_id=PROBE, reservation_id=reservation_id)
        yield ReleaseStock(inventory_id=where, command_id=PROBE, reservation_id=reservation_id)
        yield ConfirmReservation(inventory_id=where, command_id=PROBE, reservation_id=reservation_id)
        yield ExtendReservation(inventory_id=where, command_id=PROBE, reservation_id=reservation_id, ttl=FAR)
